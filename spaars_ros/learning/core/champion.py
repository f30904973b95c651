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

"""The champion: the version with the best record of training episodes acts until it is beaten."""

from collections.abc import Mapping
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 3
"""Episodes of a version without which nothing is said about it."""
MOST = 8
"""Episodes of a challenger after which there is a verdict."""
RECORD = 30
"""Newest episodes of the champion that count."""
BLOCK = 2
"""Episodes in a row by one version: over ROS a new one arrives within an episode, which then
counts for nobody."""
BETTER = 1.5
"""Standard errors by which a challenger has to earn more to be champion before `MOST` ..."""
WORSE = 0.5
"""... and less, to be taken back before it. Chosen on made-up runs of a hundred episodes that
succeed or not: a learner that gets worse pulls what is deployed down by a few points, one that
gets better is followed some ten episodes behind."""


class Verdict(Enum):
    """What an episode decided."""

    OPEN = 'open'
    PROMOTED = 'promoted'
    TAKEN_BACK = 'taken back'


class Champion:
    """
    Which version of the policy acts in the next training episode, and which one is deployed.

    A version is known by its number; 0 is the pretrained policy. The champion is deployed. A
    challenger is what was learned when the last contest ended, and acts in `share` of the episodes
    of the contest. After each of them the mean returns of both are compared, in standard errors
    with one variance for both: a challenger that is better is the new champion, one that is worse
    is taken back. What it did stays in the replay, and learning goes on (ours).

    An episode is worth (reward - lambda . cost) / (1 + sum lambda), with the multipliers of now.

    :param share: 0 to 1, of the episodes of a contest that the challenger acts in
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.champion = 0
        self.challenger = -1
        """-1: none stands."""
        self.acts = 0
        """The version that is to act in the next episode."""
        self._newest = 0
        self._acted = 0
        """Episodes of the present block ..."""
        self._contest = 0
        """... and of the present contest."""
        self._records: dict[int, list[list[float]]] = {0: []}
        """Version -> reward and costs of its episodes."""

    @property
    def ready(self) -> bool:
        """Return whether a challenger may stand: none does, and the champion has a record."""
        return self.challenger < 0 and len(self._records[self.champion]) >= LEAST

    def episodes(self, version: int) -> int:
        """Return how many episodes of a version count."""
        return len(self._records.get(version, ()))

    def challenge(self) -> int:
        """Have what was just learned stand against the champion; return its number."""
        self._newest += 1
        self.challenger, self._contest = self._newest, 0
        self._records[self.challenger] = []
        self._choose()
        return self.challenger

    def take(self, version: int, reward: float, costs: Sequence[float],
             multipliers: NDArray[Any]) -> Verdict:
        """
        Take a finished episode of a version, and say what it decided.

        :param version: who acted; what no contest is about any more says nothing
        :param costs: (C,) sums over the episode
        :param multipliers: (C,) as they are now
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
        """Say who acts in the next block."""
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
        """Return what `restore` takes, JSON-able."""
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
        """Have no challenger stand, since its weights are gone."""
        if self.challenger >= 0:
            self._close(Verdict.TAKEN_BACK)


def worth(record: list[list[float]], multipliers: NDArray[Any]) -> NDArray[np.float64]:
    """Return what the episodes (m, 1 + C) of a record are worth, (m,)."""
    rows, weights = np.asarray(record, np.float64), np.append(1.0, -np.asarray(multipliers))
    return np.asarray(rows @ weights / (1.0 + np.abs(weights[1:]).sum()))


def error_of(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the standard error of the difference of two means, with one variance for both."""
    count = len(one) + len(other)
    spread = (one.var() * len(one) + other.var() * len(other)) / max(count - 2, 1)
    return float(np.sqrt(spread * (1.0 / len(one) + 1.0 / len(other))))
