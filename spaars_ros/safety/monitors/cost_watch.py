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

"""Monitor that costs are measured, and that they are not grossly too high."""

from collections.abc import Sequence

from spaars_ros.safety.stop import Stop


class CostWatch:
    """
    Follow the cost monitor's answers to the steps.

    One step at a time is waited for. The cost monitor is silent when neither the cost of this step
    nor of a later one has come within `timeout`. So a step that it missed during its start is
    answered by the next one.

    :param mode: off, warn or stop
    :param timeout: s
    :param names: names of the constraints
    :param limit: greatest cost per episode, 0 for none
    """

    def __init__(self, *, mode: str, timeout: float, names: Sequence[str], limit: float) -> None:
        self.mode = mode
        self.limit = limit
        self._timeout = timeout
        self._names = names
        self._waiting: tuple[int, float] | None = None
        self._broken = -1

    def stepped(self, sequence: int, now: float) -> None:
        """Note that a step was published at `now` s on the monotonic clock."""
        if self._waiting is None:
            self._waiting = sequence, now

    def heard(self, sequence: int, episode: int, costs: Sequence[float]) -> Stop | None:
        """
        Take the costs of a step; return a stop, once per episode, when one is grossly too high.

        :param sequence: number of the step
        :param episode: number of the episode
        :param costs: (C,) of the episode up to this step
        """
        if self._waiting is not None and sequence >= self._waiting[0]:
            self._waiting = None
        worst = max(range(len(costs)), key=costs.__getitem__, default=None)
        if worst is None or not 0.0 < self.limit < costs[worst] or episode <= self._broken:
            return None
        self._broken = episode
        name = self._names[worst] if worst < len(self._names) else f'constraint {worst}'
        return Stop('COST', costs[worst], self.limit, f'{name} of episode {episode}')

    def silence(self, now: float) -> Stop | None:
        """Return a stop that describes a silent cost monitor, or None; None if the mode is off."""
        if self._waiting is None or self.mode == 'off':
            return None
        waited = now - self._waiting[1]
        return None if waited <= self._timeout else Stop(
            'COST_MONITOR', waited, self._timeout,
            f's without the cost of step {self._waiting[0]}')

    def cause(self, now: float) -> Stop | None:
        """Return a stop while the cost monitor is silent, if the mode is stop."""
        return self.silence(now) if self.mode == 'stop' else None
