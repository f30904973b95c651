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

"""CPQ, constraints penalised Q-learning (Xu, Zhan, Zhu 2022): the offline start of Marvel."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
import torch.nn.functional as functional

from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.algorithms.constrained.alignment import policy_action
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.cvae import cvae_loss
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import Encoder
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training

POLICY_RATE = 0.3
"""Learning rate of the policy, in that of the critics; sourced is 0.1, for 100,000 updates."""
SAMPLES = 10
"""Actions of the policy a state, to find those that the data does not have."""
QUANTILE = 0.75
"""Of the KL divergence; sampled actions above it count as out of distribution."""
MARGIN = 1.5
"""Cost threshold of out-of-distribution actions, in thresholds of the policy."""
LOG_PENALTY = (-5.0, 5.0)
PENALTY_RATE = 1e-3
"""Sourced is 1e-4, for 100,000 updates."""


def value_threshold(limit: float, gamma: float, steps: int) -> float:
    """Return d (1 - gamma^T) / (1 - gamma) / T: an episode's limit as a discounted value."""
    return limit * (1.0 - gamma ** steps) / (1.0 - gamma) / steps


def from_floor(batch: Batch, floor: Tensor, training: Training) -> Tensor:
    """
    Return rewards (B) counted from `floor`, the least return of n whole steps.

    A true end counts what would have come after it, too: what ends early is neither punished
    nor rewarded for it. A window that a time limit cut short counts as a whole one, which
    favours the last n - 1 steps of an episode a little (docs/concepts/marvel.md).
    """
    after = floor / (1.0 - training.gamma ** training.n_step)
    return batch['reward'] - torch.where(batch['discount'] == 0.0, after, floor)


