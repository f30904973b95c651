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

"""Assignment of step records to a run, and detection of the start of another run."""

from collections import deque
from collections.abc import Mapping
from typing import Any

KEPT = 1000
"""Number of stamps kept from the beginning of a run, and from its end."""
LOST = 10
"""Number of records that may be missing within an episode before a record that counts at once."""
LONGEST = 3600.0
"""s; greatest difference of stamps between a record and its successor."""

Record = Mapping[str, Any]
"""Fields of a step record; required are sequence, episode, index and stamp."""


class RunWatch:
    """
    Identify a run by the numbers and stamps of its steps.

    A record that follows the newest one counts at once, also if a few records between them were
    lost. Any other new record counts when its own successor arrives, or when it arrives a second
    time. A single record with an unrelated number therefore neither ends the count of an episode
    nor makes its successors look old.

    A known number with another stamp belongs to another run, whether the clock continued or
    restarted. A record that is sent again has its old stamp. Unknown numbers, from a run joined in
    the middle, are ignored unless they are newer than everything seen.
    """

    def __init__(self) -> None:
        self.another = False
        """Whether the records of the last `take` belong to another run than those before."""
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
        """
        Treat the run as known up to a record.

        :param stamp: s
        """
        self._count({'sequence': sequence, 'stamp': stamp, 'episode': -1, 'index': -1})
        self._followed = True

    def take(self, record: Record) -> list[Record]:
        """Return the records that count from now on, in order; repeated ones may be among them."""
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
    """Return whether a record follows another, as one server numbers them."""
    ahead = after['sequence'] - before['sequence']
    goes_on = after['episode'] == before['episode'] \
        and after['index'] - before['index'] == ahead and 1 <= ahead <= LOST + 1
    begins = ahead == 1 and after['index'] == 0 and (
        after['episode'] == before['episode'] + 1 or before['episode'] < 0)
    return bool((goes_on or begins) and 0.0 <= after['stamp'] - before['stamp'] <= LONGEST)


def _same(one: Record, other: Record) -> bool:
    return all(one[name] == other[name] for name in ('sequence', 'episode', 'index', 'stamp'))
