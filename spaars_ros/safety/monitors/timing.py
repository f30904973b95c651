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

"""Monitor of the commands' timing."""

from spaars_ros.safety.monitors.recent import Recent
from spaars_ros.safety.stop import Stop


class TimingWatch:
    """
    Count late answers and long ticks, and stop when there are too many.

    :param period: s, the control period
    :param deadline: s that joint_states may be old when their command is sent
    :param late: number of late answers in the window that stops the robot, 0 for never
    :param overruns: number of ticks longer than the period in the window that stops it, 0 for
        never
    :param window: ticks
    """

    def __init__(self, *, period: float, deadline: float, late: int, overruns: int,
                 window: int) -> None:
        self.late = Recent(window, late)
        self.overruns = Recent(window, overruns)
        self._period = period
        self._deadline = deadline
        self._window = window

    def add(self, age: float, computed: float) -> Stop | None:
        """
        Count a tick; return a stop when there are too many late answers or overruns.

        :param age: s from the stamp of joint_states until now, on the node's clock
        :param computed: s that the tick took, on the monotonic clock
        """
        late = self.late.add(age > self._deadline)
        if self.overruns.add(computed > self._period) or late:
            return self.cause()
        return None

    def cause(self) -> Stop | None:
        """Return a stop while the window holds too many."""
        if self.late.too_many:
            return Stop('DEADLINE', self.late.count, self.late.limit,
                        f'of {self._window} ticks answered later than {self._deadline:g} s')
        if self.overruns.too_many:
            return Stop('OVERRUN', self.overruns.count, self.overruns.limit,
                        f'of {self._window} ticks took longer than {self._period:g} s')
        return None


class Slots:
    """
    Count the periods that a timer missed, from the phase that it keeps.

    :param period: s
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._first: int | None = None
        self._slot = 0

    def missed(self, due: int) -> int:
        """Return how many periods were missed before the one at `due` ns on the timer's clock."""
        if self._first is None or due < self._first:
            self._first, self._slot = due, 0
        slot = round((due - self._first) * 1e-9 / self._period)
        missed = max(0, slot - self._slot - 1)
        self._slot = slot
        return missed
