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
"""What acts: the newest version, or the one before the returns fell."""

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.algorithm import Algorithm
from spaars_ros.learning.algorithm import PhasedLearner
from spaars_ros.learning.averaged import AveragedWeights

CLEARLY = 2.0
"""With one, every sixth judgement of a version that is as good would be against it."""


class Fallback:
    """
    Lets the newest version act unless the newest training episodes speak against it.

    A version is the mean of the weights and the algorithm's state after a training episode. It is
    judged by the returns of the newest `episodes` of the kind that would act in use, with their
    exploration noise. While their mean is below the greatest so far by more than `CLEARLY`
    standard errors of the difference, the version that had the greatest acts. It also acts after
    the kind has changed, from gated to latent or back, until the other kind has its episodes.

    After TD7's checkpoints (Fujimoto et al. 2023): there the best always acts, by the least return
    of episodes in which the policy rests. One stream of episodes on a robot does not rest, and the
    best of few noisy returns is the luckiest, so here the newest has the benefit of doubt (ours).

    :param average: of `algorithm.agent`; the newest version's weights
    :param episodes: that judge a version, 2 or more; 0: the newest one always acts
    """

    def __init__(self, algorithm: Algorithm, average: AveragedWeights, episodes: int) -> None:
        self._algorithm, self._average, self._episodes = algorithm, average, episodes
        agent = algorithm.agent
        self._own: dict[str, Tensor] = {**dict(agent.named_parameters()),
                                        **dict(agent.named_buffers())}
        self._kept: dict[str, Tensor] = {}
        self._kept_state: dict[str, Any] = {}
        self._kept_returns: list[float] = []
        self._kept_steps = 0
        self._doubted = False
        self._recent: list[float] = []
        self._phases = algorithm.curriculum if isinstance(algorithm, PhasedLearner) else None
        self._kind = self._tried = ''

    @property
    def steps(self) -> int | None:
        """Environment steps after which the version that acts was made; None: the newest acts."""
        return self._kept_steps if self._doubted else None

    def begin_episode(self) -> None:
        """Note what tries itself in the training episode that begins."""
        self._tried = '' if self._phases is None else self._phases.tried

    def take_episode(self, total: float, allowed: bool, steps: int) -> None:
        """
        Judge the version of the moment, after the algorithm took its episode.

        :param total: the episode's return
        :param allowed: whether its costs were within their limits; one that was not counts as
            worse than any return
        :param steps: environment steps so far
        """
        if not self._episodes:
            return
        used = '' if self._phases is None else self._phases.used
        if used != self._kind:
            self._kind, self._recent = used, []
            self._doubted = bool(self._kept)
        if self._tried != used:
            return
        self._recent = [*self._recent, total if allowed else -np.inf][-self._episodes:]
        if len(self._recent) < self._episodes:
            return
        self._doubted = _clearly_worse(self._recent, self._kept_returns)
        # One that is a little worse does not take the place: a fall would pass bit by bit.
        if self._kept and np.mean(self._recent) < np.mean(self._kept_returns):
            return
        self._kept_returns, self._kept_steps = self._recent, steps
        with self._average.applied():
            self._kept = {name: own.detach().clone() for name, own in self._own.items()}
        self._kept_state = copy.deepcopy(self._algorithm.state())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the algorithm act for a while as it would in use."""
        if not self._doubted:
            with self._average.applied():
                yield
            return
        newest = {name: own.detach().clone() for name, own in self._own.items()}
        state = copy.deepcopy(self._algorithm.state())
        self._load(self._kept, self._kept_state)
        try:
            yield
        finally:
            self._load(newest, state)

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        for name, own in self._own.items():
            own.copy_(tensors[name])
        self._algorithm.load_state(state)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the version kept, by name; {} for none."""
        return {name: kept.numpy() for name, kept in self._kept.items()}

    def state(self) -> dict[str, Any]:
        """Return what is not a tensor, as JSON-able values."""
        return {'steps': self._kept_steps, 'returns': self._kept_returns,
                'recent': self._recent, 'kind': self._kind, 'doubted': self._doubted,
                'algorithm': self._kept_state}

    def load(self, arrays: dict[str, NDArray[Any]], state: dict[str, Any]) -> None:
        """Take `arrays()` and `state()` back."""
        self._kept = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        self._kept_steps, self._kept_returns = state['steps'], list(state['returns'])
        self._doubted = state['doubted']
        self._recent, self._kind = list(state['recent']), state['kind']
        self._kept_state = state['algorithm']


def _clearly_worse(returns: Sequence[float], kept: Sequence[float]) -> bool:
    """Return whether returns are clearly below those of the version kept; [] for none."""
    if not kept or not np.isfinite(kept).all():
        return False
    if not np.isfinite(returns).all():
        return True
    error = np.sqrt(np.var(returns, ddof=1) / len(returns) + np.var(kept, ddof=1) / len(kept))
    return bool(np.mean(kept) - np.mean(returns) > CLEARLY * error)
