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

"""Replay of transitions in physical units; n-step returns are computed when sampled."""

from typing import Any
from typing import Protocol
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.tasks.protocols import Goals
from spaars_ros.tasks.protocols import Potential

if TYPE_CHECKING:
    from spaars_ros.data.transitions import Transitions

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


class RewardTask(Protocol):
    """Interface of a task for the replay."""

    @property
    def observation_dim(self) -> int:
        """Return n, the width of an observation."""

    def reward(self, before: Array, action: Array, after: Array) -> Array:
        """Return rewards (...) of observations (..., n), actions (..., d) and next (..., n)."""


class Normaliser:
    """Standardise observations by the data's mean and standard deviation; clip to +-8."""

    CLIP = 8.0

    def __init__(self, mean: Array, std: Array) -> None:
        self.mean = mean
        self.std = std

    @classmethod
    def of(cls, observations: NDArray[np.floating],  # type: ignore[type-arg]
           least: 'float | Array' = 0.0) -> 'Normaliser':
        """
        Measure observations (N, n); constant values get the standard deviation 1.

        :param least: minimum standard deviation, scalar or (n,). Without it, values that hardly
            varied in the data reach the clip after a small change
        """
        # In float64 the rounding error of a constant is far below any relevant deviation.
        mean = observations.mean(0, dtype=np.float64)
        std = observations.std(0, dtype=np.float64)
        varies = std > 1e-6 * np.maximum(1.0, np.abs(mean))
        return cls(mean, np.where(varies, np.maximum(std, least), 1.0))

    def __call__(self, observations: NDArray[np.floating]) -> Floats:  # type: ignore[type-arg]
        """Return normalised observations of the same shape, in [-8, 8]."""
        scaled = (observations - self.mean) / self.std
        return np.clip(scaled, -self.CLIP, self.CLIP).astype(np.float32)


FIELDS = ('observation', 'action', 'reward', 'cost', 'next', 'discount')
"""Tensors of a batch, in the order in which compiled updates take them."""


class Batch(dict[str, Tensor]):
    """observation (B, n), action (B, d), reward (B), cost (B, C), next (B, n), discount (B)."""

    def to(self, device: torch.device) -> 'Batch':
        """Return the batch on a device."""
        return Batch({name: each.to(device) for name, each in self.items()})


