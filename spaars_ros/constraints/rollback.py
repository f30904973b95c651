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

"""Whether a policy version has to go back to its parent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spaars_ros.constraints.costs import StepCost
from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Constraint


@dataclass(frozen=True)
class Breach:
    """What a version did that it must not."""

    version: int
    cause: str
    """A constraint's name, or 'interventions'."""
    value: float
    bound: float

    def __str__(self) -> str:
        return f'version {self.version}: {self.cause} {self.value:.4g} above {self.bound:.4g}'


class VersionJudge:
    """
    Holds each bundle version to account for what an episode cost while it acted.

    A cost belongs to the version whose action led to it, so a version that takes over in the
    middle of an episode does not answer for what came before. Judged as soon as it is certain:
    costs only grow, and interventions are counted as a share of a whole episode's ticks, at its
    own end of those that it had. One that was cut short had too few to tell.

    :param constraints: the robot file's
    :param horizon: ticks of a whole episode
    :param gamma: discount a tick of `discounted` constraints
    """

    def __init__(self, constraints: Sequence[Constraint], horizon: int, *, gamma: float = 1.0
                 ) -> None:
        self.cost_multiple = 0.0
        """Bound on cost as a multiple of each limit; 0 judges no cost."""
        self.intervention_share = 0.0
        """Bound on the share of ticks on which the filter intervened; 0 judges none."""
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
        Take a step's cost with what its record says of the action that it holds.

        Only the version that still acts is judged: one that was replaced is gone already.

        :param limits: (C,) as they are now
        """
        if cost.episode != self._episode or cost.index == 0:
            self._episode = cost.episode
            self._spent, self._ticks, self._intervened = {}, {}, {}
        elif not cost.gap:  # after a gap nobody knows who acted
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
