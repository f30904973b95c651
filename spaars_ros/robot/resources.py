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

"""Resolution of file names in settings: a path, or a file in an installed Python package."""

from importlib.util import find_spec
from pathlib import Path

from spaars_ros.robot.config import ConfigError

SCHEME = 'package://'


def resolve(name: str) -> Path:
    """Return the file for a path or package://<package>/<path>; raises ConfigError."""
    if not name.startswith(SCHEME):
        return Path(name).expanduser()
    package, _, rest = name[len(SCHEME):].partition('/')
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f'{name!r}: the package {package!r} is not installed')
    return Path(list(spec.submodule_search_locations)[0]) / rest