class Replay:
    """
    Ring buffer of transitions, sampled with n-step returns, shaping and hindsight goals.

    An n-step return ends where its episode ends. The discount is gamma^steps, or 0 after a true
    termination, so a time limit bootstraps. Shaping adds discount Phi(s') - Phi(s), over the n
    steps at once since the terms telescope. In a share of the sample the goal is replaced by one
    that the same episode reached (hindsight, Andrychowicz et al. 2017).

    The arrays are allocated once for `capacity` transitions, so that an append never stalls on a
    copy; the system assigns their memory as it is written. The newest transitions replace the
    oldest.

    :param capacity: maximum number of transitions
    :param task: computes rewards when they are sampled; None: rewards are stored as given
    :param action: d, width of an action
    :param constraints: C, number of costs per transition
    :param gamma: discount per step, 0 to 1
    :param n_step: n of the n-step returns
    :param scale: factor on rewards, costs and potentials
    :param shaping: weight of the potential
    :param observation: width of an observation; for a replay without a task
    :param given: whether given rewards are stored, and goals are never replaced
    :raises ValueError: capacity below 1, or neither task nor observation width
    """

    def __init__(self, capacity: int, task: RewardTask | None, normaliser: Normaliser, *,
                 action: int, constraints: int, gamma: float, n_step: int, scale: float = 1.0,
                 shaping: float = 0.0, observation: int | None = None,
                 given: bool = False) -> None:
        if capacity < 1:
            raise ValueError(f'capacity {capacity}: has to be at least 1')
        self.task = task
        self.normaliser = normaliser
        self.gamma = gamma
        self.n_step = n_step
        self.scale = scale
        # Hindsight goals and potential are optional interfaces of a task.
        self.goals = task if isinstance(task, Goals) and not given else None
        self.potential = task.potential if isinstance(task, Potential) else None
        self.shaping = shaping if task is None or self.potential else 0.0
        self.capacity = capacity
        self.constraints = constraints
        self.size = 0
        self.changes = 0
        """Number of additions and replacements so far."""
        n = observation if task is None else task.observation_dim
        if n is None:
            raise ValueError('a replay without a task has to be told the observation width')
        # Zeroed lazily by the system: no memory is resident before it is written.
        self._columns: dict[str, NDArray[Any]] = {
            'observation': np.zeros((capacity, n), np.float32),
            'action': np.zeros((capacity, action), np.float32),
            'cost': np.zeros((capacity, constraints), np.float32),
            'next': np.zeros((capacity, n), np.float32),
            'terminated': np.zeros(capacity, bool),
            # Number of steps of the same episode before and after this one.
            'before': np.zeros(capacity, np.int32),
            'after': np.zeros(capacity, np.int32),
            'mode': np.full(capacity, Mode.NONE, np.int8),
        }
        if task is None or given:
            self._columns['reward'] = np.zeros(capacity, np.float32)
        self._head = 0
        self._powers = gamma ** np.arange(n_step)

    @property
    def nbytes(self) -> int:
        """Return the size of all arrays, bytes."""
        return sum(column.nbytes for column in self._columns.values())

    def add_episode(self, observations: NDArray[np.floating],  # type: ignore[type-arg]
                    actions: NDArray[np.floating],  # type: ignore[type-arg]
                    terminated: bool, *,
                    rewards: NDArray[np.floating] | None = None,  # type: ignore[type-arg]
                    costs: NDArray[np.floating] | None = None,  # type: ignore[type-arg]
                    modes: NDArray[Any] | None = None, continues: int = 0) -> None:
        """
        Append an episode, or a part of one; returns bootstrap at the end of the stored part.

        :param observations: (T + 1, n) physical units
        :param actions: (T, d) normalised, in [-1, 1]
        :param terminated: whether the last transition is a true termination
        :param rewards: (T,), for a replay without a task or with given rewards; with a task NaN
            marks rewards that the task computes
        :param costs: (T, C); may be omitted if C is 0
        :param modes: (T,) `Mode` that chose each action
        :param continues: number of transitions of the same episode that were appended last;
            returns and hindsight goals then cross the boundary between the parts
        :raises ValueError: more steps than the capacity, or costs of the wrong shape
        """
        steps = len(actions)
        continues = min(continues, self.size, self.capacity - steps)
        if steps > self.capacity:
            raise ValueError(f'an episode of {steps} steps, room for {self.capacity}')
        ends = np.zeros(steps, bool)
        ends[-1] = terminated
        columns = {'observation': observations[:-1], 'next': observations[1:],
                   'action': actions, 'terminated': ends,
                   'before': np.arange(steps) + continues, 'after': np.arange(steps)[::-1],
                   'mode': np.full(steps, Mode.NONE) if modes is None else modes}
        columns['cost'] = np.zeros((steps, 0)) if costs is None else np.asarray(costs)
        if columns['cost'].shape != (steps, self.constraints):
            raise ValueError(f'costs have shape {columns["cost"].shape}, expected '
                             f'{(steps, self.constraints)}')
        if 'reward' in self._columns:
            assert rewards is not None or self.task is not None
            columns['reward'] = np.full(steps, np.nan) if rewards is None else rewards
        earlier = (self._head - 1 - np.arange(continues)) % self.capacity
        self._columns['after'][earlier] += steps
        first = min(steps, self.capacity - self._head)
        for name, values in columns.items():
            column = self._columns[name]
            column[self._head:self._head + first] = values[:first]
            column[:steps - first] = values[first:]
        self._head = (self._head + steps) % self.capacity
        self.changes += 1
        self.size = min(self.size + steps, self.capacity)

    def sample(self, batch: int, rng: np.random.Generator, relabel: float = 0.0) -> Batch:
        """
        Return `batch` transitions drawn uniformly with replacement, normalised.

        :param relabel: share of hindsight goals, 0 to 1, if the task offers them
        """
        return self.gather(rng.integers(0, self.size, batch), rng, relabel)

    def latest(self, mode: Mode, count: int, within: int) -> NDArray[np.int64]:
        """Return the places of the last `count` transitions of a mode in the last `within`."""
        places = np.arange(max(0, self.size - within), self.size)
        modes = self._columns['mode'][(places + self._head - self.size) % self.capacity]
        return places[modes == mode][-count:]

    def gather(self, places: NDArray[np.int64], rng: np.random.Generator,
               relabel: float = 0.0) -> Batch:
        """
        Return the transitions at given places, normalised.

        :param places: (B,) indices, 0 being the oldest transition
        :param relabel: share of hindsight goals, 0 to 1, if the task offers them
        """
        columns = self._columns
        index = (places + self._head - self.size) % self.capacity
        after = columns['after'][index]
        # (B, n_step) indices of the steps of each return; beyond the episode's end they repeat
        # the last step with weight 0.
        ahead = np.arange(self.n_step)
        counts = (ahead <= after[:, None]).astype(np.float64)
        steps = (index[:, None] + np.minimum(ahead, after[:, None])) % self.capacity
        last = steps[:, -1]
        discount = self.gamma ** counts.sum(1) * ~columns['terminated'][last]
        weights = counts * self._powers
        if self.task is None:
            observation, reached = columns['observation'][index], columns['next'][last]
            returns = (weights * columns['reward'][steps]).sum(1)
        else:
            observation = columns['observation'][index].astype(np.float64)
            path = columns['next'][steps].astype(np.float64)
            if relabel > 0.0 and self.goals is not None:
                self._relabel(observation, path, index, places, rng, relabel)
            # Beyond the episode's end the last state repeats: those rewards have weight 0.
            before = np.concatenate([observation[:, None], path[:, :-1]], axis=1)
            reward = self.task.reward(before, columns['action'][steps], path)
            if 'reward' in columns:
                given = columns['reward'][steps]
                reward = np.where(np.isnan(given), reward, given)
            reached = path[:, -1]
            returns = (weights * reward).sum(1)
            if self.shaping and self.potential is not None:
                returns += self.shaping * (discount * self.potential(reached)
                                           - self.potential(observation))
        costs = (weights[..., None] * columns['cost'][steps]).sum(1)
        return Batch({
            'observation': torch.from_numpy(self.normaliser(observation)),
            'action': torch.from_numpy(columns['action'][index]),
            'reward': torch.from_numpy((self.scale * returns).astype(np.float32)),
            'cost': torch.from_numpy((self.scale * costs).astype(np.float32)),
            'next': torch.from_numpy(self.normaliser(reached)),
            'discount': torch.from_numpy(discount.astype(np.float32))})

    def pairs(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return normalised observations (B, n) and actions (B, d) at places (B,)."""
        index = (places + self._head - self.size) % self.capacity
        return (torch.from_numpy(self.normaliser(self._columns['observation'][index])),
                torch.from_numpy(self._columns['action'][index]))

    def _relabel(self, observation: Array, path: Array, index: NDArray[np.int64],
                 places: NDArray[np.int64], rng: np.random.Generator, share: float) -> None:
        """Replace, in place, the goals of a share of the sample by ones its episode reached."""
        assert self.goals is not None
        chosen = np.flatnonzero(rng.random(len(index)) < share)
        # Exclude steps of the episode that the ring has overwritten.
        before = np.minimum(self._columns['before'][index[chosen]], places[chosen])
        after = self._columns['after'][index[chosen]]
        other = (index[chosen] + rng.integers(-before, after + 1)) % self.capacity
        goals = self.goals.hindsight(observation[chosen], self._columns['next'][other], rng)
        found = np.isfinite(goals).all(-1)
        chosen, goals = chosen[found], goals[found]
        observation[chosen] = self.goals.relabel(observation[chosen], goals)
        path[chosen] = self.goals.relabel(path[chosen], goals[:, None, :])

    def episodes(self) -> list[dict[str, NDArray[Any]]]:
        """Return the columns of each episode, oldest first; `reward` is given or computed."""
        columns = self.arrays()
        if self.task is not None:
            computed = self.task.reward(columns['observation'].astype(np.float64),
                                        columns['action'], columns['next'].astype(np.float64))
            given = columns.get('reward', np.full(len(computed), np.nan))
            columns['reward'] = np.where(np.isnan(given), computed, given)
        starts = np.flatnonzero(columns['before'] == 0)
        return [{name: column[start:end] for name, column in columns.items()}
                for start, end in zip(starts, [*starts[1:], self.size])]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the stored transitions, oldest first, for `load_arrays`."""
        order = (np.arange(self.size) + self._head - self.size) % self.capacity
        return {name: column[order] for name, column in self._columns.items()}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`; raise ValueError for other columns or more than the capacity."""
        if set(arrays) != set(self._columns):
            raise ValueError(f'replay arrays {sorted(arrays)}, expected {sorted(self._columns)}')
        size = len(arrays['action'])
        if size > self.capacity:
            raise ValueError(f'{size} transitions, room for {self.capacity}')
        for name, values in arrays.items():
            self._columns[name][:size] = values
        self.size, self._head = size, size % self.capacity
        self.changes += 1


def concatenate(first: Batch, second: Batch) -> Batch:
    """Concatenate two batches."""
    return Batch({name: torch.cat([first[name], second[name]]) for name in first})


def replay_of_transitions(data: 'Transitions', normaliser: Normaliser, *, gamma: float,
                          n_step: int, scale: float = 1.0) -> Replay:
    """Return a replay of a data set's episodes, with the rewards and costs of the data set."""
    count, dim = data.actions.shape
    replay = Replay(count, None, normaliser, action=dim, constraints=data.costs.shape[1],
                    gamma=gamma, n_step=n_step, scale=scale,
                    observation=data.observations.shape[1])
    starts = np.flatnonzero(np.diff(data.episode, prepend=data.episode[0] - 1))
    for start, end in zip(starts, [*starts[1:], count]):
        replay.add_episode(
            np.concatenate([data.observations[start:end], data.next_observations[end - 1:end]]),
            data.actions[start:end], bool(data.terminations[end - 1]),
            rewards=data.rewards[start:end], costs=data.costs[start:end])
    return replay