class CPQ(SinglePolicy):
    """
    Offline: `cvae_steps` of the VAE, then `iql_steps` of critics and policy (marvel.md).

        Q_r <- r + gamma 1[Q_c(s',a') <= q] min_i Q_r,i(s',a')
        Q_c <- c + gamma Q_c(s',a'), pushed up to at least 1.5 q out of distribution
        pi   = argmax E 1[Q_c(s,a) <= q] min_i Q_r,i(s,a) - 1[Q_c(s,a) > q] Q_c(s,a)

    with q = `value_threshold`, and `clone_weight` holding it to those actions of the data that
    are safe. That weight and the second term of the policy are ours, and so is that it begins as
    a clone of the data, made beside the VAE: where nothing is safe at first, as for a policy that
    is not trained, the first term has no gradient, and nothing ever becomes safe.

    The indicator makes an unsafe action worth 0, which is a punishment only where rewards are
    positive. They are counted from the least reward of the data here, where that is negative
    (ours; the same shift in every later phase, so that the values stay what they were). The VAE
    counts its error in the actions' variance and weighs the KL by `kl_weight`: with the sourced
    0.5 on plain squared errors it ignored the action, and found nothing foreign. A foreign
    action's cost is pushed only while it is below its mark: pushed always, as published, it rose
    without end and took the data's own costs with it before the weight had come down.
    """

    learns_online = False
    reward_floor: Tensor
    """() least reward of the data so far, scaled as in the batches, at most 0."""
    action_variance: Tensor
    """(d,) of the data."""

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`; raises ValueError without a constraint."""
        super().__init__(training, **sizes)
        n, d, constraints = self.sizes
        if constraints < 1:
            raise ValueError(f'{training.algorithm} needs a cost limit: it has no constraint')
        t = training
        self.offline_steps = t.cvae_steps + t.iql_steps
        self.threshold = t.reward_scale * t.cost_weight * value_threshold(
            t.cost_limit, t.gamma, t.episode_steps)
        self.encoder = Encoder(n, d, 2 * d, t.width)
        self.decoder = Decoder(n, 2 * d, d, t.width)
        self.policy = SquashedGaussian(n, d, t.width)
        self.critic = EnsembleCritic(n, d, 1 + constraints, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_penalty = nn.Parameter(torch.zeros(()))
        self.register_buffer('reward_floor', torch.zeros(()))
        self.register_buffer('action_variance', torch.ones(d))
        self.set_learning_rate(t.offline_learning_rate)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return what each optimiser trains."""
        return {'vae': parameters_of(self.encoder, self.decoder),
                'critic': parameters_of(self.critic), 'policy': parameters_of(self.policy),
                'penalty': [self.log_penalty]}

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure actions (N, d), in whose units the VAE counts its error."""
        variance = torch.from_numpy(actions.var(0).astype(np.float32))
        self.action_variance.copy_(variance.clamp(min=1e-4))

    def set_learning_rate(self, rate: float) -> None:
        """Begin with fresh optimisers; the policy's is slower."""
        super().set_learning_rate(rate)
        self.optimisers['policy'].rate.fill_(POLICY_RATE * rate)
        self.optimisers['penalty'].rate.fill_(PENALTY_RATE)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the VAE, or after `cvae_steps` of critics and policy."""
        if step < self.training_file.cvae_steps:
            self.reward_floor.copy_(torch.minimum(self.reward_floor, batch['reward'].min()))
            clone = -self.policy.log_prob(batch['observation'], batch['action']).mean()
            return {'vae': self._update_vae(batch), 'clone': self.step('policy', clone)}
        losses, safe = self._update_critic(batch)
        losses['policy'] = self._update_policy(batch, safe)
        self.updates += 1
        return losses

    def divergence(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return KL(E(s, a) || N(0, 1)) (B): large for actions that the data does not have."""
        mean, log_std = self.encoder(observation, action)
        return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)

    def away(self, action: Tensor, shown: Tensor) -> Tensor:
        """Return squared distances (B) from the data's actions, in units of their variance."""
        return ((action - shown).square() / self.action_variance).mean(-1)

    def _update_vae(self, batch: Batch) -> float:
        return self.step('vae', cvae_loss(self.encoder, self.decoder, batch,
                                          self.action_variance, self.training_file.kl_weight))

    def _safe(self, cost: Tensor) -> Tensor:
        """Return 1 where every constraint's value (..., C) is within the threshold."""
        return (cost <= self.threshold).all(-1).float()

    def _update_critic(self, batch: Batch) -> tuple[dict[str, float], Tensor]:
        """Return losses, and (B) 1 where the data's own action is safe."""
        t = self.training_file
        o, a, discount = batch['observation'], batch['action'], batch['discount']
        with torch.no_grad():
            action, _ = self.policy.sample(batch['next'])
            pair = self.target(batch['next'], action)[self.two_heads()]
            cost = pair[..., 1:].mean(0)
            value = self._safe(cost) * pair[..., 0].min(0).values
            y = torch.cat([
                (from_floor(batch, self.reward_floor, t) + discount * value)[:, None],
                t.cost_weight * batch['cost'] + discount[:, None] * cost], -1)
            outside = self.outside(o)
        values = self.critic(o, a)
        error = (values - y).square().mean(1).sum(-1)
        penalty = self.penalty
        critic = self.step('critic', (error + self.foreign_cost(self.critic, *outside)).sum())
        polyak(self.target, self.critic, t.tau)
        safe = self._safe(values[..., 1:].detach().mean(0))
        return {'critic': critic / self.critic.heads, 'penalty': penalty}, safe

    @property
    def penalty(self) -> float:
        """Dual weight of the costs of foreign actions."""
        return float(self.log_penalty.detach().clamp(*LOG_PENALTY).exp())

    def foreign_cost(self, critic: EnsembleCritic, o: Tensor, a: Tensor) -> Tensor:
        """
        Return what pushes the costs of foreign actions up, (heads), and move its dual weight.

        Dual ascent: the weight grows while those costs are too low.
        """
        short = MARGIN * self.threshold - critic(o, a)[..., 1:]
        pushed = self.penalty * functional.relu(short).mean((1, 2))
        self.step('penalty', -self.log_penalty.exp() * short.detach().mean())
        with torch.no_grad():
            self.log_penalty.clamp_(*LOG_PENALTY)
        return pushed

    @torch.no_grad()
    def outside(self, o: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and actions of the policy that are the least like the data's."""
        mean, log_std = self.policy(o)
        noise = torch.randn(SAMPLES, *mean.shape)
        actions = torch.tanh(mean + log_std.exp() * noise).flatten(0, 1)
        repeated = o.repeat(SAMPLES, 1)
        count = len(actions) - int(QUANTILE * len(actions))
        chosen = self.divergence(repeated, actions).topk(count).indices
        return repeated[chosen], actions[chosen]

    def _update_policy(self, batch: Batch, data_safe: Tensor) -> float:
        o = batch['observation']
        action, _ = self.policy.sample(o)
        self.critic.requires_grad_(False)
        values = self.critic(o, action)
        cost = values[..., 1:].mean(0)
        safe = self._safe(cost.detach())
        objective = safe * values[..., 0].min(0).values - (1.0 - safe) * cost.sum(-1)
        # In the objective's own unit, as in TD3+BC (Fujimoto and Gu 2021): one weight fits all.
        scale = objective.detach().abs().mean().clamp(min=1e-6)
        away = self.away(action, batch['action'])
        loss = self.step('policy', self.training_file.clone_weight * (data_safe * away).mean()
                         - objective.mean() / scale)
        self.critic.requires_grad_(True)
        return loss

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Have no online phase."""
        raise NotImplementedError('CPQ learns offline')

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the mode, or a sample."""
        if explore:
            return ActionSample(policy_action(self.policy, self.normaliser, observation, rng))
        with torch.no_grad():
            mode = self.policy.mode(torch.from_numpy(self.normaliser(observation))[None])
        return ActionSample(mode[0].numpy().astype(np.float64))

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return the weight of the penalty."""
        return {'penalty': self.penalty}
