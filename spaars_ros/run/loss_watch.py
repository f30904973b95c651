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

"""Notices a node of the run that is gone for good."""

from collections.abc import Callable
from collections.abc import Mapping

from spaars_ros.run.lifecycle_client import ACTIVE
from spaars_ros.run.lifecycle_client import STATES

SILENCE = 3.0
"""s without a word of a node after which it is asked for its state, and between two questions."""
PATIENCE: Mapping[str, float] = {'cost_monitor': 10.0, 'learner': 60.0}
"""
s after which a node that says nothing and is not active counts as lost.

Whatever else the arm does without the cost monitor, nobody holds its limits; a learner comes back.
"""


class LossWatch:
    """
    What is said when a node that the run needs is silent and not active.

    A dead process is seen at once where this run started it; a launch file's, or one on another
    machine, is only heard no more.

    :param names: the run's nodes
    :param state: returns the lifecycle state of a node, when it is asked
    """

    def __init__(self, names: list[str], state: Callable[[str], int]) -> None:
        self._names = [name for name in names if name in PATIENCE]
        self._state = state
        self._gone: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def complaint(self, heard: Mapping[str, float], now: float) -> str:
        """
        Return what node is lost, or ''.

        :param heard: name -> s on the clock of `now` when a node said something last
        """
        for name in self._names:
            if now - heard.get(name, now) <= SILENCE:
                self._gone.pop(name, None)
            elif now - self._asked.get(name, 0.0) >= SILENCE:
                self._asked[name] = now
                state = self._state(name)
                if state == ACTIVE:
                    self._gone.pop(name, None)
                elif now - self._gone.setdefault(name, now) >= PATIENCE[name]:
                    return self._text(name, state)
        return ''

    def at_the_end(self) -> str:
        """Return whether the cost monitor is lost when the run would end well, or ''."""
        name = 'cost_monitor'
        state = self._state(name) if name in self._names else ACTIVE
        return '' if state == ACTIVE else self._text(name, state)

    def _text(self, name: str, state: int) -> str:
        what = 'nobody held the cost limits' if name == 'cost_monitor' else 'nothing was learned'
        return (f'{name} was lost ({STATES.get(state, "in transition")}): {what} since; continue '
                'with --resume')
