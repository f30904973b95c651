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

"""Bounds that an operator set at run time, and that a restart loosened."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

MONITOR = ('stop_cost', 'rollback_cost', 'rollback_interventions')
"""Parameters of the cost monitor that restrict the robot; 0 is off."""


class LostBounds:
    """
    Keep bounds that were stricter before a restart, until they are set again.

    :param before: name -> bound, as stored before the restart
    :param now: name -> present value, of every parameter
    :param names: parameters that are bounds; 0 is off
    """

    def __init__(self, before: Mapping[str, float], now: Mapping[str, float],
                 names: Sequence[str] = MONITOR) -> None:
        self._names = names
        self._before = {name: bound for name, bound in before.items()
                        if bound > 0 and not 0 < now[name] <= bound}

    def set_again(self, names: Iterable[str]) -> None:
        """Drop the bounds that were set again."""
        for name in names:
            self._before.pop(name, None)

    def lines(self, now: Mapping[str, float]) -> list[str]:
        """Return one line per bound that is still looser than before."""
        return [f'{name} is {format(now[name], "g") if now[name] else "off"}, it was {bound:g} '
                'before' for name, bound in self._before.items()]

    def to_keep(self, now: Mapping[str, float]) -> dict[str, float]:
        """Return the bounds to store for the next restart; bounds still missing are kept."""
        return {name: self._before.get(name, now[name]) for name in self._names}
