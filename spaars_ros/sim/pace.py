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

"""Limit of how far a simulated arm may be ahead of the learner."""

SILENCE = 5.0
"""s of wall time without progress after which a learner counts as gone."""
IDLE = 3
"""Equal progress reports after which a learner counts as idle."""
NOT_YET = 10
"""The same before its first record, since it may not have found the policy server yet."""


class LearnerPace:
    """
    Decide whether the arm has to wait for the learner; never for one that is gone or idle.

    :param max_lead: control periods that the arm may be ahead of the newest record learned from
    :param period: s, control period
    """

    def __init__(self, max_lead: int, period: float) -> None:
        self._max_lead = max_lead
        self._period = period
        self._learned = 0.0
        self._same = IDLE
        self._heard = -SILENCE
        self._received = -1.0
        self._first = -1.0
        """Number of its records in its first report, as in a resumed run."""

    def heard(self, *, received: float, owed: float, stamp: float, now: float) -> None:
        """
        Take a progress report.

        :param received: records that the learner has
        :param owed: updates that it owes for them
        :param stamp: s, of the newest record
        :param now: s on the wall clock
        """
        self._heard = now
        if self._first < 0.0:
            self._first = received
        if owed > 0:
            self._same = 0  # it has work: the arm waits again, however long it was idle before
            return
        # Equal reports with nothing owed: the learner waits for records, as during a reset that
        # moves the arm back. So the arm does not wait for the learner.
        self._same = self._same + 1 if received == self._received else 0
        self._received, self._learned = received, stamp

    def too_far(self, stamp: float, now: float) -> bool:
        """Return whether the arm at `stamp` s has to wait, at `now` s on the wall clock."""
        patience = NOT_YET if 0.0 <= self._first == self._received else IDLE
        if self._same >= patience or now - self._heard > SILENCE:
            return False
        # Stamps have rounding errors, by which a lead of whole periods must not be missed.
        return (stamp - self._learned) / self._period >= self._max_lead - 1e-6
