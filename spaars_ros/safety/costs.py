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

"""What an episode cost, counted from its step records and nothing else."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag


class CostTask(Protocol):
    """What the accounting needs of a task."""

    constraint_names: list[str]

    def costs(self, next_observation: Array, effort: Array) -> Array:
        """Return the cost (..., C) of the state reached."""


@dataclass(frozen=True)
class StepCost:
    """The cost of one record, and of its episode so far."""

    sequence: int
    episode: int
    step: Array
    """(C,) cost of this record's state; 0 for an episode's first, which no action reached."""
    total: Array
    """(C,) cost of the episode so far."""
    ended: bool
    valid: bool
    """The episode is whole and ended by itself: its total may drive a multiplier."""
    gap: bool
    """This record did not follow the one before."""


class EpisodeCosts:
    """
    Account per step and per episode; duplicates are dropped, gaps spoil the episode.

    A record's cost is that of the state it observes, so an episode's sum leaves out index 0.
    """

    def __init__(self, task: CostTask) -> None:
        self._task = task
        self._sequence = -1
        self._episode = -1
        self._total = np.zeros(len(task.constraint_names))
        self._whole = False

    def add(self, *, sequence: int, episode: int, index: int, flag: int, observation: Array,
            effort: Array) -> StepCost | None:
        """
        Count one record: observation (n,) and effort (d,) as recorded; None for a duplicate.

        Raises ValueError when the task's cost is not finite: a NaN would switch a limit off.
        """
        if sequence <= self._sequence:
            return None
        follows = sequence == self._sequence + 1
        gap = self._sequence >= 0 and not follows
        self._sequence = sequence
        if episode != self._episode:
            self._episode = episode
            self._total = np.zeros_like(self._total)
            self._whole = index == 0  # joined in the middle, or lost its beginning
        elif gap:
            self._whole = False
        cost = np.zeros_like(self._total)
        if index > 0:
            cost = np.asarray(self._task.costs(observation, effort), dtype=np.float64)
        if not np.isfinite(cost).all():
            self._whole = False
            raise ValueError(f'cost of step {sequence} is {cost}')
        self._total = self._total + cost
        ended = flag != Flag.RUNNING
        valid = ended and self._whole and flag != Flag.ABORTED
        return StepCost(sequence, episode, cost, self._total.copy(), ended, valid, gap)
