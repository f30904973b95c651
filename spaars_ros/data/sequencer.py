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

"""Reordering of numbered records that arrive late, twice or out of order."""

from collections.abc import Iterable

import numpy as np

from spaars_ros.data.schema import Array


class Sequencer:
    """
    Release records strictly in order of their sequence numbers, each record once.

    :param next_sequence: number of the first record to release
    :param capacity: how many records ahead of its turn a record may arrive, and how many released
        records are remembered. A record that is further ahead is dropped, since the sender can
        send it again
    """

    def __init__(self, next_sequence: int = 0, capacity: int = 20_000) -> None:
        self.next = next_sequence
        self.capacity = capacity
        self.duplicates = 0
        self.dropped = 0
        """Records that arrived too far ahead of their turn."""
        self._ahead: dict[int, Array] = {}
        self._released: dict[int, Array] = {}

    def remember(self, rows: Iterable[tuple[int, Array]]) -> None:
        """Mark numbered records as released, such as those that a recording already holds."""
        for sequence, row in rows:
            self._release(sequence, row)

    def put(self, sequence: int, row: Array) -> list[Array]:
        """Accept a record; return the records whose turn it is now, in order."""
        if sequence < self.next or sequence in self._ahead:
            self.duplicates += 1
            return []
        if sequence >= self.next + self.capacity:
            self.dropped += 1
            return []
        self._ahead[sequence] = row
        ready = []
        while self.next in self._ahead:
            ready.append(self._ahead.pop(self.next))
            self._release(self.next, ready[-1])
            self.next += 1
        return ready

    def known(self, sequence: int) -> Array | None:
        """Return the record that was accepted for a number, None if none is remembered."""
        found = self._ahead.get(sequence)
        return self._released.get(sequence) if found is None else found

    def differs(self, sequence: int, row: Array) -> bool:
        """Return whether a different record was accepted for this number."""
        known = self.known(sequence)
        return known is not None and not np.array_equal(known, row)

    def replace(self, sequence: int, row: Array) -> bool:
        """Replace the record of a known number; return whether the old one was released."""
        released = sequence in self._released
        (self._released if released else self._ahead)[sequence] = row
        return released

    def _release(self, sequence: int, row: Array) -> None:
        self._released[sequence] = row
        self._released.pop(sequence - self.capacity, None)

    @property
    def furthest(self) -> int | None:
        """Return the highest number of the records that wait for their turn, or None."""
        return max(self._ahead, default=None)

    @property
    def gap(self) -> tuple[int, int] | None:
        """Return first and last number missing before the oldest waiting record, or None."""
        return (self.next, min(self._ahead) - 1) if self._ahead else None
