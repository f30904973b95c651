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

"""Cost accounting of episodes from their step records alone."""

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
"""Quantity that a constraint's limit applies to."""


class CostTask(Protocol):
    """What the accounting needs from a task."""

    @property
    def constraint_names(self) -> list[str]:
        """Return the names of the C constraints."""

    def constraint_costs(self, after: Array, action: Array, effort: Array) -> Array:
        """Return the costs (..., C) of states (..., n), actions (..., a), effort (..., d)."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one record, and of its episode so far; arrays (C,)."""

    sequence: int
    episode: int
    index: int
    step: Array
    """
    Cost of this record's state and of interventions and takeovers on the way to it; 0 for the
    first record of an episode, which no action reached.
    """
    total: Array
    """Undiscounted sum over the episode so far."""
    discounted: Array
    """Sum over the episode so far, with the cost at index i weighted by gamma^(i - 1)."""
    measured: Array
    """Quantity of each constraint's limit: total, discounted sum, or mean cost per step."""
    ended: bool
    valid: bool
    """
    The episode has ended with no record missing and not by a stop: a multiplier may use its cost.
    """
    at_least: Array
    """
    Lower bound of what an interrupted episode would have measured: its sums so far; 0 for a mean
    cost per step, and 0 everywhere if a record is missing.
    """
    gap: bool
    """This record did not follow the one before."""


class EpisodeCosts:
    """
    Account costs per step and per episode; duplicates are dropped, gaps invalidate the episode.

    The cost of a record is that of the state it observes, so an episode's sum leaves out index 0.
    The intervention and the takeover of a record concern the action in it, so they count with the
    next record.

    :param constraints: of the robot file, in the task's order; without them, every limit applies
        to the episode's sum, and interventions and takeovers cost nothing
    :param gamma: discount per tick, 0 to 1
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
        """Reset all counts, since another run begins."""
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
        """Continue after step `sequence`, the last step of a complete episode."""
        self._sequence = sequence

    def add(self, *, sequence: int, episode: int, index: int, flag: int, observation: Array,
            effort: Array, action: Array | None = None, intervention: int = 0, mode: int = 0,
            stamp: float | None = None) -> StepCost | None:
        """
        Count one record, with its fields as recorded.

        :param observation: (n,)
        :param effort: (d,) N m
        :param action: (a,), of this record; used for the cost of the next one
        :return: None for a duplicate
        :raises ValueError: the task's cost is not finite; a NaN would switch a limit off
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
            self._whole = index == 0  # otherwise its beginning is missing
            self._intervened = self._taken_over = False
        elif gap:
            self._whole = self._intervened = self._taken_over = False
        # An episode that is closed between two ticks repeats its last state.
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
    Return the cost (..., C) that interventions and takeovers add to transitions.

    :param interventions: (...) field `intervention` of the records with the transitions' actions
    :param takeovers: (...) whether a person chose these actions; None: never
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
    """Return one violation per episode, in the unit of each limit (C), for `AdaptivePID`."""
    return [1.0 / horizon if c.kind == 'step' else 1.0 for c in constraints]
