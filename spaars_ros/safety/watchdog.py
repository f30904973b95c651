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

"""Watches the observations' stamps: too old, out of order, from another clock."""

from enum import Enum

from spaars_ros.safety.stop import Stop

AHEAD = 1.0  # s: a stamp may be this much ahead, since /clock and joint_states race each other


class Order(Enum):
    """How a stamp compares with the newest one."""

    NEW = 'new'
    SAME = 'same'
    OLD = 'old'


class Watchdog:
    """
    Say when the newest observation cannot be acted on.

    :param max_age: s on the node's clock that an observation may be old
    """

    def __init__(self, max_age: float) -> None:
        self.max_age = max_age
        self.out_of_order = 0
        self._newest: int | None = None
        self._jump: Stop | None = None

    @property
    def newest_ns(self) -> int | None:
        """Return the newest stamp, None before the first."""
        return self._newest

    def take(self, stamp_ns: int) -> Order:
        """
        Compare a stamp with the newest one and remember it when it is newer.

        A stamp that is older by more than `max_age` is a clock that jumped back: `take_jump`
        says so, and the stamps after it count from there.
        """
        if self._newest is None or stamp_ns > self._newest:
            self._newest = stamp_ns
            return Order.NEW
        if stamp_ns == self._newest:
            return Order.SAME
        back = (self._newest - stamp_ns) * 1e-9
        if back > self.max_age:
            self._jump = Stop('CLOCK_JUMP', -back, -self.max_age, 's, step between two stamps')
            self._newest = stamp_ns
            return Order.NEW
        self.out_of_order += 1
        return Order.OLD

    def take_jump(self) -> Stop | None:
        """Return, once, the stop for a clock that jumped back."""
        jump, self._jump = self._jump, None
        return jump

    def age(self, now_ns: int) -> float:
        """Return the newest observation's age in s; 0 before the first."""
        return 0.0 if self._newest is None else (now_ns - self._newest) * 1e-9

    def check(self, now_ns: int) -> Stop | None:
        """Return a stop when the newest observation is stale or ahead of the clock."""
        age = self.age(now_ns)
        if age > self.max_age:
            return Stop('STALE', age, self.max_age, 's, age of the newest joint_states')
        if age < -AHEAD:
            return Stop('CLOCK_AHEAD', -age, AHEAD, 's, joint_states ahead of the node clock')
        return None
