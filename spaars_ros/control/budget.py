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

"""What an episode may still cost, and what is taken from the policy when that is spent."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.constraints.costs import limit_units
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Budget
from spaars_ros.data.schema import Mode
from spaars_ros.robot.config import Constraint
from spaars_ros.tasks.base import Task

MODES = ('off', 'warn', 'hold')
"""What follows when an episode has spent its limit: nothing, a mark in the record, a hold."""
RESERVE = 0.4
"""Share of a limit that is left when the hold begins: an arm in a cost takes some ticks to leave
it."""


class EpisodeBudget:
    """
    Count each constraint's cost over an episode, and say when the policy is to be held.

    With `hold` the hold begins when less than `RESERVE` of a limit is left: the pretrained
    policy acts, slowly, behind a barrier at the zones' margin. It `ends` the episode where that
    does not help: when the newest tick cost something and another like it would go over.
    Reconstructed (algorithms.md 8.8).

    A limit on the mean cost per step is a budget of that many steps' cost over the horizon; a
    discounted one is counted undiscounted, which is never less.

    :param task: says what a state cost
    :param horizon: ticks of a whole episode
    """

    def __init__(self, task: Task, constraints: Sequence[Constraint], horizon: int,
                 mode: str = 'off') -> None:
        self.mode = mode
        """One of `MODES`; may be set at any tick."""
        self._task = task
        units = np.asarray(limit_units(constraints, horizon) or [1.0])
        self.limits = np.asarray([c.limit for c in constraints]) / units[:len(constraints)]
        """(C,) cost that an episode may have."""
        self._intervention, self._takeover = (
            np.asarray([float(term in c.terms) for c in constraints])
            for term in ('intervention', 'takeover'))
        self.begin()

    def begin(self) -> None:
        """Begin an episode, which has spent nothing."""
        self.spent = np.zeros(len(self.limits))
        """(C,)"""
        self.newest = np.zeros(len(self.limits))
        """(C,) of the newest tick."""
        self._action: Array | None = None
        self._more = np.zeros(len(self.limits))
        self._pending: tuple[Array, Array, Array | None, Array] | None = None
        """State, effort, and what led there, that are still to be counted."""
        self.standing = Budget.WITHIN
        """How the episode stands, as far as it is counted."""

    def took(self, action: Array, intervention: int, mode: Mode) -> None:
        """Take what was executed, (a,), and what the filter and persons had to do with it."""
        self._action = action
        self._more = (intervention != 0) * self._intervention \
            + (mode is Mode.HUMAN) * self._takeover

    def reached(self, observation: Array, effort: Array) -> Budget:
        """
        Take the state that the newest action reached; return how the episode stands.

        Only `hold` has to know before the command: elsewhere `counted` says it afterwards, and
        this returns what it said last.
        """
        self.counted()
        if self.mode == 'off' or not len(self.limits):
            self.standing = Budget.WITHIN
            return self.standing
        self._pending = observation, effort, self._action, self._more
        return self.counted() if self.mode == 'hold' else self.standing

    def counted(self) -> Budget:
        """Return how the episode stands with the newest state."""
        if self._pending is None:
            return self.standing
        (observation, effort, action, more), self._pending = self._pending, None
        if action is not None:
            cost = np.asarray(self._task.constraint_costs(observation, action, effort),
                              dtype=np.float64) + more
            # A cost that is no number is the cost monitor's to say; here it counts as one.
            self.newest = np.where(np.isfinite(cost), cost, 1.0)
            self.spent = self.spent + self.newest
        if self.mode == 'hold' and (self.spent > (1.0 - RESERVE) * self.limits).any():
            self.standing = Budget.HELD
        else:
            self.standing = Budget.WARNED if (self.spent > self.limits).any() else Budget.WITHIN
        return self.standing

    @property
    def ends(self) -> bool:
        """Return whether a held episode is to end: cost goes on, and no room is left for it."""
        return bool(((self.newest > 0.0) & (self.spent + self.newest > self.limits)).any())
