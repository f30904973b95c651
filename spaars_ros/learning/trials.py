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

"""Trial episodes: latent, gated and raw actions compared by what they really earn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

ARMS = ('latent', 'gated', 'raw')
"""Never raw; raw where the gate says so; raw everywhere, inside the trust ball."""
WINDOW = 4
"""Newest trials of an arm that count: both policies learn, and old returns are of old ones."""
LEAST = 2
"""Trials without which an arm is not judged."""


class Trials:
    """
    Which of the arms has earned most of late, and which of them the next episode tries.

    The gate asks the critic about one action at a time, and the critic is least reliable where
    raw actions lead; nor does it see what many of them in a row are worth. Returns of whole
    episodes are slower to come by, but right (ours, docs/method.md). A trial is an episode as
    in use, without exploration. An arm's value is the mean of its newest returns less their
    standard error; latent is used until another arm has shown more.

    :param share: of the environment steps that trials take, of every arm in turn
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.arm: str | None = None
        """Of the present training episode; None: it is no trial."""
        self._returns: dict[str, list[float]] = {arm: [] for arm in ARMS}
        self._tried = dict.fromkeys(ARMS, 0)
        self._steps = self._spent = 0

    @property
    def best(self) -> str:
        """Return the arm to use."""
        return max(ARMS, key=self.value)

    def value(self, arm: str) -> float:
        """Return the mean return of an arm less its standard error; -inf if hardly tried."""
        returns = self._returns[arm]
        if len(returns) < LEAST:
            return -np.inf
        return float(np.mean(returns) - np.std(returns, ddof=1) / np.sqrt(len(returns)))

    def take(self, total: float, steps: int) -> None:
        """Take return and length of an episode, and say what the next one is."""
        self._steps += steps
        if self.arm is not None:
            self._spent += steps
            self._returns[self.arm] = [*self._returns[self.arm], total][-WINDOW:]
            self._tried[self.arm] += 1
        # By steps, since a good arm's episodes are long and would leave few to explore in.
        due = self._spent < self.share * self._steps
        self.arm = min(ARMS, key=self._tried.__getitem__) if due else None

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {'arm': self.arm, 'returns': self._returns, 'tried': self._tried,
                'steps': [self._steps, self._spent]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.arm = state['arm']
        self._steps, self._spent = state['steps']
        self._returns = {arm: [float(value) for value in state['returns'][arm]] for arm in ARMS}
        self._tried = {arm: int(state['tried'][arm]) for arm in ARMS}
