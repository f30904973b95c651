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

"""Champion/challenger contest between policy versions, on their training episodes."""

from collections.abc import Mapping
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 3
"""Minimum number of episodes of a version before it is compared."""
MOST = 8
"""Number of episodes of a challenger after which a verdict is forced."""
RECORD = 30
"""Number of newest episodes of each version that count."""
BLOCK = 2
"""Consecutive episodes per version. Over ROS a new version arrives within an episode; that
episode counts for no version."""
BETTER = 1.5
"""Standard errors by which a challenger must earn more to be promoted before `MOST` episodes."""
WORSE = 0.5
"""Standard errors by which a challenger must earn less to be taken back before `MOST` episodes.
`BETTER` and `WORSE` were tuned on simulated runs of 100 episodes with success or failure: a
learner that degrades lowers the deployed success rate by a few points, and the deployed version
follows a learner that improves with a delay of about ten episodes."""


class Verdict(Enum):
    """Result of the contest after an episode."""

    OPEN = 'open'
    PROMOTED = 'promoted'
    TAKEN_BACK = 'taken back'


class Champion:
    """
    Select the policy version that acts in the next training episode, and the deployed one.

    Versions are numbered; 0 is the pretrained policy. The champion is deployed. `challenge` makes
    the newly learned weights the challenger, which acts in `share` of the episodes of the
    contest. After each of its episodes the mean values of both versions are compared, in standard
    errors with a pooled variance. A better challenger becomes the champion, a worse one is taken
    back. Its episodes stay in the replay, and learning continues. The rule is not from a paper.

    The value of an episode is (reward - lambda . cost) / (1 + sum lambda), with the present
    multipliers.

    :param share: share of the episodes of a contest in which the challenger acts, 0 to 1
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.champion = 0
        self.challenger = -1
        """Version of the challenger; -1: none."""
        self.acts = 0
        """Version that acts in the next episode."""
        self._newest = 0
        self._acted = 0
        """Number of episodes in the present block."""
        self._contest = 0
        """Number of episodes in the present contest."""
        self._records: dict[int, list[list[float]]] = {0: []}
        """Version -> [reward, *costs] of each of its episodes."""

    @property
    def ready(self) -> bool:
        """Return whether a contest may begin: no challenger, champion has `LEAST` episodes."""
        return self.challenger < 0 and len(self._records[self.champion]) >= LEAST

    def episodes(self, version: int) -> int:
        """Return the number of episodes in the record of a version."""
        return len(self._records.get(version, ()))

    def challenge(self) -> int:
        """Begin a contest with the newly learned weights as challenger; return their version."""
        self._newest += 1
        self.challenger, self._contest = self._newest, 0
        self._records[self.challenger] = []
        self._choose()
        return self.challenger

    def take(self, version: int, reward: float, costs: Sequence[float],
             multipliers: NDArray[Any]) -> Verdict:
        """
        Record a finished episode and return the verdict.

        :param version: version that acted; versions outside the present contest are ignored
        :param reward: sum over the episode
        :param costs: (C,) sums over the episode
        :param multipliers: (C,) present values
        """
        if version not in self._records:
            return Verdict.OPEN
        self._records[version] = [*self._records[version], [reward, *costs]][-RECORD:]
        self._contest += self.challenger >= 0
        self._acted += version == self.acts
        verdict = self._judge(multipliers) if version == self.challenger else Verdict.OPEN
        if verdict is not Verdict.OPEN:
            self._close(verdict)
        elif self._acted >= BLOCK:
            self._choose()
        return verdict

    def _choose(self) -> None:
        """Select the version that acts in the next block."""
        self._acted = 0
        tried = self.challenger >= 0 \
            and self.episodes(self.challenger) < self.share * (self._contest + 1)
        self.acts = self.challenger if tried else self.champion

    def _judge(self, multipliers: NDArray[Any]) -> Verdict:
        mine, other = (worth(self._records[version], multipliers)
                       for version in (self.challenger, self.champion))
        if len(mine) < LEAST:
            return Verdict.OPEN
        gain, error = mine.mean() - other.mean(), error_of(mine, other)
        if gain > BETTER * error or (len(mine) >= MOST and gain > 0.0):
            return Verdict.PROMOTED
        if gain < -WORSE * error or len(mine) >= MOST:
            return Verdict.TAKEN_BACK
        return Verdict.OPEN

    def _close(self, verdict: Verdict) -> None:
        if verdict is Verdict.PROMOTED:
            self.champion = self.challenger
        self._records = {self.champion: self._records[self.champion]}
        self.challenger = -1
        self._choose()

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`, as values for JSON."""
        return {'champion': self.champion, 'challenger': self.challenger, 'acts': self.acts,
                'newest': self._newest, 'acted': self._acted, 'contest': self._contest,
                'records': {str(version): rows for version, rows in self._records.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.champion, self.challenger = int(state['champion']), int(state['challenger'])
        self.acts, self._newest = int(state['acts']), int(state['newest'])
        self._acted, self._contest = int(state['acted']), int(state['contest'])
        self._records = {int(version): [[float(value) for value in row] for row in rows]
                         for version, rows in state['records'].items()}

    def withdraw(self) -> None:
        """End the contest without promotion, because the challenger's weights are lost."""
        if self.challenger >= 0:
            self._close(Verdict.TAKEN_BACK)


def worth(record: list[list[float]], multipliers: NDArray[Any]) -> NDArray[np.float64]:
    """Return the value (m,) of each episode of a record (m, 1 + C); see `Champion`."""
    rows, weights = np.asarray(record, np.float64), np.append(1.0, -np.asarray(multipliers))
    return np.asarray(rows @ weights / (1.0 + np.abs(weights[1:]).sum()))


def error_of(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the standard error of the difference of two means, with a pooled variance."""
    count = len(one) + len(other)
    spread = (one.var() * len(one) + other.var() * len(other)) / max(count - 2, 1)
    return float(np.sqrt(spread * (1.0 / len(one) + 1.0 / len(other))))
