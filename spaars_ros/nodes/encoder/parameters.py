# Copyright 2026 The spaars_ros authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Parameters of the encoder node."""

from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.parameters import RUN

PARAMETERS = ParameterTable(
    RUN,
    Param('robot', 'panda', 'robot file: path, or name of a shipped file'),
    Param('task', 'reach', 'task file: path, or name of a shipped file'),
    Param('provider', 'auto', 'ONNX Runtime provider; auto: a GPU if one is available',
          choices=('auto', 'cpu', 'cuda')),
    Param('run_dir', '', "run folder in which frames are stored; '' stores none"),
    Param('frames_mb', 1000, 'limit of the images (JPEG) stored in the run folder; 0 stores none',
          unit='MB', low=0, high=10_000_000),
    Param('threads', 1, 'CPU threads per camera', low=1, high=64),
)
"""Parameters of the encoder node."""
