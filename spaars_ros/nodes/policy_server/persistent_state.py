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

"""State that a policy server keeps over a restart in its run folder."""

from collections.abc import Callable
from collections.abc import Mapping
import json
import math
from pathlib import Path
from typing import Any

from spaars_ros.constraints.lost_bounds import LostBounds
from spaars_ros.robot.resources import read_file

FILE = 'policy_server.json'
BOUNDS = ('max_episode_cost',)
"""Parameters that stop the robot and can be set at run time; 0 is off."""


class PersistentState:
    """
    Version that was rolled back, and bounds that an operator set at run time.

    The latched topic of the learner offers a restarted server the version that was rolled back.
    And in ROS 2, a parameter value that was set at run time is lost on a restart. Lost bounds are
    reported, so that none is missed silently.

    :param folder: run folder
    :param values: values of all parameters
    :param put: writes a file, given name and content; must not block
    :raises ValueError: the file exists and cannot be read
    """

    def __init__(self, folder: Path, values: Mapping[str, Any], *,
                 put: Callable[[str, bytes], None]) -> None:
        self.taken_back, before = _read(folder / FILE)
        """Newest version that was rolled back in this run; -1 for none."""
        self._put = put
        self._lost = LostBounds(before, values, BOUNDS)
        self._values = values

    def take_back(self, version: int) -> None:
        """Store that a version was rolled back."""
        self.taken_back = version
        self._save()

    def changed(self, names: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Store the bounds after parameters were set (`names`); `values` has all parameters."""
        self._lost.set_again(names)
        self._values = values
        if set(names) & set(BOUNDS):
            self._save()

    def missed(self) -> list[str]:
        """Return one line per bound that was stricter before, until it is set again."""
        return self._lost.lines(self._values)

    def _save(self) -> None:
        self._put(FILE, json.dumps({'taken_back': self.taken_back,
                                    'bounds': self._lost.to_keep(self._values)}).encode())


def _read(path: Path) -> tuple[int, dict[str, float]]:
    if not path.exists():
        return -1, {}
    try:
        content = json.loads(read_file(path))
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
