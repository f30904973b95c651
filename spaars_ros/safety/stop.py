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

"""Named stop, and the latch that holds it until an operator resets it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stop:
    """Reason why the robot was stopped: `value` violated `threshold`."""

    code: str
    """Upper-case name, for instance STALE or NON_FINITE."""
    value: float
    threshold: float
    text: str = ''

    def __str__(self) -> str:
        """Return code, text, value and threshold."""
        return f'{self.code}: {self.text} (value {self.value:.6g}, threshold {self.threshold:.6g})'


class StopLatch:
    """Hold the first stop; only `reset` clears it, and never while its cause persists."""

    def __init__(self) -> None:
        self._stop: Stop | None = None
        self.trips = 0

    @property
    def stop(self) -> Stop | None:
        """Return the latched stop, or None."""
        return self._stop

    def trip(self, stop: Stop) -> bool:
        """Latch a stop; return True if it is the first cause. Later causes do not replace it."""
        if self._stop is not None:
            return False
        self._stop = stop
        self.trips += 1
        return True

    def reset(self, persisting: Callable[[], Stop | None]) -> Stop | None:
        """
        Clear the latch unless a cause persists.

        :param persisting: checks the robot now and returns a cause for a stop, or None
        :return: the cause that keeps the latch, or None when it is cleared
        """
        cause = persisting()
        if cause is None:
            self._stop = None
        return cause
