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


"""Writer of ROS 2 parameter files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class _Quoted(yaml.SafeDumper):
    """YAML dumper that quotes every string: ROS 2 reads an unquoted 12e3 as a number."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    'tag:yaml.org,2002:str', text, style='"'))


def write_node_parameters(file: Path, parameters: Mapping[str, Any]) -> None:
    """Write a parameter file that applies to any node; raises OSError."""
    file.write_text(yaml.dump({'/**': {'ros__parameters': dict(parameters)}}, Dumper=_Quoted))
