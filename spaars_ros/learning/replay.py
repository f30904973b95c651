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

"""Replay of transitions in physical units; returns are made when they are sampled."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


class GoalTask(Protocol):
    """What the replay needs of a task."""

    observation_dim: int

    def reward(self, observation: Array, action: Array, next_observation: Array) -> Array:
        """Return rewards (...)."""

    def costs(self, next_observation: Array, effort: Array) -> Array:
        """Return costs (..., C)."""

    def potential(self, observation: Array) -> Array:
        """Return the shaping potential (...)."""

    def hindsight(self, observation: Array, achieved: Array,
                  rng: np.random.Generator) -> Array:
        """Return goals (B, 3) that the achieved observations would serve, NaN for none."""

    def relabel(self, observation: Array, goal: Array) -> Array:
        """Return observations with other goals."""


class Normaliser:
    """Observations in standard deviations of the demonstrations, clipped to +-8."""

    CLIP = 8.0

    def __init__(self, mean: Array, std: Array) -> None:
        self.mean = mean
        self.std = std

    @classmethod
    def of(cls, observations: NDArray[np.floating]) -> 'Normaliser':  # type: ignore[type-arg]
        """Measure (N, n) observations; a constant one gets the standard deviation 1."""
        std = observations.std(0)
        return cls(observations.mean(0).astype(np.float64),
                   np.where(std > 1e-6, std, 1.0).astype(np.float64))

    def __call__(self, observations: NDArray[np.floating]) -> Floats:  # type: ignore[type-arg]
        """Return normalised observations of the same shape."""
        scaled = (observations - self.mean) / self.std
        return np.clip(scaled, -self.CLIP, self.CLIP).astype(np.float32)


class Batch(dict[str, Tensor]):
    """observation (B, n), action (B, d), reward (B), cost (B, C), next (B, n), discount (B)."""


class Replay:
    """
    Transitions of whole episodes, sampled with n-step returns, shaped and in part relabelled.

    An n-step return ends where its episode ends; the discount is gamma^steps, or 0 after a true
    termination, so a time limit bootstraps. Shaping adds discount Phi(s') - Phi(s), over the n
    steps at once since the terms telescope. A share of the sample has its goal replaced by a
    place that the same episode came to (hindsight, Andrychowicz et al. 2017).

    :param scale: factor on rewards, costs and potentials
    :param shaping: weight of the potential
    """

    def __init__(self, capacity: int, task: GoalTask, normaliser: Normaliser, *, action: int,
                 constraints: int, gamma: float, n_step: int, scale: float = 1.0,
                 shaping: float = 0.0) -> None:
        self.task = task
        self.normaliser = normaliser
        self.gamma = gamma
        self.n_step = n_step
        self.scale = scale
        self.shaping = shaping
        self.size = 0
        n = task.observation_dim
        self._columns: dict[str, NDArray[np.float32]] = {
            'observation': np.zeros((capacity, n), np.float32),
            'action': np.zeros((capacity, action), np.float32),
            'cost': np.zeros((capacity, constraints), np.float32),
            'next': np.zeros((capacity, n), np.float32),
            'terminated': np.zeros(capacity, np.float32),
        }
        # index of the episode's first transition, and one past its last
        self._spans = np.zeros((capacity, 2), np.int64)

    def add_episode(self, observations: NDArray[np.floating],  # type: ignore[type-arg]
                    actions: NDArray[np.floating],  # type: ignore[type-arg]
                    efforts: NDArray[np.floating],  # type: ignore[type-arg]
                    terminated: bool) -> None:
        """
        Append an episode.

        :param observations: (T + 1, n) physical units
        :param actions: (T, d) normalised
        :param efforts: (T, d) N m, of the states reached
        """
        steps = len(actions)
        if self.size + steps > len(self._spans):
            self._grow(self.size + steps)
        place = slice(self.size, self.size + steps)
        ends = np.zeros(steps, np.float32)
        ends[-1] = float(terminated)
        for name, values in (
                ('observation', observations[:-1]), ('next', observations[1:]),
                ('action', actions), ('terminated', ends),
                ('cost', self.task.costs(np.asarray(observations[1:], np.float64),
                                         np.asarray(efforts, np.float64)))):
            self._columns[name][place] = values
        self._spans[place] = self.size, self.size + steps
        self.size += steps

    def sample(self, batch: int, rng: np.random.Generator, relabel: float = 0.0) -> Batch:
        """
        Return `batch` transitions drawn uniformly with replacement, normalised.

        :param relabel: share of them whose goal is replaced, where the task finds one
        """
        index = rng.integers(0, self.size, batch)
        start, end = self._spans[index].T
        # (B, n) indices of the steps of each return; beyond the episode's end they repeat the
        # last step and count for nothing.
        steps = index[:, None] + np.arange(self.n_step)
        counts = (steps < end[:, None]).astype(np.float64)
        steps = np.minimum(steps, end[:, None] - 1)
        observation = self._columns['observation'][index].astype(np.float64)
        reached = self._columns['next'][steps].astype(np.float64)
        if relabel > 0.0:
            chosen = np.flatnonzero(rng.random(batch) < relabel)
            other = rng.integers(start[chosen], end[chosen])
            goals = self.task.hindsight(observation[chosen], self._columns['next'][other], rng)
            found = np.isfinite(goals).all(-1)
            chosen, goals = chosen[found], goals[found]
            observation[chosen] = self.task.relabel(observation[chosen], goals)
            reached[chosen] = self.task.relabel(reached[chosen], goals[:, None, :])
        weights = counts * self.gamma ** np.arange(self.n_step)
        reward = self.task.reward(reached, self._columns['action'][steps], reached)
        discount = self.gamma ** counts.sum(1) * (1.0 - self._columns['terminated'][steps[:, -1]])
        last = reached[:, -1]
        returns = (weights * reward).sum(1)
        if self.shaping:
            returns += self.shaping * (discount * self.task.potential(last)
                                       - self.task.potential(observation))
        costs = (weights[..., None] * self._columns['cost'][steps]).sum(1)
        return Batch({
            'observation': torch.from_numpy(self.normaliser(observation)),
            'action': torch.from_numpy(self._columns['action'][index]),
            'reward': torch.from_numpy((self.scale * returns).astype(np.float32)),
            'cost': torch.from_numpy((self.scale * costs).astype(np.float32)),
            'next': torch.from_numpy(self.normaliser(last)),
            'discount': torch.from_numpy(discount.astype(np.float32))})

    def _grow(self, size: int) -> None:
        for name, column in self._columns.items():
            larger = np.zeros((max(size, 2 * len(column)), *column.shape[1:]), np.float32)
            larger[:self.size] = column[:self.size]
            self._columns[name] = larger
        spans = np.zeros((len(self._columns['action']), 2), np.int64)
        spans[:self.size] = self._spans[:self.size]
        self._spans = spans


def concatenate(first: Batch, second: Batch) -> Batch:
    """Return both batches as one."""
    return Batch({name: torch.cat([first[name], second[name]]) for name in first})
