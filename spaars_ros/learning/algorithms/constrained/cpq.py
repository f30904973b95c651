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

"""CPQ, constraints penalised Q-learning (Xu, Zhan, Zhu 2022): offline phase of Marvel."""

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
from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import Encoder
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import FIELDS
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training

POLICY_RATE = 0.3
"""Learning rate of the policy relative to the critics'; sourced: 0.1, for 100,000 updates."""
SAMPLES = 10
"""Number of policy actions sampled per state to find actions out of distribution."""
QUANTILE = 0.75
"""Quantile of the KL divergence above which sampled actions count as out of distribution."""
MARGIN = 1.5
"""Cost threshold of out-of-distribution actions, relative to the policy's threshold."""
LOG_PENALTY = (-5.0, 5.0)
PENALTY_RATE = 1e-3
"""Learning rate of the penalty; sourced: 1e-4, for 100,000 updates."""


def value_threshold(limit: float, gamma: float, steps: int) -> float:
    """Return d (1 - gamma^T) / (1 - gamma) / T: the limit d per episode as a discounted value."""
    return limit * (1.0 - gamma ** steps) / (1.0 - gamma) / steps


def from_floor(batch: Batch, floor: Tensor, training: Training) -> Tensor:
    """
    Return n-step rewards (B) shifted by `floor`, the least n-step return of the data.

    At a true termination the floor of all later steps is subtracted, too, so that an early
    termination is neither penalised nor rewarded. A window that a time limit cut short is shifted
    like a complete one, which slightly favours the last n - 1 steps of an episode
    (docs/concepts/marvel.md).

    :param floor: () scaled like the batch's rewards
    """
    after = floor / (1.0 - training.gamma ** training.n_step)
    return batch['reward'] - torch.where(batch['discount'] == 0.0, after, floor)


