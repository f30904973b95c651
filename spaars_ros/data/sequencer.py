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

"""Puts step records back in order and says which ones are missing."""

from spaars_ros.data.schema import Array


class Sequencer:
    """
    Releases records strictly by sequence number, each once.

    :param next_sequence: the first record wanted
    :param capacity: records kept that came before their turn; further ones are dropped, because
        the sender can send them again
    """

    def __init__(self, next_sequence: int = 0, capacity: int = 20_000) -> None:
        self.next = next_sequence
        self.capacity = capacity
        self.duplicates = 0
        self._ahead: dict[int, Array] = {}

    def put(self, sequence: int, row: Array) -> list[Array]:
        """Take a record; return those whose turn it is now, in order."""
        if sequence < self.next or sequence in self._ahead:
            self.duplicates += 1
            return []
        if sequence > self.next and len(self._ahead) >= self.capacity:
            return []
        self._ahead[sequence] = row
        ready = []
        while self.next in self._ahead:
            ready.append(self._ahead.pop(self.next))
            self.next += 1
        return ready

    @property
    def gap(self) -> tuple[int, int] | None:
        """Return first and last of the missing records before the oldest kept one, or None."""
        return (self.next, min(self._ahead) - 1) if self._ahead else None
