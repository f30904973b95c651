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

"""Detection of nodes of the run that are lost for good."""

from collections.abc import Callable
from collections.abc import Mapping

from spaars_ros.run.lifecycle_client import ACTIVE
from spaars_ros.run.lifecycle_client import STATES

SILENCE = 3.0
"""s of silence before a node's state is requested, and between two such requests."""
PATIENCE: Mapping[str, float] = {'cost_monitor': 10.0, 'learner': 60.0}
"""
s after which a node that is silent and not active counts as lost.

Short for the cost monitor, because without it nothing holds the cost limits. Long for the
learner, because it is restarted.
"""


class LossWatch:
    """
    Monitor of the nodes that the run needs: detects one that is silent and not active.

    A dead process is detected at once if this run started it. A process of a launch file, or on
    another machine, just becomes silent.

    :param names: names of the run's nodes
    :param state: requests the lifecycle state of a node and returns it
    """

    def __init__(self, names: list[str], state: Callable[[str], int]) -> None:
        self._names = [name for name in names if name in PATIENCE]
        self._state = state
        self._gone: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def complaint(self, heard: Mapping[str, float], now: float) -> str:
        """
        Return an error text for a lost node, '' when there is none.

        :param heard: name -> time in s, on the clock of `now`, of the last message of a node
        :param now: current time, s
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
        """Return an error text if the cost monitor is not active at the end, else ''."""
        name = 'cost_monitor'
        state = self._state(name) if name in self._names else ACTIVE
        return '' if state == ACTIVE else self._text(name, state)

    def _text(self, name: str, state: int) -> str:
        what = 'nobody held the cost limits' if name == 'cost_monitor' else 'nothing was learned'
        return (f'{name} was lost ({STATES.get(state, "in transition")}): {what} since; continue '
                'with --resume')
