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
"""Chunks of trajectories: offline windows of H steps, and the skills of an executed episode."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Replay

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Encode = Callable[[Floats, Floats], Floats]
"""Windows (B, H, n) in physical units and actions (B, H, d) -> posterior means z (B, k)."""

LIMIT = 1.0 - 1e-5
"""Bound of |u|, u = tanh(z), so that z is finite; docs/concepts/skills.md (SUPE, sourced)."""
BOUND = float(np.arctanh(LIMIT))
"""Bound of |z|, about 6.1."""


def squash(skills: NDArray[Any]) -> Floats:
    """Return u = tanh(z), clipped to +-`LIMIT`, for skills z (..., k)."""
    return np.clip(np.tanh(skills), -LIMIT, LIMIT).astype(np.float32)


class Chunks:
    """
    All windows of H steps in the episodes of a data set, with stride 1.

    docs/concepts/skills.md (sourced). A window never crosses the end of an episode. Its reward is
    R = sum_{i<H} gamma^i r_i, shaped and scaled like the replay's rewards. Its costs are summed
    likewise and scaled. Its discount is 0 after a true termination.

    :param data: replay of complete episodes, with nothing overwritten
    :param length: H
    :param discount: factor on the value at s_H
    :raises ValueError: no window fits; names H and the longest episode
    """

    def __init__(self, data: Replay, length: int, *, discount: float) -> None:
        columns = data.arrays()
        after, before = columns['after'], columns['before']
        self.length = length
        self.starts = np.flatnonzero(after >= length - 1)
        """(M,) row at which each window begins."""
        if not len(self.starts):
            longest = int((after + before).max()) + 1 if len(after) else 0
            raise ValueError(f'skill_length {length}: no chunk of so many steps fits into the '
                             f'data; the longest of its episodes has {longest}')
        self._ahead = np.arange(length)
        self._observations = data.normaliser(columns['observation'])
        self._next = data.normaliser(columns['next'])
        self._actions = columns['action']
        if data.task is None:
            step_reward = columns['reward'].astype(np.float64)
        else:
            step_reward = data.task.reward(columns['observation'].astype(np.float64),
                                           columns['action'], columns['next'].astype(np.float64))
        last = self.starts + length - 1
        mask = ~columns['terminated'][last]
        self._discount = (discount * mask).astype(np.float32)
        rewards = np.zeros(len(self.starts))
        costs = np.zeros((len(self.starts), data.constraints))
        for i in self._ahead:
            rewards += data.gamma ** i * step_reward[self.starts + i]
            costs += data.gamma ** i * columns['cost'][self.starts + i]
        self._costs = (data.scale * costs).astype(np.float32)
        if data.potential is not None and data.shaping:
            rewards += data.shaping * (
                self._discount * data.potential(columns['next'][last].astype(np.float64))
                - data.potential(columns['observation'][self.starts].astype(np.float64)))
        self._rewards = (data.scale * rewards).astype(np.float32)
        self.least = float(self._rewards.min())
        """Least R of all windows, scaled."""

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.starts)

    def windows(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return normalised observations (B, H, n) and actions (B, H, d) of windows `places`."""
        rows = self.starts[places][:, None] + self._ahead
        return torch.from_numpy(self._observations[rows]), torch.from_numpy(self._actions[rows])

    def batch(self, places: NDArray[np.int64], skills: Floats) -> Batch:
        """
        Return macro transitions (s, u, R, costs, discount, s_H) of some windows.

        :param places: (B,) indices of windows
        :param skills: (M, k) u of all windows
        """
        first, last = self.starts[places], self.starts[places] + self.length - 1
        return Batch({
            'observation': torch.from_numpy(self._observations[first]),
            'action': torch.from_numpy(skills[places]),
            'reward': torch.from_numpy(self._rewards[places]),
            'cost': torch.from_numpy(self._costs[places]),
            'next': torch.from_numpy(self._next[last]),
            'discount': torch.from_numpy(self._discount[places])})


