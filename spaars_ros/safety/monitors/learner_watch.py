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

"""Monitor of the learner: it still reports its progress."""

from spaars_ros.safety.stop import Stop


class LearnerWatch:
    """
    Stop for an arm that is not to move while nobody learns from it.

    :param mode: ignore or stop
    :param timeout: s without a report after which the learner counts as gone
    """

    def __init__(self, *, mode: str, timeout: float) -> None:
        self._stops = mode == 'stop'
        self._timeout = timeout
        self._heard: float | None = None

    def heard(self, now: float) -> None:
        """Note a report at `now` s on the monotonic clock."""
        self._heard = now

    def cause(self, now: float) -> Stop | None:
        """Return a stop while no report arrives; the first call begins the wait."""
        if not self._stops:
            return None
        if self._heard is None:
            self._heard = now
        waited = now - self._heard
        return None if waited <= self._timeout else Stop(
            'LEARNER', waited, self._timeout, 's without a report on learner/progress')
