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

"""Decision whether a policy version is rolled back to its parent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spaars_ros.constraints.costs import StepCost
from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Constraint


@dataclass(frozen=True)
class Breach:
    """A bound that a policy version exceeded."""

    version: int
    cause: str
    """Name of a constraint, or 'interventions'."""
    value: float
    bound: float

    def __str__(self) -> str:
        """Return the cause, with value and bound."""
        return f'version {self.version}: {self.cause} {self.value:.4g} above {self.bound:.4g}'


class VersionJudge:
    """
    Judge of each bundle version by the cost and the interventions of episodes while it acted.

    A cost is charged to the version whose action caused it. A version that takes over in the
    middle of an episode is therefore not charged for costs before that. A version is judged as
    soon as the result is certain. Costs can only grow. Interventions are compared with the ticks
    of a complete episode, and at the end of a valid episode with its actual ticks. An interrupted
    episode had too few ticks to judge by its own length.

    :param constraints: of the robot file
    :param horizon: ticks per complete episode
    :param gamma: discount per tick, for `discounted` constraints
    """

    def __init__(self, constraints: Sequence[Constraint], horizon: int, *, gamma: float = 1.0
                 ) -> None:
        self.cost_multiple = 0.0
        """Bound on the cost, as a multiple of each limit; 0: costs are not judged."""
        self.intervention_share = 0.0
        """Bound on the fraction of ticks with an intervention; 0: interventions are not judged."""
        self._constraints = list(constraints)
        self._horizon = horizon
        self._gamma = gamma
        self._episode = -1
        self._acting = (-1, False)
        self._spent: dict[int, Array] = {}
        self._ticks: dict[int, int] = {}
        self._intervened: dict[int, int] = {}

    def add(self, cost: StepCost, limits: Sequence[float], *, version: int, intervention: int
            ) -> Breach | None:
        """
        Add a step's cost, with version and intervention of the action in its record.

        Only the version that still acts is judged: a replaced one needs no rollback.

        :param limits: (C,), present limits
        :return: the breach, None if there is none
        """
        if cost.episode != self._episode or cost.index == 0:
            self._episode = cost.episode
            self._spent, self._ticks, self._intervened = {}, {}, {}
        elif not cost.gap:  # after a gap, it is unknown who acted
            self._charge(*self._acting, cost)
        self._acting = (version, intervention != 0)
        return self._judge(version, limits, cost.valid) if version in self._ticks else None

    def _charge(self, version: int, intervened: bool, cost: StepCost) -> None:
        weight = {'episode': 1.0, 'step': 1.0 / self._horizon,
                  'discounted': self._gamma ** (cost.index - 1)}
        share = cost.step * np.asarray([weight[c.kind] for c in self._constraints])
        self._spent[version] = self._spent.get(version, 0.0) + share
        self._ticks[version] = self._ticks.get(version, 0) + 1
        self._intervened[version] = self._intervened.get(version, 0) + intervened

    def _judge(self, version: int, limits: Sequence[float], ended: bool) -> Breach | None:
        if self.cost_multiple > 0:
            for constraint, spent, limit in zip(self._constraints, self._spent[version], limits):
                bound = self.cost_multiple * limit
                if spent > bound:
                    return Breach(version, constraint.name, float(spent), bound)
        if self.intervention_share > 0:
            ticks = sum(self._ticks.values()) if ended else self._horizon
            share = self._intervened[version] / ticks
            if share > self.intervention_share:
                return Breach(version, 'interventions', share, self.intervention_share)
        return None
