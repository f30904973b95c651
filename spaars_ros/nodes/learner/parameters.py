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

"""Parameters of the learner node, and the fields of its progress."""

from spaars_ros.ros.fields import LAYOUTS
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.parameters import RUN

PARAMETERS = ParameterTable(
    RUN,
    Param('robot', 'panda', 'robot file: path, or name of a shipped file'),
    Param('task', 'reach', 'task file: path, or name of a shipped file'),
    Param('training', 'spaars', 'training file: path, or name of a shipped file'),
    Param('bundle', '', 'policy bundle with learner tensors to start from'),
    Param('run_dir', 'runs/latest', 'run folder: transitions.mcap, checkpoints/'),
    Param('demonstrations', '', "HDF5 file, or folder of a run; '' uses those of the training "
          'file'),
    Param('robots', '', "namespaces of the robots to learn from, comma-separated; '': only its "
          'own namespace'),
    Param('seed', 0, 'seed of the replay sampling', low=0, high=2**31),
    Param('paused', False, 'do not learn or push bundles, but continue to record; the updates are '
          'made up for later. A restart keeps this, in the run folder', live=True),
    Param('signing_key', '', "PEM file of an Ed25519 private key that signs bundles and "
          "checkpoints; '' leaves them unsigned"),
)

PROGRESS = tuple(LAYOUTS['learner/progress'].widths)
