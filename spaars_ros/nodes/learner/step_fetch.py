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

"""Request missing step records from the policy server."""

from collections.abc import Callable
import time

from spaars_ros.data.sequencer import Sequencer

ASK_AGAIN = 1.0
"""s of wall time before missing records are requested again."""
GIVE_UP = 30
"""Requests for a missing record, a second apart, before it is given up."""
EVERYTHING = 2.0**53
"""Last sequence number of a request when the newest is unknown."""


class StepFetch:
    """
    Decide when to request which records on `learner/fetch`.

    :param sequencer: knows the missing records
    :param publish: sends a request with first and last sequence number
    """

    def __init__(self, sequencer: Sequencer, publish: Callable[[float, float], None]) -> None:
        self._sequencer = sequencer
        self._publish = publish
        self._asked = self._advanced = time.monotonic()
        self._asked_for = (0.0, -1.0)
        self._missing, self._times = -1, 0
        self.given_up = ''
        """Error text about a step that cannot be fetched although later ones came; '' if none."""

    def ask(self, first: float, last: float) -> None:
        """Request the records `first` to `last`."""
        self._asked, self._asked_for = time.monotonic(), (float(first), float(last))
        self._publish(*self._asked_for)

    def again(self, sequence: int) -> None:
        """Request one record that was received already, for comparison."""
        self._publish(float(sequence), float(sequence))

    def advanced(self) -> None:
        """Note that the next record in sequence was received."""
        self._advanced = time.monotonic()

    def fill_gap(self) -> None:
        """
        Request missing records at once, unless they are already requested.

        Each returned record moves the beginning of the gap. A request for the rest each time
        would make the server replay the rest once per record. Records that are lost again are
        requested by `on_beat`, after a time without records.
        """
        if not self._sequencer.gap:
            return
        first, last = self._sequencer.gap
        asked_first, asked_last = self._asked_for
        if not asked_first <= first <= last <= asked_last:
            self._ask_from(first)
        elif asked_last == EVERYTHING:
            if time.monotonic() - self._asked > ASK_AGAIN:
                self._ask_from(first)
            else:
                # The answer ends with the newest record at the time of the request: at most here.
                self._asked_for = (asked_first, last)

    def on_beat(self) -> None:
        """Request again after `ASK_AGAIN` without records."""
        if time.monotonic() - max(self._asked, self._advanced) > ASK_AGAIN:
            # Also without a gap: the lost records may be the newest ones of the server.
            gap = self._sequencer.gap
            self._count(gap[0] if gap else -1)
            if gap:
                self._ask_from(gap[0])
            else:
                self.ask(self._sequencer.next, EVERYTHING)

    def _ask_from(self, first: int) -> None:
        """
        Request missing records, and all records that came ahead of sequence.

        The latter may come from another publisher, for instance if the learner has not discovered
        the server yet, and are compared with the server's. After `GIVE_UP` requests only the gap
        is requested: behind a record that cannot be fetched, ever more records come ahead.
        """
        gap = self._sequencer.gap
        last = self._sequencer.furthest if self._times <= GIVE_UP or not gap else gap[1]
        self.ask(first, last or EVERYTHING)

    def _count(self, missing: int) -> None:
        if missing != self._missing:
            self._missing, self._times = missing, 0
        self._times += 1
        if missing >= 0 and self._times > GIVE_UP:
            self.given_up = (f'step {missing} was asked for {GIVE_UP} times and did not come, '
                             'though later ones did: it is damaged in the spool')
