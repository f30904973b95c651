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

"""Watches that simulated time goes on, on the steady clock."""

from spaars_ros.safety.stop import Stop

AWAKE = 3.0
"""Control periods that count at most between two looks: this process may have been away."""
LATE = 3.0
"""Control periods after which the clock is late, or `SLOWER` times what it took before."""
SLOWER = 2.0
FADE = 0.98
"""Of the longest step of the clock, that is remembered from one step to the next."""


class ClockWatch:
    """
    Say how long the node's clock has stood still.

    Stamps, ticks and watches are on the clock that the simulation gives. Where that stands, the
    arm need not: only a simulation that says so, as `sim/held`, is known to stand with it.

    :param timeout: s on the steady clock that it may stand
    :param period: s, the control period
    """

    def __init__(self, timeout: float, period: float) -> None:
        self._timeout = timeout
        self._period = period
        self._now: int | None = None
        self._looked = 0.0
        self._longest = 0.0
        self._beat = False
        self._beaten = -timeout
        self.standing = 0.0
        """s, while this process ran, since it went on or the arm was said to be held."""
        self.silent = 0.0
        """s on the steady clock since the same."""

    def hold(self, stamp_ns: int) -> None:
        """Note that the simulated arm is said to be held at a time, ns."""
        self._beat = self._beat or self._now is None or stamp_ns >= self._now

    def look(self, now: int, steady: float) -> None:
        """Look at the clock, `now` ns, at `steady` s; about once a control period."""
        gone = steady - self._looked if self._looked else 0.0
        passed = min(gone, AWAKE * self._period)
        self._looked = steady
        if now != self._now:
            self._longest = max(self.standing + passed, FADE * self._longest) if self._now else 0.0
            self._now, self.standing, self.silent = now, 0.0, 0.0
        elif self._beat:
            self.standing, self.silent = 0.0, 0.0
        else:
            self.standing += passed
            self.silent += gone
        if self._beat:
            self._beaten = steady
        self._beat = False

    @property
    def late(self) -> bool:
        """
        Return whether nothing on this clock can be waited for, and the arm may move.

        That it does not is believed of a simulation for `timeout` after it said so last.
        """
        return self._looked - self._beaten > self._timeout and self.standing > max(
            LATE * self._period, SLOWER * self._longest)

    def cause(self) -> Stop | None:
        """Return a stop while the clock has stood for too long."""
        return None if self.standing <= self._timeout else Stop(
            'CLOCK_STOPPED', self.standing, self._timeout,
            's on the steady clock since /clock went on: is the simulation paused, or its process '
            'gone?')
