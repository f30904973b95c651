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

"""Monitor on the steady clock that simulated time advances."""

from spaars_ros.safety.stop import Stop

AWAKE = 3.0
"""Control periods that count at most between two calls, since this process may have been
paused."""
LATE = 3.0
"""Control periods after which the clock is late, or `SLOWER` times its longest earlier step."""
SLOWER = 2.0
FADE = 0.98
"""Factor by which the remembered longest step of the clock decays per step."""


class ClockWatch:
    """
    Measure how long the node's clock has stood still.

    Stamps, ticks and monitors use the clock that the simulation gives. When that clock stands, the
    arm may still move: it is known to stand only if a simulation reports so in `sim/held`.

    :param timeout: s on the steady clock that the node's clock may stand
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
        """s that the clock has stood while this process ran; 0 after an advance or a `hold`."""
        self.silent = 0.0
        """The same in s on the steady clock."""

    def hold(self, stamp_ns: int) -> None:
        """Note a report that the simulated arm is held, with its stamp, ns."""
        self._beat = self._beat or self._now is None or stamp_ns >= self._now

    def look(self, now: int, steady: float) -> None:
        """Check the node's clock, `now` ns, at `steady` s; call about once per control period."""
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
        Return whether the clock is late while the arm may move.

        A report of the simulation that the arm is held is valid for `timeout`.
        """
        return self._looked - self._beaten > self._timeout and self.standing > max(
            LATE * self._period, SLOWER * self._longest)

    def cause(self) -> Stop | None:
        """Return a stop while the clock has stood for too long."""
        return None if self.standing <= self._timeout else Stop(
            'CLOCK_STOPPED', self.standing, self._timeout,
            's on the steady clock since /clock went on: is the simulation paused, or its process '
            'gone?')
