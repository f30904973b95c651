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

"""Which step records are a run's next ones, and when another run has begun."""

from collections import deque
from collections.abc import Mapping
from typing import Any

KEPT = 1000
"""Stamps remembered at the beginning of a run, and at its end."""
LOST = 10
"""Records that may be missing within an episode before one that counts at once."""
LONGEST = 3600.0
"""s between two records of which the second is taken for the first one's successor."""

Record = Mapping[str, Any]
"""Fields of a step record; needed are sequence, episode, index and stamp."""


class RunWatch:
    """
    Knows a run by the numbers and stamps of its steps.

    A record that follows the newest one counts at once, also when a few between them were lost.
    Any other that is new counts when its
    own successor has come, or it a second time: a single record with a number out of the blue
    neither ends an episode's count nor makes those that follow look old.

    A number that was used with another stamp belongs to another run, whether the clock went on or
    began again. A record that is sent again has the stamp it had. Numbers that were never seen,
    of a run joined in the middle, tell nothing unless they are newer than everything seen.
    """

    def __init__(self) -> None:
        self.another = False
        """Whether what the last `take` returned belongs to another run than what was before."""
        self._forget()

    def _forget(self) -> None:
        self._first: dict[int, float] = {}
        self._last: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._newest = float('-inf')
        self._highest = -1
        self._record: Record | None = None
        self._followed = False
        self._held: Record | None = None

    def begin_after(self, sequence: int, stamp: float) -> None:
        """Take the run for known up to a record."""
        self._count({'sequence': sequence, 'stamp': stamp, 'episode': -1, 'index': -1})
        self._followed = True

    def take(self, record: Record) -> list[Record]:
        """Return the records that count from now on, in order; those sent again are not new."""
        self.another = False
        if self._record is None or _follows(self._record, record):
            self._followed = self._record is not None
            return [self._count(record)]
        if self._is_known(record):
            return [record]
        held = self._held
        if held is not None and (_follows(held, record) or _same(held, record)):
            self.another = held['sequence'] <= self._highest
            if self.another:
                self._forget()
            self._held, self._followed = None, True
            self._count(held)
            return [held, self._count(record)] if _follows(held, record) else [held]
        if self._tells_something(record):
            self._held = record
        return []

    def _count(self, record: Record) -> Record:
        sequence, stamp = record['sequence'], record['stamp']
        if sequence > self._highest:
            self._highest = sequence
            if len(self._first) < KEPT:
                self._first[sequence] = stamp
            self._last.append((sequence, stamp))
        self._newest = max(self._newest, stamp)
        self._record, self._held = record, None
        return record

    def _is_known(self, record: Record) -> bool:
        return self._stamp_of(record['sequence']) == record['stamp']

    def _tells_something(self, record: Record) -> bool:
        return (not self._followed or record['sequence'] > self._highest
                or record['stamp'] > self._newest
                or self._stamp_of(record['sequence']) is not None)

    def _stamp_of(self, sequence: int) -> float | None:
        if sequence in self._first:
            return self._first[sequence]
        return next((stamp for number, stamp in self._last if number == sequence), None)


def _follows(before: Record, after: Record) -> bool:
    """Return whether a record comes after another, as one server numbers them."""
    ahead = after['sequence'] - before['sequence']
    goes_on = after['episode'] == before['episode'] \
        and after['index'] - before['index'] == ahead and 1 <= ahead <= LOST + 1
    begins = ahead == 1 and after['index'] == 0 and (
        after['episode'] == before['episode'] + 1 or before['episode'] < 0)
    return bool((goes_on or begins) and 0.0 <= after['stamp'] - before['stamp'] <= LONGEST)


def _same(one: Record, other: Record) -> bool:
    return all(one[name] == other[name] for name in ('sequence', 'episode', 'index', 'stamp'))
