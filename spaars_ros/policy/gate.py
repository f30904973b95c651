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

"""The advantage gate: raw actions only where they are better beyond doubt."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def combine(values: NDArray[np.float32], multipliers: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Return the Lagrangian value (Q_r - lambda . Q_c) / (1 + sum lambda) of critic heads.

    :param values: (..., 1 + C) reward value, then one cost value a constraint
    :param multipliers: (C,) not negative
    """
    return np.asarray((values[..., 0] - values[..., 1:] @ multipliers)
                      / (1.0 + multipliers.sum()))


@dataclass(frozen=True)
class AdvantageGate:
    """
    Lower confidence bound of the advantage of the raw over the latent action.

    delta(s) = mean_i [Q_i(s, a_raw) - Q_i(s, a_lat)] - kappa std_i [the same], differences taken
    head by head since their spread is far smaller than that of Q itself; V(s) cancels.
    algorithms.md 1.2, phase 2 (reconstructed).
    """

    margin: float
    kappa: float
    multipliers: NDArray[np.float64]

    def advantage(self, q_raw: NDArray[np.float32], q_latent: NDArray[np.float32]) -> float:
        """Return the bound for one state from (heads, 1 + C) values."""
        difference = combine(q_raw, self.multipliers) - combine(q_latent, self.multipliers)
        return float(difference.mean() - self.kappa * difference.std())

    def opens(self, advantage: float) -> bool:
        """Return whether raw is taken; never for a bound that is not finite."""
        return bool(np.isfinite(advantage) and advantage > self.margin)
