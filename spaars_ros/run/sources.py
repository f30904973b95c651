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

"""Digest of the code that made a result, to detect stale results."""

from functools import cache
import hashlib
from pathlib import Path

from spaars_ros.source_code import code_of

ROOMS = ('constraints', 'control', 'data', 'learning', 'policy', 'robot', 'safety', 'sim', 'tasks',
         'vision')
"""Subpackages whose code determines what is learned and simulated."""


@cache
def source_digest(*more: Path) -> str:
    """
    Return a digest of the package's code in `ROOMS`, without comments and docstrings.

    :param more: further folders with code, such as that of the benchmarks
    :raises FileNotFoundError: a folder is missing or holds no code; otherwise a renamed
        subpackage would silently drop out of every digest
    """
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for room in (*(package / name for name in ROOMS), *more):
        paths = sorted(room.rglob('*.py'))
        if not paths:
            raise FileNotFoundError(f'{room}: no such room, or no code in it; rename it in '
                                    'ROOMS of spaars_ros/run/sources.py as well')
        for path in paths:
            digest.update(path.relative_to(room.parent).as_posix().encode() + b'\0')
            digest.update(code_of(path.read_text()).encode() + b'\0')
    return digest.hexdigest()