@dataclass(frozen=True)
class Macros:
    """Macro transitions of one executed episode, s_0 -> s_H -> s_2H ..., in order."""

    observations: Array
    """(M + 1, n) physical units, at the start of each skill and at the end of the last one."""
    skills: Array
    """(M, k) z as chosen, or encoded again after raw or human actions."""
    rewards: Array
    """(M,) R = sum gamma^i r_i over the steps of the skill."""
    costs: Array
    """(M, C) discounted costs, summed likewise."""
    lengths: NDArray[np.int64]
    """(M,) number of steps; less than H only for the last skill."""
    encoded: NDArray[np.bool_]
    """(M,) whether the skill is encoded again."""
    terminated: bool
    """Whether the last macro transition ends in a true termination."""


def macro_transitions(observations: Array, actions: NDArray[Any], rewards: NDArray[Any],
                      costs: NDArray[Any], skills: NDArray[Any], skill_steps: NDArray[Any],
                      modes: NDArray[Any], terminated: bool, *, length: int, gamma: float,
                      encode: Encode) -> Macros:
    """
    Return an episode's skills as macro transitions of the high-level policy.

    A skill with raw or human actions is no longer the chosen one. It is replaced by the posterior
    mean of its executed chunk (docs/concepts/spaars.md, SPAARS-SUPE, reconstructed; SUPE does this
    for interpolated skills). If the episode ended within such a skill, the chunk is padded with
    its last step. Steps before the start of the first skill are left out.

    :param observations: (T + 1, n) physical units
    :param actions: (T, d) executed, normalised
    :param rewards: (T,)
    :param costs: (T, C)
    :param skills: (T, k) z in effect
    :param skill_steps: (T,) 0-based step within the skill
    :param modes: (T,) `Mode` of each action
    :param terminated: whether the episode ended in a true termination
    :param length: H
    :param gamma: discount per step
    :param encode: encodes windows
    :raises ValueError: skill steps do not count up from 0 to H - 1; names the index
    """
    steps = np.asarray(skill_steps, dtype=np.int64)
    begins = np.flatnonzero(steps == 0)
    if not len(begins):
        return Macros(np.asarray(observations[-1:], np.float64), np.zeros((0, skills.shape[-1])),
                      np.zeros(0), np.zeros((0, costs.shape[-1])), np.zeros(0, np.int64),
                      np.zeros(0, bool), terminated)
    ends = np.append(begins[1:], len(steps))
    for begin, end in zip(begins, ends):
        wanted = length if end < len(steps) else min(end - begin, length)
        if end - begin != wanted or (steps[begin:end] != np.arange(wanted)).any():
            raise ValueError(f'skill_step {steps[begin:end].tolist()} from step {begin}: expected '
                             f'0 to {length - 1}, one by one')
    chosen = np.asarray(skills, dtype=np.float64)[begins]
    # One column for the reward, then the costs.
    sums = np.array([gamma ** np.arange(end - begin) @ np.column_stack(
        [rewards[begin:end], costs[begin:end]]) for begin, end in zip(begins, ends)])
    encoded = np.array([np.isin(modes[begin:end], (Mode.RAW, Mode.HUMAN)).any()
                        for begin, end in zip(begins, ends)])
    if encoded.any():
        rows = np.minimum(begins[encoded][:, None] + np.arange(length),
                          ends[encoded][:, None] - 1)
        chosen[encoded] = encode(np.asarray(observations, np.float32)[rows],
                                 np.asarray(actions, np.float32)[rows])
    return Macros(np.asarray(observations, np.float64)[np.append(begins, ends[-1])], chosen,
                  sums[:, 0], sums[:, 1:], ends - begins, encoded, terminated)


def whole_skills(skill_steps: NDArray[Any], length: int) -> list[slice]:
    """
    Return the parts of an episode in which every skill but the episode's last is complete.

    :param skill_steps: (T,) 0-based step within the skill; skills with other counts are left out
    :param length: H
    """
    begins = [*np.flatnonzero(np.asarray(skill_steps) == 0), len(skill_steps)]
    parts = []
    first = begins[0]
    for begin, end in zip(begins[:-1], begins[1:]):
        counts = np.array_equal(skill_steps[begin:end], np.arange(end - begin))
        whole = end - begin == length or (end == len(skill_steps) and end - begin < length)
        if not (counts and whole):
            parts.append(slice(first, begin))
            first = end
    parts.append(slice(first, len(skill_steps)))
    return [part for part in parts if part.start < part.stop]
