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
"""High-level policy of SUPE over OPAL's skills: networks and their updates."""

import copy
import math

import numpy as np
import torch
from torch import nn
from torch import Tensor
import torch.nn.functional as functional

from spaars_ros.learning.algorithms.spaars.gated_agent import LARGEST
from spaars_ros.learning.algorithms.supe.chunks import BOUND
from spaars_ros.learning.algorithms.supe.opal import ChunkEncoder
from spaars_ros.learning.algorithms.supe.opal import opal_loss
from spaars_ros.learning.algorithms.supe.opal import SkillDecoder
from spaars_ros.learning.algorithms.supe.opal import SkillPrior
from spaars_ros.learning.core.multipliers import lagrangian
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import concatenate
from spaars_ros.learning.core.replay import FIELDS
from spaars_ros.learning.core.rnd import RND
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training


class SkillLearner(TrainableModule):
    """
    OPAL, and SAC or IQL on its skills: a skill u = tanh(z) in (-1, 1)^k is held for H steps.

    Batches of the high level are macro transitions: `action` is u, `reward` is R over the skill,
    `next` the observation at its end, `discount` the factor on the value there.
    docs/concepts/skills.md (sourced) unless a method says otherwise.

    SUPE has no costs. Here the critic has a value per constraint, and the policy maximises
    (Q_r - lambda . Q_c) / (1 + sum lambda), as on single steps (docs/concepts/spaars.md).

    :param observation: n
    :param action: d
    :param multipliers: lambda (C,), a tensor that its owner updates; None: no constraint
    :raises ValueError: k above H * d, or skill_subset above skill_heads
    """

    def __init__(self, training: Training, observation: int, action: int,
                 multipliers: Tensor | None = None) -> None:
        super().__init__()
        t = training
        self.multipliers = torch.zeros(0) if multipliers is None else multipliers
        k, width, length = t.skill_dim, t.skill_width, t.skill_length
        if k > length * action:
            raise ValueError(f'skill_dim {k}: has to be at most the {length * action} values of '
                             f'skill_length {length} actions, or the variance argument fails')
        if t.skill_subset > t.skill_heads:
            raise ValueError(f'skill_subset {t.skill_subset}: more than skill_heads '
                             f'{t.skill_heads}')
        self.training_file = t
        self.encoder = ChunkEncoder(observation, action, k, length, width, t.skill_layers)
        self.prior = SkillPrior(observation, k, width)
        self.decoder = SkillDecoder(observation, k, action, width)
        self.policy = SquashedGaussian(observation, k, width)
        self.anchor = copy.deepcopy(self.policy).requires_grad_(False)
        self.critic = EnsembleCritic(observation, k, 1 + self.multipliers.numel(), width,
                                     t.skill_heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.value = MLP(observation, 1, width)
        self.reward_model = MLP(observation + k, 1, width)
        self.mask_model = MLP(observation + k, 1, width)
        self.rnd = RND(observation + k)
        # Scaled like the rewards of the critic.
        self.log_alpha = nn.Parameter(torch.tensor(math.log(t.skill_temperature * t.reward_scale)))
        self.target_entropy = -0.5 * k
        self._rng = np.random.default_rng(0)
        self.set_learning_rate(t.offline_learning_rate)
        self.set_recipe(t, make_skills, observation=observation, action=action,
                        constraints=self.multipliers.numel())

    @property
    def discount(self) -> float:
        """
        Return the factor on the value after a skill, without a termination.

        `skill_discount` selects it: 'published' is gamma although H steps have passed, as in
        SUPE's code; 'macro' is gamma^H.
        """
        t = self.training_file
        return t.gamma if t.skill_discount == 'published' else t.gamma ** t.skill_length

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'opal': parameters_of(self.encoder, self.prior, self.decoder),
                'policy': parameters_of(self.policy), 'critic': parameters_of(self.critic),
                'value': parameters_of(self.value), 'alpha': [self.log_alpha],
                'models': parameters_of(self.reward_model, self.mask_model),
                'rnd': parameters_of(self.rnd.predictor)}

    # Skills

    def skill(self, observation: Tensor, noise: Tensor | None = None, *,
              prior: bool = False) -> Tensor:
        """
        Return new skills z (B, k), clipped to +-`BOUND`.

        :param observation: (B, n) normalised
        :param noise: (B, k) standard normal; None: the mean
        :param prior: whether to use the prior instead of the policy
        """
        mean, log_std = self.prior(observation) if prior else self.policy(observation)
        drawn: Tensor = mean if noise is None else mean + log_std.exp() * noise
        return drawn.clamp(-BOUND, BOUND)

    def action(self, observation: Tensor) -> Tensor:
        """Return the decoder's mean action (B, d) at the policy's mean skill."""
        return self.decoder.mean(observation, self.skill(observation))

    def freeze_coder(self) -> None:
        """Freeze encoder, prior and decoder."""
        for module in (self.encoder, self.prior, self.decoder):
            module.requires_grad_(False)

    def freeze_anchor(self) -> None:
        """Copy the pretrained policy, to which fine-tuning is anchored."""
        self.anchor.load_state_dict(self.policy.state_dict())

    # Offline

    def update_opal(self, observations: Tensor, actions: Tensor) -> dict[str, float]:
        """Do one update of encoder, prior and decoder on chunks (B, H, n), (B, H, d)."""
        likelihood, kl = opal_loss(self.encoder, self.prior, self.decoder, observations, actions,
                                   self.training_file.skill_kl)
        self.step('opal', likelihood + kl)
        return {'likelihood': float(likelihood.detach()), 'kl': float(kl.detach())}

    def update_iql(self, batch: Batch) -> dict[str, float]:
        """
        Do one update of IQL on macro transitions of the data.

        Sourced: expectile 0.9, weights clipped at 100. Reconstructed: actor and critic, with all
        its heads, are those of SAC, so that online learning continues with them unchanged;
        advantages are divided by their spread; the reward and mask models are fitted, too, since
        untrained models would corrupt the critic once chunks are relabelled.
        """
        t = self.training_file
        o, u = batch['observation'], batch['action']
        self.update_models(batch)
        with torch.no_grad():
            q = self.target(o, u)[..., 0].min(0).values
        advantage = q - self.value(o)[:, 0]
        weight = torch.where(advantage > 0, t.skill_expectile, 1.0 - t.skill_expectile)
        losses = {'skill_value': self.step('value', (weight * advantage.square()).mean())}
        with torch.no_grad():
            y = batch['reward'] + batch['discount'] * self.value(batch['next'])[:, 0]
            y = self._with_costs(y, batch)
        losses['skill_critic'] = self._fit_critic(o, u, y)
        with torch.no_grad():
            scale = advantage.std(unbiased=False).clamp(min=1e-6)
            weight = (t.skill_awr * advantage / scale).clamp(-10.0, LARGEST).exp()
            weight = weight / weight.mean()
        losses['skill_policy'] = self.step(
            'policy', -(weight * self.policy.log_prob(o, u)).mean())
        return losses

    def _with_costs(self, y: Tensor, batch: Batch) -> Tensor:
        """Return targets (B, 1 + C): reward targets y (B), followed by the cost targets."""
        if not self.multipliers.numel():
            return y[:, None]
        after, _ = self.policy.sample(batch['next'])
        cost = self.target(batch['next'], after)[..., 1:].mean(0)
        return torch.cat([y[:, None], batch['cost'] + batch['discount'][:, None] * cost], -1)

    def _fit_critic(self, o: Tensor, u: Tensor, y: Tensor) -> float:
        loss = self.step('critic', (self.critic(o, u) - y).square().mean(1).sum())
        polyak(self.target, self.critic, self.training_file.tau)
        return loss / self.critic.heads

    # Online

    def relabelled(self, offline: Batch, least: float) -> Batch:
        """
        Return offline macro transitions with rewards relabelled according to `skill_relabel`.

        'pred' uses the reward model and 'min' uses `least`; both use the mask model. 'none'
        leaves the batch unchanged.
        """
        kind = self.training_file.skill_relabel
        if kind == 'none':
            return offline
        with torch.no_grad():
            x = torch.cat([offline['observation'], offline['action']], -1)
            reward = self.reward_model(x)[:, 0] if kind == 'pred' \
                else torch.full_like(offline['reward'], least)
            discount = self.discount * torch.sigmoid(self.mask_model(x)[:, 0])
        return Batch({**offline, 'reward': reward, 'discount': discount})

    def optimistic(self, online: Batch, offline: Batch, least: float) -> Batch:
        """Concatenate online and relabelled offline transitions, and add the novelty bonus."""
        batch = concatenate(online, self.relabelled(offline, least))
        return Batch({**batch, 'reward': batch['reward'] + self.bonus(batch)})

    def bonus(self, batch: Batch) -> Tensor:
        """Return the novelty bonus (B) of states and skills, scaled like the rewards."""
        t = self.training_file
        with torch.no_grad():
            novelty = self.rnd.novelty(torch.cat([batch['observation'], batch['action']], -1))
        return t.reward_scale * t.rnd_weight * novelty

    def update_rnd(self, observation: Tensor, skill: Tensor) -> None:
        """Train the RND predictor on the newest macro transition, s (1, n) and u (1, k)."""
        self.step('rnd', self.rnd.novelty(torch.cat([observation, skill], -1)).mean())

    def update_models(self, batch: Batch) -> None:
        """Do one update of the reward and mask models on macro transitions."""
        self.run('fit_models', *(batch[name] for name in (
            'observation', 'action', 'reward', 'discount')))

    def fit_models(self, o: Tensor, u: Tensor, reward: Tensor, discount: Tensor
                   ) -> tuple[Tensor, ...]:
        """Return the loss of `update_models` as a tensor."""
        x, mask = torch.cat([o, u], -1), (discount > 0).float()

        def loss() -> tuple[Tensor, tuple[()]]:
            error = (self.reward_model(x)[:, 0] - reward).square().mean()
            return error + functional.binary_cross_entropy_with_logits(
                self.mask_model(x)[:, 0], mask), ()

        return self.minimise('models', loss)[:1]

    def update_sac(self, online: Batch, offline: Batch, least: float, *, climb: bool,
                   anchor: float = 0.0) -> dict[str, float]:
        """
        Do one update of SAC with optimistic rewards; return the losses by name.

        Targets use a random subset of heads, without entropy. The actor maximises the mean of the
        heads. `anchor` is reconstructed; costs are not in SUPE.

        :param online: macro transitions of executed episodes
        :param offline: macro transitions of the data, with the rewards of the data
        :param least: least reward of the data's chunks, for `skill_relabel: min`
        :param climb: whether policy and temperature are trained, too
        :param anchor: weight of the distance of the policy's mean skill from the pretrained one,
            relative to the batch's mean |Q|, so that it is independent of the reward's scale
        """
        t = self.training_file
        self.update_models(online)
        batch = self.optimistic(online, offline, least)
        heads = torch.from_numpy(self._rng.choice(t.skill_heads, t.skill_subset, replace=False))
        noise = [torch.randn(batch['action'].shape) for _ in range(1 + climb)]
        losses = self.run('fit_sac', *(batch[name] for name in FIELDS), heads,
                          torch.tensor(anchor), *noise, climb=climb, anchored=anchor > 0.0)
        return dict(zip(('skill_critic', 'skill_policy'), map(float, losses)))

    def fit_sac(self, o: Tensor, u: Tensor, reward: Tensor, cost: Tensor, after: Tensor,
                discount: Tensor, heads: Tensor, anchor: Tensor, *noise: Tensor, climb: bool,
                anchored: bool) -> tuple[Tensor, ...]:
        """
        Return the losses of `update_sac` as tensors.

        :param heads: (skill_subset,) indices of the heads of the target
        :param noise: (B, k) of the skills at `after`, and with `climb` of those at `o`
        """
        values = self.target(after, self.policy.sample(after, noise[0])[0])[heads]
        # The lowest reward value and the highest cost values of the chosen heads.
        value = torch.cat([values[..., :1].amin(0), values[..., 1:].amax(0)], -1)
        y = torch.cat([reward[:, None], cost], -1) + discount[:, None] * value
        critic, _ = self.minimise('critic', lambda: (
            (self.critic(o, u) - y).square().mean(1).sum(), ()))
        polyak(self.target, self.critic, self.training_file.tau)
        critic = critic / self.critic.heads
        if not climb:
            return (critic,)
        alpha = self.log_alpha.exp()

        def loss() -> tuple[Tensor, Tensor]:
            drawn, log_prob = self.policy.sample(o, noise[1])
            q = lagrangian(self.critic(o, drawn), self.multipliers).mean(0)
            found = (alpha * log_prob - q).mean()
            if anchored:
                drift = (self.policy(o)[0] - self.anchor(o)[0]).square().sum(-1).mean()
                found = found + anchor * q.detach().abs().mean() * drift
            return found, log_prob.detach()

        policy, log_prob = self.minimise('policy', loss)
        entropy = -log_prob.mean()
        self.minimise('alpha', lambda: (self.log_alpha * (entropy - self.target_entropy), ()))
        return critic, policy


def make_skills(training: Training, observation: int, action: int, constraints: int
                ) -> SkillLearner:
    """Return skills with multipliers (C,) of their own, as the process that compiles needs."""
    return SkillLearner(training, observation, action, torch.zeros(constraints))
