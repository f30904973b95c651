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

"""Versions of the weights: which one acts in a training episode, and which one is deployed."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.champion import Champion
from spaars_ros.learning.core.champion import Verdict
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.trainable import TrainableModule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """Copy of one version of the networks."""

    tensors: list[Tensor]
    """Copies of all parameters and buffers."""
    settings: dict[str, Any]
    """Values of `TrainableModule.settings`."""


class Versions:
    """
    Switches a trainer's networks between their versions.

    Without a champion the newest weights act in training, and the averaged weights are deployed.
    With one (`Champion`), versions are copies of the averaged weights; champion or challenger
    acts, and the champion is deployed.

    :param champion: selects the version that acts; None: no champion
    :param every: minimum number of updates between challengers
    """

    def __init__(self, agent: TrainableModule, average: AveragedWeights, champion: Champion | None,
                 every: float) -> None:
        self._agent, self._average, self._every = agent, average, every
        self.champion = champion
        self._kept: dict[int, Kept] = {}
        self._challenged_at = 0.0

    def begin(self) -> None:
        """Begin with the weights after the offline phase."""
        self._average.begin()
        if self.champion is not None:
            self._kept = {0: self._taken()}

    @property
    def number(self) -> int:
        """Return the number of the version that acts; -1 without a champion."""
        return -1 if self.champion is None else self.champion.acts

    @property
    def weights(self) -> Kept | None:
        """Return the copy of the version that acts; None without a champion: the newest."""
        return None if self.champion is None else self._kept[self.champion.acts]

    @contextmanager
    def exchange(self) -> Iterator[Callable[[Kept | None], None]]:
        """
        Yield a function that gives the networks a version, None for the newest weights.

        The newest weights are back after the context.
        """
        own = self._tensors()
        newest: Kept | None = None
        current: Kept | None = None

        def put(kept: Kept | None) -> None:
            nonlocal newest, current
            if kept is current:
                return
            if newest is None:
                newest = Kept([each.clone() for each in own], self._agent.settings())
            self._put(own, newest if kept is None else kept)
            current = kept
        try:
            yield put
        finally:
            put(None)

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """Give the networks the deployed weights, within the context."""
        kept = None if self.champion is None else self._kept.get(self.champion.champion)
        with self._average.applied() if kept is None else self._applied(kept):
            yield

    def take(self, version: int, rewards: Array, costs: Array, multipliers: Array,
             updates: int) -> None:
        """
        Record an episode that ended, and begin the next contest when it is due.

        :param version: number of the version that acted
        :param rewards: (T,)
        :param costs: (T, C)
        :param multipliers: (C,) present values
        :param updates: number of updates so far
        """
        if self.champion is None:
            return
        verdict = self.champion.take(version, float(rewards.sum()), costs.sum(0).tolist(),
                                     multipliers)
        if verdict is not Verdict.OPEN:
            self._kept = {self.champion.champion: self._kept[self.champion.champion]}
        if self.champion.ready and updates - self._challenged_at >= self._every:
            self._challenged_at = updates
            self._kept[self.champion.challenge()] = self._taken()

    def _tensors(self) -> list[Tensor]:
        return [each.detach() for each in self._agent.state_dict(keep_vars=True).values()]

    def _taken(self) -> Kept:
        with self._average.applied():
            return Kept([each.clone() for each in self._tensors()], self._agent.settings())

    @contextmanager
    def _applied(self, kept: Kept) -> Iterator[None]:
        own = self._tensors()
        newest = Kept([each.clone() for each in own], self._agent.settings())
        self._put(own, kept)
        try:
            yield
        finally:
            self._put(own, newest)

    def _put(self, own: list[Tensor], kept: Kept) -> None:
        with torch.no_grad():
            torch._foreach_copy_(own, kept.tensors)
        self._agent.set_settings(kept.settings)

    # State

    def state(self) -> dict[str, Any] | None:
        """Return the state outside of tensors, as values for JSON; None without a champion."""
        if self.champion is None:
            return None
        return {'contest': self.champion.state(), 'challenged_at': self._challenged_at,
                'settings': {str(number): kept.settings for number, kept in self._kept.items()}}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors of the kept versions, by `<version>/<index>`."""
        return {f'{number}/{place}': array_of(tensor) for number, kept in self._kept.items()
                for place, tensor in enumerate(kept.tensors)}

    def restore(self, state: dict[str, Any] | None, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from `state()` and `arrays()`."""
        if self.champion is None or state is None:
            return
        self.champion.restore(state['contest'])
        self._challenged_at = float(state['challenged_at'])
        count = len(self._tensors())
        self._kept = {int(number): Kept(
            [self._agent.tensor(np.array(arrays[f'{number}/{place}'])) for place in range(count)],
            settings) for number, settings in state['settings'].items()}
