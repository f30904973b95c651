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

"""Advantage gate: raw actions only where they are better with confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from numpy.typing import NDArray


@dataclass
class AdvantageGate:
    """
    Lower confidence bound of the advantage of the raw over the latent action.

    delta(s) = mean_i [Q_i(s, a_raw) - Q_i(s, a_lat)] - kappa std_i [the same]. Differences are
    taken per head, since their spread is far smaller than that of Q itself; V(s) cancels. Q is the
    Lagrangian value (Q_r - lambda . Q_c) / (1 + sum lambda). docs/concepts/spaars.md
    (reconstructed).

    :param margin: advantage that the raw action has to exceed
    :param kappa: standard deviations below the mean
    :param multipliers: lambda (C,), >= 0
    """

    margin: float
    kappa: float
    multipliers: NDArray[np.float64]

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        return np.concatenate([[1.0], -self.multipliers]) / (1.0 + self.multipliers.sum())

    def advantage(self, q_raw: NDArray[np.float32], q_latent: NDArray[np.float32]) -> float:
        """
        Return the bound for one state.

        :param q_raw: (heads, 1 + C) values of the raw action, or another candidate: reward, then
            C costs
        :param q_latent: (heads, 1 + C) values of the action that it is compared with
        """
        # Q is linear in its values, so the differences can be combined instead.
        difference = (q_raw - q_latent) @ self._weights
        mean = difference.sum() / len(difference)
        off = difference - mean
        return float(mean - self.kappa * math.sqrt(off @ off / len(difference)))

    def best(self, bounds: Sequence[float], margins: Sequence[float]) -> int:
        """
        Return the index of the candidate with the greatest bound above its margin, else 0 (floor).

        `learning/core/floor.py` has the same rule in torch, `PolicyGraph.best_of` in ONNX.

        :param bounds: `advantage` over the first candidate, of each other candidate
        :param margins: margins of these candidates
        """
        place, greatest = 0, 0.0
        for number, (bound, margin) in enumerate(zip(bounds, margins), start=1):
            if math.isfinite(bound) and bound > margin and bound > greatest:
                place, greatest = number, bound
        return place

    def opens(self, advantage: float) -> bool:
        """Return whether raw is taken; never for a bound that is not finite."""
        return math.isfinite(advantage) and advantage > self.margin
