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

"""What a policy server that is restarted in its run folder must not have forgotten."""

from collections.abc import Callable
from collections.abc import Mapping
import json
import math
from pathlib import Path
from typing import Any

from spaars_ros.constraints.lost_bounds import LostBounds

FILE = 'policy_server.json'
BOUNDS = ('max_episode_cost',)
"""Parameters that stop the robot and can be set while it runs; 0 is off."""


class PersistentState:
    """
    The version that was taken back, and bounds that an operator set while running.

    The learner's latched topic offers a new server the very version that was called back. And a
    parameter that was set while running is gone after a restart, as in ROS 2 everywhere: nobody
    may miss a bound without a word.

    :param folder: of the run
    :param values: every parameter's value
    :param put: is given a file's name and content to write; may not wait
    :raises ValueError: the file is there and cannot be read
    """

    def __init__(self, folder: Path, values: Mapping[str, Any], *,
                 put: Callable[[str, bytes], None]) -> None:
        self.taken_back, before = _read(folder / FILE)
        """Newest version that was taken back in this run, -1 for none."""
        self._put = put
        self._lost = LostBounds(before, values, BOUNDS)
        self._values = values

    def take_back(self, version: int) -> None:
        """Remember that a version was taken back."""
        self.taken_back = version
        self._save()

    def changed(self, names: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Remember the bounds as they are, after some parameters were set."""
        self._lost.set_again(names)
        self._values = values
        if set(names) & set(BOUNDS):
            self._save()

    def missed(self) -> list[str]:
        """Return a line for every bound that was stricter before, until it is set again."""
        return self._lost.lines(self._values)

    def _save(self) -> None:
        self._put(FILE, json.dumps({'taken_back': self.taken_back,
                                    'bounds': self._lost.to_keep(self._values)}).encode())


def _read(path: Path) -> tuple[int, dict[str, float]]:
    if not path.exists():
        return -1, {}
    try:
        content = json.loads(path.read_text())
        version, bounds = content['taken_back'], content['bounds']
        if type(version) is not int or version < -1:
            raise ValueError(f'taken_back {version!r} is no bundle version')
        before = {name: float(bounds[name]) for name in BOUNDS}
        if not all(math.isfinite(bound) for bound in before.values()):
            raise ValueError(f'bounds {bounds}')
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path}: {type(error).__name__}: {error}; without the file nothing was '
                         'taken back') from None
    return version, before
