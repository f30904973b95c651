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

"""What a person has to do before an episode begins, and whether it is done. Free of ROS."""

from collections.abc import Callable
import time

from spaars_ros.safety.stop import Stop


class Asking:
    """
    The list of what an episode waits for: a reset by hand, somebody who holds the switch.

    :param reset: what a person is told to put back after an episode; '' where nothing is
    :param limit: s that the run waits for it before that is a stop; 0 for no end
    :param begins: whether whoever is to act is there; None asks for nobody
    :param call: what a person is told meanwhile
    :param clock: s, steady
    """

    def __init__(self, *, reset: str = '', limit: float = 0.0,
                 begins: Callable[[], bool] | None = None, call: str = '',
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._reset, self._limit, self._begins, self._call = reset, limit, begins, call
        self._clock = clock
        self._open = False
        self._since: float | None = None

    def ask(self) -> None:
        """Want the reset before the next episode."""
        self._open, self._since = bool(self._reset), self._clock()

    def ready(self) -> bool:
        """Take a person's word that it is done; return whether anybody had asked."""
        asked, self._open = self._open, False
        return asked

    def begun(self) -> None:
        """Note that an episode has begun."""
        self._open, self._since = False, None

    @property
    def wanted(self) -> str:
        """Return what a person has to do now, '' for nothing."""
        if self._open:
            return f'{self._reset}, then say ready (spaars label ready)'
        return '' if self._begins is None or self._begins() else self._call

    def overdue(self) -> Stop | None:
        """Return a stop where nobody has done it in time."""
        if not self._open or not self._limit or self._since is None:
            return None
        waited = self._clock() - self._since
        return None if waited <= self._limit else Stop(
            'NOBODY_CAME', waited, self._limit, f's (person_reset_time): {self._reset}')
