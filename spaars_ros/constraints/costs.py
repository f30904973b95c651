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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import StepSchema
from spaars_ros.robot.config import Constraint

KINDS = ('episode', 'discounted', 'step')
"""What a constraint's limit is about."""


class CostTask(Protocol):
    """What the accounting needs of a task."""

    @property
    def constraint_names(self) -> list[str]:
        """Return the names of the C constraints."""

    def constraint_costs(self, after: Array, action: Array, effort: Array) -> Array:
        """Return the cost (..., C) of the state reached."""


@dataclass(frozen=True)
class StepCost:
    """The cost of one record, and of its episode so far; arrays (C,)."""

    sequence: int
    episode: int
    index: int
    step: Array
    """Cost of this record's state and of the filter's intervention on the way there; 0 for an
    episode's first, which no action reached."""
    total: Array
    """Undiscounted sum over the episode so far."""
    discounted: Array
    """The same with the cost of index i weighted by gamma^(i - 1)."""
    measured: Array
    """What each constraint's limit is about: total, discounted, or the mean cost per step."""
    ended: bool
    valid: bool
    """The episode is whole and ended by itself: what it measured may drive a multiplier."""
    at_least: Array
    """What the whole of an episode that was cut short would at least have measured: its sums so
    far; 0 of a mean cost per step, and of everything where a record is missing."""
    gap: bool
    """This record did not follow the one before."""


class EpisodeCosts:
    """
    Account per step and per episode; duplicates are dropped, gaps spoil the episode.

    A record's cost is that of the state it observes, so an episode's sum leaves out index 0. A
    record's intervention concerns the action that it holds, so it counts with the next record.

    :param constraints: the robot file's, in the task's order; without them every limit is about
        the episode's sum, and interventions cost nothing
    :param gamma: discount a tick, 0 to 1
    """

    def __init__(self, task: CostTask, constraints: Sequence[Constraint] = (), *,
                 gamma: float = 1.0) -> None:
        self._task = task
        self._gamma = gamma
        count = len(task.constraint_names)
        kinds = [c.kind for c in constraints] or ['episode'] * count
        self._kinds = np.asarray([KINDS.index(kind) for kind in kinds], int)
        self._intervention, self._takeover = (np.asarray(
            [float(term in c.terms) for c in constraints] or np.zeros(count))
            for term in ('intervention', 'takeover'))
        self.restart()

    def restart(self) -> None:
        """Forget what was counted: another run begins."""
        self._sequence = -1
        self._episode = -1
        self._index = -1
        self._total = np.zeros(len(self._task.constraint_names))
        self._discounted = np.zeros_like(self._total)
        self._intervened = self._taken_over = False
        self._action: Array | None = None
        self._stamp: float | None = None
        self._whole = False

    def resume(self, sequence: int) -> None:
        """Take steps up to `sequence`, of a whole episode's end, for counted."""
        self._sequence = sequence

    def add(self, *, sequence: int, episode: int, index: int, flag: int, observation: Array,
            effort: Array, action: Array | None = None, intervention: int = 0, mode: int = 0,
            stamp: float | None = None) -> StepCost | None:
        """
        Count one record: fields as recorded; returns None for a duplicate.

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
            self._discounted = np.zeros_like(self._total)
            self._whole = index == 0  # joined in the middle, or lost its beginning
            self._intervened = self._taken_over = False
        elif gap:
            self._whole = self._intervened = self._taken_over = False
        # An episode that is closed between two ticks shows its last state a second time.
        again = flag == Flag.ABORTED and stamp is not None and stamp == self._stamp
        self._stamp = stamp
        cost = np.zeros_like(self._total)
        if index > 0 and not again:
            cost = np.asarray(self._task.constraint_costs(
                observation, np.zeros_like(effort) if self._action is None else self._action,
                effort), dtype=np.float64) + self._intervened * self._intervention \
                + self._taken_over * self._takeover
        self._intervened, self._taken_over = intervention != 0, mode == Mode.HUMAN
        self._action = action
        if not np.isfinite(cost).all():
            self._whole = False
            raise ValueError(f'cost of step {sequence} is {cost}')
        self._total = self._total + cost
        self._discounted = self._discounted + self._gamma ** max(index - 1, 0) * cost
        measured = np.choose(self._kinds, [self._total, self._discounted,
                                           self._total / max(index, 1)])
        ended = flag != Flag.RUNNING
        valid = ended and self._whole and flag != Flag.ABORTED
        sums = self._kinds != KINDS.index('step')
        at_least = np.where(sums & self._whole, measured, 0.0)
        return StepCost(sequence, episode, index, cost, self._total, self._discounted, measured,
                        ended, valid, at_least, gap)


def intervention_costs(constraints: Sequence[Constraint],
                       interventions: NDArray[Any],
                       takeovers: NDArray[Any] | None = None) -> Array:
    """
    Return the cost (..., C) that the filter's interventions and persons add to transitions.

    :param interventions: (...) the field of the records that hold the transitions' actions
    :param takeovers: (...) whether a person chose them; None: never
    """
    filtered, taken = (np.asarray([float(term in c.terms) for c in constraints])
                       for term in ('intervention', 'takeover'))
    costs = np.asarray((np.asarray(interventions) != 0)[..., None] * filtered)
    return costs if takeovers is None else costs + np.asarray(takeovers)[..., None] * taken


def transition_costs(task: CostTask, constraints: Sequence[Constraint], schema: StepSchema,
                     rows: Array) -> Array:
    """Return all costs (T - 1, C) of the transitions of an episode's step records (T, width)."""
    part = schema.fields
    return task.constraint_costs(rows[1:, part['observation']], rows[:-1, part['action']],
                                 rows[1:, part['effort']]) \
        + intervention_costs(constraints, schema.get(rows, 'intervention')[:-1],
                             schema.get(rows, 'mode')[:-1] == Mode.HUMAN)


def limit_units(constraints: Sequence[Constraint], horizon: int) -> list[float]:
    """Return one violation per episode in the unit of each limit (C), for `AdaptivePID`."""
    return [1.0 / horizon if c.kind == 'step' else 1.0 for c in constraints]
