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

"""Value pre-alignment: its target, shared with the online phase, and rank correlations."""

from dataclasses import asdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
import torch
from torch import Tensor

from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser

Array = NDArray[np.float64]


def soft_targets(batch: Batch, pair: Tensor, log_prob: Tensor, *, entropy_reward: Tensor | float,
                 entropy_cost: float = 0.0, cost_weight: float = 1.0) -> Tensor:
    """
    Return the targets (B, 1 + C) of a critic of reward and costs.

        y_r = r + gamma [min_i Q_r,i(s', a') - alpha_r log pi(a'|s')]
        y_c = c + gamma [Q_c(s', a') - alpha_c log pi(a'|s')],     a' ~ pi(.|s')

    docs/concepts/marvel.md (reconstructed from the paper's facts and the released code). An
    uncertain action has a low log pi: alpha_c >= 0 raises its estimated cost. The cost target is
    the mean of the two heads; the sourced critic has a single head. Caution comes from the
    multiplier, which follows measured costs.

    :param pair: (2, B, 1 + C) values of two target heads at (s', a')
    :param log_prob: (B) log-probability of a'
    :param entropy_reward: alpha_r
    :param entropy_cost: alpha_c
    :param cost_weight: factor on the batch's costs c
    """
    discount = batch['discount']
    reward = pair[..., 0].amin(0) - entropy_reward * log_prob
    cost = pair[..., 1:].mean(0) - entropy_cost * log_prob[:, None]
    return torch.cat([(batch['reward'] + discount * reward)[:, None],
                      cost_weight * batch['cost'] + discount[:, None] * cost], -1)


@dataclass(frozen=True)
class Ranking:
    """Spearman's rank correlation of Q with Monte-Carlo returns, in [-1, 1]."""

    reward: float
    cost: float
    """Correlation for the first constraint; both are NaN if all returns or values are equal."""

    def to_json(self) -> dict[str, float | None]:
        """Return both correlations by name, None for NaN."""
        return {name: value if np.isfinite(value) else None
                for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Sample:
    """States visited by a policy, its actions and the observed returns, for `rank`."""

    observations: Array
    """(N, n) physical units."""
    actions: Array
    """(N, d) in [-1, 1]."""
    returns: Array
    """(N, 1 + C) discounted sums of reward and costs, all over the same number of steps."""


def discounted_windows(values: Array, gamma: float, window: int) -> Array:
    """
    Return sum_{k < window} gamma^k values[t + k] for every t with a complete window.

    All windows have the same length; shorter ones would make states near the time limit look
    cheap.

    :param values: (T, ...)
    :param window: number of steps
    :return: (T - window + 1, ...)
    :raises ValueError: fewer steps than the window
    """
    starts = len(values) - window + 1
    if starts < 1:
        raise ValueError(f'{len(values)} steps, and a window of {window}')
    powers = gamma ** np.arange(window)
    return np.stack([np.tensordot(powers, values[t:t + window], 1) for t in range(starts)])


def rank(critic: EnsembleCritic, normaliser: Normaliser, sample: Sample) -> Ranking:
    """Return the rank correlation of the critic's mean over heads with a sample's returns."""
    with torch.no_grad():
        o, a = (torch.from_numpy(each).to(critic.weights[0].device) for each in (
            normaliser(sample.observations), sample.actions.astype(np.float32)))
        values = array_of(critic(o, a).mean(0))
    found = [_spearman(values[:, i], sample.returns[:, i]) for i in (0, 1)]
    return Ranking(*found)


def _spearman(values: NDArray[np.floating], returns: Array) -> float:  # type: ignore[type-arg]
    if np.ptp(values) == 0 or np.ptp(returns) == 0:
        return float('nan')
    return float(spearmanr(values, returns).statistic)


def attainable(returns: Array) -> float | None:
    """
    Return the greatest rank correlation that a critic can reach with returns (N,) with ties.

    A critic's values have no ties, so it orders even states of equal return. Return None if all
    returns are tied.
    """
    if np.ptp(returns) == 0:
        return None
    order = np.argsort(np.argsort(returns, kind='stable'), kind='stable')
    return float(spearmanr(order, returns).statistic)


def policy_action(policy: SquashedGaussian, o: Tensor, rng: np.random.Generator, explore: bool
                  ) -> ActionSample:
    """Return the mode of the policy in one state (1, n), normalised, or a sample to explore."""
    with torch.no_grad():
        if not explore:
            return ActionSample.of(policy.mode(o))
        mean, log_std = (array_of(each[0]) for each in policy(o))
    noise = rng.standard_normal(len(mean))
    return ActionSample(np.asarray(np.tanh(mean + np.exp(log_std) * noise), np.float64))
