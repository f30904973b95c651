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

"""
Manual reset request: what the operator has to do before the next episode, and whether it is done.

Free of ROS.
"""

from collections.abc import Callable
import time

from spaars_ros.safety.stop import Stop


class Asking:
    """
    What an episode waits for: a manual reset, or a person who holds the dead man's switch.

    :param reset: manual reset that the operator is asked to do after an episode; '' for none
    :param limit: s that the run waits for the reset before a stop; 0 for no limit
    :param begins: returns whether the person who is to act is present; None: nobody is needed
    :param call: text for the operator while that person is absent
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
        """Request the reset before the next episode."""
        self._open, self._since = bool(self._reset), self._clock()

    def ready(self) -> bool:
        """Take an operator's confirmation of the reset; return whether it was requested."""
        asked, self._open = self._open, False
        return asked

    def begun(self) -> None:
        """Note that an episode has begun."""
        self._open, self._since = False, None

    @property
    def wanted(self) -> str:
        """Return what the operator has to do now, '' for nothing."""
        if self._open:
            return f'{self._reset}, then say ready (spaars label ready)'
        return '' if self._begins is None or self._begins() else self._call

    def overdue(self) -> Stop | None:
        """Return a stop if nobody has done the reset in time, else None."""
        if not self._open or not self._limit or self._since is None:
            return None
        waited = self._clock() - self._since
        return None if waited <= self._limit else Stop(
            'NOBODY_CAME', waited, self._limit, f's (person_reset_time): {self._reset}')