class CPQ(SinglePolicy):
    """
    CPQ, offline: `cvae_steps` of the VAE, then `iql_steps` of critics and policy.

        Q_r <- r + gamma 1[Q_c(s',a') <= q] min_i Q_r,i(s',a')
        Q_c <- c + gamma Q_c(s',a'), pushed up to at least 1.5 q out of distribution
        pi   = argmax E 1[Q_c(s,a) <= q] min_i Q_r,i(s,a) - 1[Q_c(s,a) > q] Q_c(s,a)

    Here q = `value_threshold` (docs/concepts/marvel.md). Differences from the published method:

    - `clone_weight` holds the policy to the safe actions of the data.
    - The policy's objective has the second term, and the policy is cloned from the data while the
      VAE is trained. If no action is safe at first, as for an untrained policy, the first term
      has no gradient, and no action ever becomes safe.
    - The indicator makes an unsafe action worth 0, a penalty only for positive rewards. So rewards
      are shifted by the least reward of the data if that is negative. All later phases use the
      same shift, so that the values stay valid.
    - The VAE's error is divided by the actions' variance, and its KL has the weight `kl_weight`.
      With the sourced 0.5 on plain squared errors it ignored the action, and no action was out of
      distribution.
    - The cost of an out-of-distribution action is pushed up only while it is below 1.5 q. Always
      pushed, as published, it rose without bound, and with it the costs of the data's actions,
      before the weight had decreased.
    """

    learns_online = False
    reward_floor: Tensor
    """() least n-step reward of the data so far, scaled as in the batches, at most 0."""
    action_variance: Tensor
    """(d,) variance of the data's actions."""

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`; raise ValueError without a constraint."""
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
        self.set_recipe(t, observation=n, action=d, constraints=constraints, normaliser=None,
                        seed=0)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'vae': parameters_of(self.encoder, self.decoder),
                'critic': parameters_of(self.critic), 'policy': parameters_of(self.policy),
                'penalty': [self.log_penalty]}

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the variance of actions (N, d), which scales the VAE's error."""
        variance = torch.from_numpy(actions.var(0).astype(np.float32))
        self.action_variance.copy_(variance.clamp(min=1e-4))

    def set_learning_rate(self, rate: float) -> None:
        """Create new optimisers; that of the policy is slower."""
        super().set_learning_rate(rate)
        self.optimisers['policy'].rate.fill_(POLICY_RATE * rate)
        self.optimisers['penalty'].rate.fill_(PENALTY_RATE)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of VAE and clone or, after `cvae_steps`, of critics and policy."""
        if step < self.training_file.cvae_steps:
            self.reward_floor.copy_(torch.minimum(self.reward_floor, batch['reward'].min()))
            clone = -self.policy.log_prob(batch['observation'], batch['action']).mean()
            return {'vae': self._update_vae(batch), 'clone': self.step('policy', clone)}
        shape = batch['action'].shape
        noise = [torch.randn(each) for each in (shape, (SAMPLES, *shape), shape)]
        losses = self.run('learn', *(batch[name] for name in FIELDS), self.two_heads(), *noise)
        self.updates += 1
        return dict(zip(('critic', 'penalty', 'policy'), map(float, losses)))

    def divergence(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return KL(E(s, a) || N(0, 1)) (B), large for actions out of distribution."""
        mean, log_std = self.encoder(observation, action)
        return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)

    def away(self, action: Tensor, shown: Tensor) -> Tensor:
        """Return mean squared distances (B) from the data's actions, divided by the variance."""
        return ((action - shown).square() / self.action_variance).mean(-1)

    def _update_vae(self, batch: Batch) -> float:
        return self.step('vae', cvae_loss(self.encoder, self.decoder, batch,
                                          self.action_variance, self.training_file.kl_weight))

    def _safe(self, cost: Tensor) -> Tensor:
        """Return 1 where all cost values (..., C) are within the threshold, else 0, (...)."""
        return (cost <= self.threshold).all(-1).float()

    def learn(self, *drawn: Tensor) -> tuple[Tensor, ...]:
        """
        Do the update of critics and policy on tensors, so that it can be compiled.

        :param drawn: `FIELDS`, (2,) heads of the target, and standard normal noise of the next
            actions (B, d), of `outside` (`SAMPLES`, B, d) and of the policy (B, d)
        :return: the critic's loss per head, the dual weight, and the policy's loss
        """
        t, batch, heads, noise = self.training_file, Batch(zip(FIELDS, drawn)), drawn[6], drawn[7:]
        o, a, discount = batch['observation'], batch['action'], batch['discount']
        action, _ = self.policy.sample(batch['next'], noise[0])
        pair = self.target(batch['next'], action)[heads]
        cost = pair[..., 1:].mean(0)
        value = self._safe(cost) * pair[..., 0].amin(0)
        y = torch.cat([(from_floor(batch, self.reward_floor, t) + discount * value)[:, None],
                       t.cost_weight * batch['cost'] + discount[:, None] * cost], -1)
        outside, penalty = self.outside(o, noise[1]), self.penalty

        def critic_loss() -> tuple[Tensor, tuple[Tensor, Tensor]]:
            values = self.critic(o, a)
            pushed, short = self.foreign_cost(self.critic, *outside)
            loss = ((values - y).square().mean(1).sum(-1) + pushed).sum()
            return loss, (self._safe(values[..., 1:].detach().mean(0)), short)

        critic, (safe, short) = self.minimise('critic', critic_loss)
        self.weigh(short)
        polyak(self.target, self.critic, t.tau)
        policy, _ = self.minimise('policy', lambda: (
            self._policy_loss(o, a, safe, noise[2]), ()))
        return critic / self.critic.heads, penalty, policy

    @property
    def penalty(self) -> Tensor:
        """Return the dual weight () of the costs of out-of-distribution actions."""
        return self.log_penalty.detach().clamp(*LOG_PENALTY).exp()

    def foreign_cost(self, critic: EnsembleCritic, o: Tensor, a: Tensor
                     ) -> tuple[Tensor, Tensor]:
        """
        Return the loss (heads,) that raises the costs of out-of-distribution actions.

        :param o: (K, n) normalised
        :param a: (K, d)
        :return: the loss, and for `weigh` how far those costs are below `MARGIN` thresholds, ()
        """
        short = MARGIN * self.threshold - critic(o, a)[..., 1:]
        return self.penalty * functional.relu(short).mean((1, 2)), short.detach().mean()

    @torch.no_grad()
    def weigh(self, short: Tensor) -> None:
        """Update the dual weight by dual ascent: it grows while those costs are too low."""
        self.minimise('penalty', lambda: (-self.log_penalty.exp() * short, ()))
        self.log_penalty.clamp_(*LOG_PENALTY)

    @torch.no_grad()
    def outside(self, o: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """
        Return states (K, n) and policy actions (K, d) out of distribution.

        Of `SAMPLES` actions per state of o (B, n), those with a divergence above `QUANTILE`.

        :param noise: (`SAMPLES`, B, d) standard normal; None: drawn here
        """
        mean, log_std = self.policy(o)
        noise = standard_normal(mean.expand(SAMPLES, *mean.shape)) if noise is None else noise
        actions = torch.tanh(mean + log_std.exp() * noise).flatten(0, 1)
        repeated = o.repeat(SAMPLES, 1)
        count = len(actions) - int(QUANTILE * len(actions))
        chosen = self.divergence(repeated, actions).topk(count).indices
        return repeated[chosen], actions[chosen]

    def _policy_loss(self, o: Tensor, shown: Tensor, data_safe: Tensor, noise: Tensor) -> Tensor:
        """Return the policy's loss; `data_safe` (B) is 1 where the data's action is safe."""
        action, _ = self.policy.sample(o, noise)
        values = self.critic(o, action)
        cost = values[..., 1:].mean(0)
        safe = self._safe(cost.detach())
        objective = safe * values[..., 0].amin(0) - (1.0 - safe) * cost.sum(-1)
        # Normalised as in TD3+BC (Fujimoto and Gu 2021), so that one weight fits all scales.
        scale = objective.detach().abs().mean().clamp(min=1e-6)
        clone = self.training_file.clone_weight * (data_safe * self.away(action, shown)).mean()
        return clone - objective.mean() / scale

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Raise NotImplementedError: there is no online phase."""
        raise NotImplementedError('CPQ learns offline')

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the mode or, when exploring, a sample."""
        o = self.tensor(self.normaliser(observation))[None]
        return policy_action(self.policy, o, rng, explore)

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return the dual weight of the penalty."""
        return {'penalty': float(self.penalty)}
