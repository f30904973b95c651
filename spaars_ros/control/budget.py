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

"""Cost budget of an episode, and the restriction of the policy when it is spent."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.constraints.costs import limit_units
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Budget
from spaars_ros.data.schema import Mode
from spaars_ros.robot.config import Constraint
from spaars_ros.tasks.base import Task

MODES = ('off', 'warn', 'hold')
"""Reaction when an episode has spent its limit: none, a mark in the record, a hold."""
RESERVE = 0.4
"""Share of a limit that is left when the hold begins, since an arm in a cost needs some ticks to
leave it."""


class EpisodeBudget:
    """
    Sum each constraint's cost over an episode, and decide when the policy is held.

    With `hold`, the hold begins when less than `RESERVE` of a limit is left: the pretrained policy
    acts, slowly, behind a barrier at the zones' margin. `ends` is true where that does not help:
    the newest tick had a cost, and another tick like it would exceed a limit. Reconstructed
    (algorithms.md 8.8).

    A limit on the mean cost per step is converted to the cost of `horizon` such steps. A
    discounted cost is summed undiscounted, which is never less.

    :param task: computes the cost of a state
    :param constraints: the C constraints with their limits
    :param horizon: ticks of a complete episode
    :param mode: one of `MODES`
    """

    def __init__(self, task: Task, constraints: Sequence[Constraint], horizon: int,
                 mode: str = 'off') -> None:
        self.mode = mode
        """One of `MODES`; may be set at any tick."""
        self._task = task
        units = np.asarray(limit_units(constraints, horizon) or [1.0])
        self.limits = np.asarray([c.limit for c in constraints]) / units[:len(constraints)]
        """(C,) allowed cost per episode."""
        self._intervention, self._takeover = (
            np.asarray([float(term in c.terms) for c in constraints])
            for term in ('intervention', 'takeover'))
        self.begin()

    def begin(self) -> None:
        """Begin an episode with zero cost."""
        self.spent = np.zeros(len(self.limits))
        """(C,) cost of the episode so far."""
        self.newest = np.zeros(len(self.limits))
        """(C,) cost of the newest tick."""
        self._action: Array | None = None
        self._more = np.zeros(len(self.limits))
        self._pending: tuple[Array, Array, Array | None, Array] | None = None
        """Observation, effort, and the action and costs before it, that are not counted yet."""
        self.standing = Budget.WITHIN
        """Budget status of the episode, as far as it is counted."""

    def took(self, action: Array, intervention: int, mode: Mode) -> None:
        """Take the executed action (a,), the filter's intervention bits and the mode."""
        self._action = action
        self._more = (intervention != 0) * self._intervention \
            + (mode is Mode.HUMAN) * self._takeover

    def reached(self, observation: Array, effort: Array) -> Budget:
        """
        Take the state that the newest action reached; return the budget status.

        Only `hold` needs the status before the command. In the other modes `counted` computes it
        afterwards, and this returns its last result.

        :param observation: (n,) of the state
        :param effort: (d,) measured joint efforts
        """
        self.counted()
        if self.mode == 'off' or not len(self.limits):
            self.standing = Budget.WITHIN
            return self.standing
        self._pending = observation, effort, self._action, self._more
        return self.counted() if self.mode == 'hold' else self.standing

    def counted(self) -> Budget:
        """Return the budget status with the newest state."""
        if self._pending is None:
            return self.standing
        (observation, effort, action, more), self._pending = self._pending, None
        if action is not None:
            cost = np.asarray(self._task.constraint_costs(observation, action, effort),
                              dtype=np.float64) + more
            # The cost monitor reports a non-finite cost; here it counts as 1.
            self.newest = np.where(np.isfinite(cost), cost, 1.0)
            self.spent = self.spent + self.newest
        if self.mode == 'hold' and (self.spent > (1.0 - RESERVE) * self.limits).any():
            self.standing = Budget.HELD
        else:
            self.standing = Budget.WARNED if (self.spent > self.limits).any() else Budget.WITHIN
        return self.standing

    @property
    def ends(self) -> bool:
        """Return whether a held episode has to end: it still has a cost, and no budget is left."""
        return bool(((self.newest > 0.0) & (self.spent + self.newest > self.limits)).any())
