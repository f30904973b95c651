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

"""Joint velocities of a robot that reports only positions."""

from collections import deque

import numpy as np

from spaars_ros.data.schema import Array

SPAN = 1.9
"""Minimum span of a velocity estimate, in control periods: two periods, less some jitter."""


class DerivedVelocity:
    """
    Joint velocity as the slope of the positions over two control periods.

    The estimate is late by one period. An encoder error of e rad causes a velocity error of at
    most e / T.

    :param period: s, control period T
    """

    def __init__(self, period: float) -> None:
        self._span = SPAN * period
        self.forget()

    def forget(self) -> None:
        """Restart from rest, after the arm was moved without measurements."""
        self._seen: deque[tuple[int, Array]] = deque()
        self._velocity: Array | None = None

    def at(self, stamp_ns: int, position: Array) -> Array:
        """Return the velocity (d,) rad/s for a position (d,) rad; 0 for the first position."""
        seen = self._seen
        if seen and stamp_ns < seen[-1][0]:  # clock set back, or states out of order
            self.forget()
            seen = self._seen
        if self._velocity is None:
            self._velocity = np.zeros(len(position))
        if seen and stamp_ns == seen[-1][0]:
            return self._velocity
        seen.append((stamp_ns, position))
        while len(seen) > 2 and (stamp_ns - seen[1][0]) * 1e-9 >= self._span:
            seen.popleft()
        if len(seen) > 1:
            then, before = seen[0]
            self._velocity = (position - before) / ((stamp_ns - then) * 1e-9)
        return self._velocity
