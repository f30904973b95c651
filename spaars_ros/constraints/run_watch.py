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

"""Tells the steps of another run from those that are sent again."""

from collections import deque

KEPT = 1000
"""Stamps remembered at the beginning of a run, and at its end."""


class RunWatch:
    """
    Knows a run by the stamps of its steps.

    A step number that was used with another stamp belongs to another run, whether the clock went
    on or began again. A step that is sent again has the stamp it had. Numbers that were never
    seen, of a run joined in the middle, tell nothing unless they are newer than everything seen.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._first: dict[int, float] = {}
        self._last: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._newest = float('-inf')
        self._highest = -1

    def another(self, sequence: int, stamp: float) -> bool:
        """Take a step; return whether it belongs to another run, which is then the one known."""
        known = self._stamp_of(sequence) if sequence <= self._highest else None
        other = sequence <= self._highest and (
            stamp > self._newest if known is None else known != stamp)
        if other:
            self._forget()
        if sequence > self._highest:
            self._highest = sequence
            if len(self._first) < KEPT:
                self._first[sequence] = stamp
            self._last.append((sequence, stamp))
        self._newest = max(self._newest, stamp)
        return other

    def _stamp_of(self, sequence: int) -> float | None:
        if sequence in self._first:
            return self._first[sequence]
        return next((stamp for number, stamp in self._last if number == sequence), None)
