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

"""Velocity nearest to the requested one within bounds and half-spaces."""

from dataclasses import dataclass

import daqp
import numpy as np

from spaars_ros.data.schema import Array

ITERATIONS = 200
"""Of the active-set method, which needs about one per active constraint."""

TIME_LIMIT = 0.001
"""s; a solution takes about ten microseconds."""

SOLVED = 1
SLACK = 1e-7
"""rad/s; closer bounds are one point, and are moved apart for the solver."""


@dataclass(frozen=True)
class Objective:
    """Objective for the velocity v (d,) instead of |v - asked|^2: minimize v'Hv / 2 - g'v."""

    hessian: Array
    """(d, d), positive definite."""
    gradient: Array
    """(d,)"""


class NearestVelocity:
    """
    Minimize |v - asked|^2, or an objective, subject to low <= v <= high and rows @ v >= least.

    Solved by daqp.

    :param joints: d
    """

    def __init__(self, joints: int) -> None:
        self._identity = np.eye(joints)

    def solve(self, asked: Array, low: Array, high: Array, rows: Array, least: Array,
              objective: Objective | None = None) -> Array | None:
        """
        Return the best v (d,) rad/s; None if infeasible, or out of iterations or time.

        :param asked: (d,) rad/s, ignored where there is an objective
        :param low: (d,) rad/s; `high` too
        :param rows: (m, d), scaled so that `least` has the unit of a velocity
        :param least: (m,) rad/s
        :param objective: replaces |v - asked|^2
        """
        upper = np.concatenate((np.maximum(high, low + SLACK), np.full(len(least), 1e30)))
        lower = np.concatenate((low, least))
        solution, _, flag, _ = daqp.solve(
            self._identity if objective is None else objective.hessian,
            -asked if objective is None else -objective.gradient,
            np.ascontiguousarray(rows), upper, lower,
            np.zeros(len(upper), dtype=np.int32), iter_limit=ITERATIONS, time_limit=TIME_LIMIT)
        if flag != SOLVED or not np.isfinite(solution).all():
            return None
        return np.minimum(np.maximum(solution, low), high)
