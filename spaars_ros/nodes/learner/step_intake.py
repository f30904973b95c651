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

"""Take step records from the topic: in order, each once, as the policy server wrote them."""

import time

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.nodes.learner.step_fetch import ASK_AGAIN
from spaars_ros.nodes.learner.step_fetch import StepFetch

ASKED_AT_ONCE = 4
"""Disputed records requested per beat: the queue of the policy server is short."""


class StepIntake:
    """
    Decide which record is valid for each sequence number.

    Two different records with one sequence number cannot both come from the policy server. The
    record is then requested again, and the answer from the server's spool is valid.

    :param sequencer: orders the records
    :param fetching: requests records from the policy server
    """

    def __init__(self, schema: StepSchema, sequencer: Sequencer, fetching: StepFetch) -> None:
        self.problem = ''
        """Newest inconsistency of the records; '' if none."""
        self.conflicts = 0
        """Number of records that differ from an earlier one with the same sequence number."""
        self.corrected: list[Array] = []
        """Records that replace released ones; the caller empties it."""
        self._schema = schema
        self._sequencer = sequencer
        self._fetching = fetching
        self._disputed: dict[int, float] = {}
        """Sequence number -> s on the monotonic clock, time of the request."""

    def put(self, row: Array) -> list[Array]:
        """Take a record (width,); return the records that are next in sequence, in order."""
        sequence, ahead = int(self._value(row, 'sequence')), self._sequencer.next
        if self._sequencer.differs(sequence, row):
            self._dispute(sequence, row)
            return []
        self._disputed.pop(sequence, None)
        newest = self._sequencer.known(ahead - 1)
        if sequence < ahead and self._sequencer.known(sequence) is None and newest is not None \
                and self._value(row, 'stamp') > self._value(newest, 'stamp'):
            self._say_foreign(sequence)
        dropped = self._sequencer.dropped
        ready = self._sequencer.put(sequence, row)
        if self._sequencer.dropped > dropped:
            self.problem = f'step {sequence} ignored: {ahead} is the next one'
        return ready

    def on_beat(self, now: float) -> None:
        """
        Repeat unanswered requests: the record may not have been on the server's disk.

        :param now: s on the monotonic clock
        """
        waiting = [number for number, asked in self._disputed.items() if now - asked > ASK_AGAIN]
        for number in waiting[:ASKED_AT_ONCE]:
            self._ask(number, now)

    def _ask(self, sequence: int, now: float) -> None:
        self._disputed[sequence] = now
        self._fetching.again(sequence)

    def _dispute(self, sequence: int, row: Array) -> None:
        self.conflicts += 1
        if not self._in_order(sequence, row):
            self._say_foreign(sequence)
        elif sequence not in self._disputed:
            self.problem = (f'step {sequence} came twice and differs: the policy server is asked '
                            'for its own')
            self._ask(sequence, time.monotonic())
        else:
            self.problem = f"step {sequence} came twice and differed: the policy server's counts"
            self._disputed.pop(sequence, None)
            if self._sequencer.replace(sequence, row):
                self.corrected.append(row)

    def _say_foreign(self, sequence: int) -> None:
        self.problem = (f'step {sequence} is new, but {self._sequencer.next} are already '
                        'recorded: this run folder belongs to another run')

    def _in_order(self, sequence: int, row: Array) -> bool:
        """Return whether the stamp is between those of the previous and the next record."""
        before, after = (self._sequencer.known(sequence + step) for step in (-1, 1))
        stamp = self._value(row, 'stamp')
        return (before is None or self._value(before, 'stamp') <= stamp) \
            and (after is None or stamp <= self._value(after, 'stamp'))

    def _value(self, row: Array, name: str) -> float:
        return float(self._schema.get(row, name))
