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

"""Asks the policy server for step records that the learner misses."""

from collections.abc import Callable
import time

from spaars_ros.data.sequencer import Sequencer

ASK_AGAIN = 1.0
"""s of wall time before missing records are asked for again."""
GIVE_UP = 30
"""Times that a record before others is asked for, a second apart."""
EVERYTHING = 2.0**53
"""Last record to ask for when the newest is not known."""


class StepFetch:
    """
    When to ask for which records, as `learner/fetch` carries it.

    :param sequencer: knows what is missing
    :param publish: sends first and last of the records that are wanted again
    """

    def __init__(self, sequencer: Sequencer, publish: Callable[[float, float], None]) -> None:
        self._sequencer = sequencer
        self._publish = publish
        self._asked = self._advanced = time.monotonic()
        self._asked_for = (0.0, -1.0)
        self._missing, self._times = -1, 0
        self.given_up = ''
        """Which step cannot be had, though later ones came; '' while all can."""

    def ask(self, first: float, last: float) -> None:
        """Ask the server to publish records again."""
        self._asked, self._asked_for = time.monotonic(), (float(first), float(last))
        self._publish(*self._asked_for)

    def again(self, sequence: int) -> None:
        """Ask for one record that is there already, to compare."""
        self._publish(float(sequence), float(sequence))

    def advanced(self) -> None:
        """Take note that a record came in its turn."""
        self._advanced = time.monotonic()

    def fill_gap(self) -> None:
        """
        Ask at once for missing records, unless they are on their way.

        Each record that comes back moves the beginning of the gap: asking for the rest each time
        would have the server replay it as often as there are records. What is lost again on the
        way is asked for on the beat, when nothing has come for a while.
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
                # Whatever was the newest when the server was asked: at most what is seen now.
                self._asked_for = (asked_first, last)

    def on_beat(self) -> None:
        """Ask again when nothing has come for a while."""
        if time.monotonic() - max(self._asked, self._advanced) > ASK_AGAIN:
            # Also without a gap: the records that the server wrote last may be the lost ones.
            gap = self._sequencer.gap
            self._count(gap[0] if gap else -1)
            if gap:
                self._ask_from(gap[0])
            else:
                self.ask(self._sequencer.next, EVERYTHING)

    def _ask_from(self, first: int) -> None:
        """
        Ask for missing records, and for all that came before their turn.

        Those may be somebody else's, as with a learner that has not found the server yet, and are
        compared with what the server answers. Not for ever: behind a record that cannot be had
        there are ever more of them.
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
