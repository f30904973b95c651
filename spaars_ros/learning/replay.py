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

"""Replay of transitions, in arrays that never move once they are written."""

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

Array = NDArray[np.float32]


class Batch(dict[str, Tensor]):
    """observation (B, n), action (B, d), reward (B), cost (B, C), next (B, n), discount (B)."""


class Replay:
    """
    Transitions of whole episodes with n-step returns.

    A transition's n-step return ends where its episode ends; the discount is gamma^steps, or 0
    after a true termination, so a time limit bootstraps.
    """

    def __init__(self, capacity: int, observation: int, action: int, constraints: int, *,
                 gamma: float, n_step: int) -> None:
        self.gamma = gamma
        self.n_step = n_step
        self.size = 0
        self._columns = {
            'observation': np.zeros((capacity, observation), np.float32),
            'action': np.zeros((capacity, action), np.float32),
            'reward': np.zeros(capacity, np.float32),
            'cost': np.zeros((capacity, constraints), np.float32),
            'next': np.zeros((capacity, observation), np.float32),
            'discount': np.zeros(capacity, np.float32),
        }

    def add_episode(self, observation: Array, action: Array, reward: Array, cost: Array,
                    next_observation: Array, terminated: bool,
                    potential: Array | None = None) -> None:
        """
        Append an episode's transitions, (T, ...) each; normalised observations.

        :param potential: (T + 1,) shaping potential of the episode's states
        """
        steps = len(reward)
        if self.size + steps > len(self._columns['reward']):
            self._grow(self.size + steps)
        place = slice(self.size, self.size + steps)
        last = np.minimum(np.arange(steps) + self.n_step, steps) - 1
        returns = np.zeros(steps, np.float32)
        costs = np.zeros((steps, cost.shape[1]), np.float32)
        for i in range(steps):
            weights = self.gamma ** np.arange(last[i] + 1 - i, dtype=np.float32)
            returns[i] = weights @ reward[i:last[i] + 1]
            costs[i] = weights @ cost[i:last[i] + 1]
        discount = self.gamma ** (last + 1 - np.arange(steps)).astype(np.float32)
        if terminated:
            discount[last == steps - 1] = 0.0
        if potential is not None:
            # The n steps' shaping terms telescope; a terminal state has potential 0.
            returns += discount * potential[last + 1] - potential[:steps]
        for name, values in (('observation', observation), ('action', action),
                             ('reward', returns), ('cost', costs),
                             ('next', next_observation[last]), ('discount', discount)):
            self._columns[name][place] = values
        self.size += steps

    def sample(self, batch: int, rng: np.random.Generator) -> Batch:
        """Return `batch` transitions drawn uniformly with replacement."""
        index = rng.integers(0, self.size, batch)
        return Batch({name: torch.from_numpy(column[index])
                      for name, column in self._columns.items()})

    def _grow(self, size: int) -> None:
        for name, column in self._columns.items():
            larger = np.zeros((max(size, 2 * len(column)), *column.shape[1:]), np.float32)
            larger[:self.size] = column[:self.size]
            self._columns[name] = larger


def concatenate(first: Batch, second: Batch) -> Batch:
    """Return both batches as one."""
    return Batch({name: torch.cat([first[name], second[name]]) for name in first})
