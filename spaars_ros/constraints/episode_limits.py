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

"""Limits and multipliers for a program that has all costs of an episode at once."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.constraints.costs import KINDS
from spaars_ros.constraints.costs import limit_units
from spaars_ros.constraints.lagrangian import AdaptivePID
from spaars_ros.constraints.lagrangian import PIDGains
from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Constraint


class EpisodeLimits:
    """
    One `AdaptivePID` per limit, updated with the quantity that the limit applies to.

    :param limits: (C,) allowed measured cost
    :param constraints: of the robot file; without them, every limit applies to the episode's sum
    :param horizon: steps per complete episode, for limits per step
    :param gamma: discount per tick, 0 to 1, for discounted limits
    :param gains: of the controllers; None: their defaults
    """

    def __init__(self, limits: Sequence[float] | Array, constraints: Sequence[Constraint] = (), *,
                 horizon: int = 1, gamma: float = 1.0, gains: PIDGains | None = None) -> None:
        kinds = [c.kind for c in constraints] or ['episode'] * len(limits)
        units = limit_units(constraints, horizon) or [1.0] * len(limits)
        self._kinds = np.asarray([KINDS.index(kind) for kind in kinds], int)
        self._gamma = gamma
        self.controllers = [AdaptivePID(float(limit), gains, unit=unit)
                            for limit, unit in zip(limits, units)]

    def measured(self, costs: Array) -> Array:
        """Return what each limit applies to (C,), from a complete episode's costs (T, C)."""
        total = costs.sum(0)[:len(self._kinds)]
        discounted = (self._gamma ** np.arange(len(costs)) @ costs)[:len(self._kinds)]
        return np.choose(self._kinds, [total, discounted, total / len(costs)])

    def update(self, costs: Array) -> Array:
        """Update with a complete episode's costs (T, C) and return the multipliers (C,)."""
        return np.asarray([controller.update(float(cost))
                           for controller, cost in zip(self.controllers, self.measured(costs))])
