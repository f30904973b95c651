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

"""Monitor of the observations' stamps: too old, out of order, from another clock."""

from enum import Enum

from spaars_ros.safety.monitors.recent import Recent
from spaars_ros.safety.stop import Stop

AHEAD = 1.0  # s: a stamp may be this far ahead, as /clock and joint_states arrive in any order


class Order(Enum):
    """How a stamp compares with the newest one."""

    NEW = 'new'
    SAME = 'same'
    OLD = 'old'


class Watchdog:
    """
    Detect when the newest observation must not be acted on.

    :param max_age: s on the node's clock that an observation may be old
    :param window: number of joint_states among which those out of order are counted
    :param out_of_order: number of them that is a stop, 0 for never
    :param wall: whether the stamps' clock runs as fast as the monotonic one
    """

    def __init__(self, max_age: float, *, window: int = 50, out_of_order: int = 0,
                 wall: bool = False) -> None:
        self.max_age = max_age
        self._disorder = Recent(window, out_of_order)
        self._window = window
        self._wall = wall
        self._newest: int | None = None
        self._arrived = 0.0
        self._jump: Stop | None = None
        self.repeated = 0
        """Number of states with the stamp of the previous state and other content."""
        self.behind = ''
        """Joints of the oldest part of the joint_states, where several publishers send parts."""

    @property
    def newest_ns(self) -> int | None:
        """Return the newest stamp, ns; None before the first."""
        return self._newest

    @property
    def out_of_order(self) -> int:
        """Return how many stamps were out of order since the start."""
        return self._disorder.total

    def take(self, stamp_ns: int, arrived: float = 0.0) -> Order:
        """
        Compare a stamp with the newest one and remember it when it is newer.

        The clock has jumped if the stamp is older by more than `max_age`, or newer by more than
        both `max_age` and `AHEAD` (with stamps of a wall clock: beyond the time that has passed).
        `take_jump` then returns the stop, and later stamps are compared with this one.

        :param stamp_ns: stamp of the state, ns
        :param arrived: s on the monotonic clock
        """
        newest = self._newest
        if newest is None or stamp_ns > newest:
            self._disorder.add(False)
            if newest is not None:
                passed = arrived - self._arrived if self._wall else 0.0
                ahead = (stamp_ns - newest) * 1e-9 - passed
                limit = max(self.max_age, AHEAD)
                if ahead > limit:
                    self._jump = Stop('CLOCK_JUMP', ahead, limit,
                                      's, step between two stamps')
            self._newest, self._arrived = stamp_ns, arrived
            return Order.NEW
        if stamp_ns == newest:
            return Order.SAME
        back = (newest - stamp_ns) * 1e-9
        if back > self.max_age:
            self._jump = Stop('CLOCK_JUMP', -back, -self.max_age, 's, step between two stamps')
            self._newest, self._arrived = stamp_ns, arrived
            return Order.NEW
        self._disorder.add(True)
        return Order.OLD

    def repeat(self, clock_stands: bool) -> Stop | None:
        """
        Count a state with the newest stamp and other content, like one out of order.

        :param clock_stands: whether the clock is paused, so that equal stamps are no fault of the
            states
        """
        self.repeated += 1
        if clock_stands:
            return None
        self._disorder.add(True)
        return self.cause()

    def cause(self) -> Stop | None:
        """Return a stop while too many of the last joint_states were out of order."""
        return None if not self._disorder.too_many else Stop(
            'OUT_OF_ORDER', self._disorder.count, self._disorder.limit,
            f'of {self._window} joint_states older than the one before')

    def take_jump(self) -> Stop | None:
        """Return the stop for a clock that jumped back or ahead, once."""
        jump, self._jump = self._jump, None
        return jump

    def age(self, now_ns: int, steady: float) -> float:
        """
        Return the age of the newest observation, s; 0 before the first.

        With stamps of a wall clock, it is at least the time since the arrival. Otherwise a robot's
        clock that is ahead would make joint_states that have stopped look fresh for as long as it
        is ahead.

        :param now_ns: ns on the node's clock
        :param steady: s on the monotonic clock
        """
        if self._newest is None:
            return 0.0
        age = (now_ns - self._newest) * 1e-9
        return max(age, steady - self._arrived) if self._wall else age

    def check(self, now_ns: int, steady: float) -> Stop | None:
        """Return a stop when the newest observation is stale or ahead of the clock."""
        age = self.age(now_ns, steady)
        if age > self.max_age:
            part = f' of {self.behind}' if self.behind else ''
            return Stop('STALE', age, self.max_age, f's, age of the newest joint_states{part}')
        ahead = 0.0 if self._newest is None else (self._newest - now_ns) * 1e-9
        if ahead > AHEAD:
            return Stop('CLOCK_AHEAD', ahead, AHEAD, 's, joint_states ahead of the node clock')
        return None
