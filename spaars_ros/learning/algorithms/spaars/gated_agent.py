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

"""The shared critic, the raw policy and the gate between it and any latent policy."""

import copy
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.residual_candidate import ResidualCandidate
from spaars_ros.learning.core.learner import Learner
from spaars_ros.learning.core.learner import parameters_of
from spaars_ros.learning.core.multipliers import lagrangian
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.rnd import RND
from spaars_ros.training_file import Training

LARGEST = math.log(100.0)
"""Exponent of an advantage weight; it is bounded below too, or a batch of one transition weighs
nothing."""


class GatedAgent(Learner):
    """
    What every variant of SPAARS shares: critic on raw actions, raw policy, gate, RND.

    A subclass brings the latent policy: `make_coder`, `make_latent_policy`, `latent_action`.
    Observations are normalised, actions normalised joint velocities in [-1, 1]. Equations are
    those of docs/method.md (reconstructed) unless a method says otherwise.
    """

    action_variance: Tensor
    """(d,) of the demonstrations."""
    lipschitz: Tensor
    """() L_Q, running estimate."""
    bc_error: Tensor
    """() eps_BC, running mean of |raw - decoded|, until the hand-over."""

    def __init__(self, training: Training, observation: int, action: int,
                 constraints: int) -> None:
        super().__init__()
        t = training
        self.training_file = t
        self.multipliers = torch.zeros(constraints)
        self.make_coder(observation, action)
        self.value = MLP(observation, 1, t.width)
        self.critic = EnsembleCritic(observation, action, 1 + constraints, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.make_latent_policy(observation)
        self.raw_policy = BoundedPolicy(observation, action, t.width, 1.0)
        self.raw_anchor = copy.deepcopy(self.raw_policy).requires_grad_(False)
        self.rnd = RND(observation)
        self.residual = ResidualCandidate(t, observation, action) \
            if t.raw_candidate == 'residual' else None
        self.register_buffer('action_variance', torch.ones(action))
        self.register_buffer('lipschitz', torch.ones(()))
        self.register_buffer('bc_error', torch.full((), float('inf')))
        self.trust = t.trust_start
        self.explore_raw = t.explore_raw
        self.gated = False
        """Whether the hand-over is done."""
        self.closed = False
        """Whether the gate is shut again, since the critic is wrong about raw actions."""
        self._rng = np.random.default_rng(0)
        self.set_learning_rate(t.offline_learning_rate)

    def make_coder(self, observation: int, action: int) -> None:
        """Make the encoder and the decoder of latent actions."""
        raise NotImplementedError

    def make_latent_policy(self, observation: int) -> None:
        """Make the latent policy."""
        raise NotImplementedError

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoder's action at the latent policy's mode."""
        raise NotImplementedError

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return what each optimiser trains."""
        residual = {} if self.residual is None else {'residual': parameters_of(self.residual)}
        return {'value': parameters_of(self.value), 'critic': parameters_of(self.critic),
                'raw_policy': parameters_of(self.raw_policy),
                'rnd': parameters_of(self.rnd.predictor), **residual}

    # Offline

    def update_values(self, batch: Batch) -> tuple[dict[str, float], Tensor]:
        """Do one update of IQL's value and critic; returns losses and the advantages (B)."""
        t = self.training_file
        o, a = batch['observation'], batch['action']
        with torch.no_grad():
            q = self._lagrangian(self.target(o, a)).min(0).values
        v = self.value(o)[:, 0]
        advantage = q - v
        weight = torch.where(advantage > 0, t.expectile, 1 - t.expectile)
        losses = {'value': self.step('value', (weight * advantage.square()).mean())}
        with torch.no_grad():
            v_next = self.value(batch['next'])[:, 0]
            # The cost values follow the behaviour's own actions, SARSA-like: its next action
            # is not in the batch, so the mean over heads at the policy's action stands for it.
            cost_next = self.target(batch['next'], self.latent_action(batch['next']))[..., 1:]
            y = torch.cat([(batch['reward'] + batch['discount'] * v_next)[:, None],
                           batch['cost'] + batch['discount'][:, None] * cost_next.mean(0)], -1)
        error = (self.critic(o, a) - y).square().mean((1, 2))
        losses['critic'] = self.step('critic', error.sum())
        polyak(self.target, self.critic, t.tau)
        return losses, advantage.detach()

    def update_clone(self, batch: Batch) -> float:
        """Do one update of the raw policy's behaviour cloning, and of its residuals' CVAE."""
        o, a = batch['observation'], batch['action']
        if self.residual is not None:
            self.step('residual', self.residual.fit_loss(o, self.latent_action(o), a))
        error = (self.raw_policy(o) - a).square()
        return self.step('raw_policy', (error / self.action_variance).mean())

    # Online

    def trusted(self, raw: Tensor, latent_action: Tensor) -> Tensor:
        """Return the raw action inside the trust ball about the decoder's."""
        if self.training_file.mode == 'raw-only':
            return raw
        return torch.minimum(torch.maximum(raw, latent_action - self.trust),
                             latent_action + self.trust).clamp(-1.0, 1.0)

    def _lagrangian(self, values: Tensor) -> Tensor:
        """Return (Q_r - lambda . Q_c) / (1 + sum lambda) of (..., 1 + C) values."""
        return lagrangian(values, self.multipliers)

    def weighed_return(self, rewards: NDArray[Any], costs: NDArray[Any]) -> float:
        """Return an episode's rewards (T,) less lambda times costs (T, C), summed and scaled."""
        weights = self.multipliers.numpy()
        spent = costs[:, :len(weights)].sum(0) @ weights if len(weights) else 0.0
        return float(self.training_file.reward_scale * (rewards.sum() - spent)
                     / (1.0 + weights.sum()))

    def _next_values(self, o: Tensor) -> Tensor:
        """Return the target critic's values (heads, B, 1 + C) of the executed policy at o."""
        mode = self.training_file.mode
        if mode == 'raw-only':
            return self.target(o, self.raw_policy(o))
        latent_action = self.latent_action(o)
        if not self.gate_open:
            return self.target(o, latent_action)
        raw = self.trusted(self.raw_policy(o), latent_action)
        if mode == 'hard-switch':
            return self.target(o, raw)
        values = self.target(torch.cat([o, o]), torch.cat([raw, latent_action]))
        v_raw, v_latent = values.chunk(2, 1)
        opens = self._bound(v_raw, v_latent) > self.margin
        return torch.where(opens[None, :, None], v_raw, v_latent)

    def _bound(self, v_raw: Tensor, v_latent: Tensor, kappa: float | None = None) -> Tensor:
        """Return the gate's lower bound (B) from (heads, B, 1 + C) values, head by head."""
        kappa = self.training_file.kappa if kappa is None else kappa
        advantage = self._lagrangian(v_raw) - self._lagrangian(v_latent)
        return advantage.mean(0) - kappa * advantage.std(0, unbiased=False)

    def advantage(self, observation: Tensor, raw: Tensor, latent_action: Tensor,
                  kappa: float | None = None) -> Tensor:
        """Return the lower bound (B) of the advantage of raw over latent actions (B, d)."""
        values = self.critic(torch.cat([observation, observation]),
                             torch.cat([raw, latent_action]))
        v_raw, v_latent = values.chunk(2, 1)
        return self._bound(v_raw, v_latent, kappa)

    @property
    def gate_open(self) -> bool:
        """Return whether raw actions are allowed, where the gate says so."""
        return self.gated and not self.closed

    def td_error(self, batch: Batch) -> Tensor:
        """Return the realised error Q(s, a) - y (B) of the ensemble's mean Lagrangian value."""
        with torch.no_grad():
            after = self._lagrangian(self._next_values(batch['next'])).mean(0)
            rewards = torch.cat([batch['reward'][:, None], batch['cost']], -1)
            y = self._lagrangian(rewards) + batch['discount'] * after
            return self._lagrangian(self.critic(batch['observation'],
                                                batch['action'])).mean(0) - y

    @property
    def margin(self) -> float:
        """Return the gate's margin, max(m_0, L_Q eps_BC)."""
        error = float(self.bc_error)
        least = self.training_file.min_margin
        return max(least, float(self.lipschitz) * error) if np.isfinite(error) else least

    def update_critic(self, batch: Batch) -> float:
        """TD towards the executed policy: two random heads' least reward, greatest cost."""
        t = self.training_file
        o, a = batch['observation'], batch['action']
        with torch.no_grad():
            values = self._next_values(batch['next'])
            pair = values[self._rng.choice(t.heads, 2, replace=False)]
            reward, cost = pair[..., 0].min(0).values, pair[..., 1:].max(0).values
            discount = batch['discount']
            y = torch.cat([(batch['reward'] + discount * reward)[:, None],
                           batch['cost'] + discount[:, None] * cost], -1)
        loss = self.step('critic', (self.critic(o, a) - y).square().mean((1, 2)).sum())
        polyak(self.target, self.critic, t.tau)
        return loss / t.heads

    def update_raw(self, batch: Batch) -> dict[str, float]:
        """
        Do one update of the raw policy alone, by whichever of its losses is due.

        It imitates the decoder (concurrent BC) until the hand-over, and climbs Q inside the
        trust ball afterwards.
        """
        o = batch['observation']
        with torch.no_grad():
            latent_action = self.latent_action(o)
        raw = self.raw_policy(o)
        inside = self.raw_inside(raw, latent_action)
        climb = None if inside is None else self.climbs(o, [inside])[0]
        return self.descend(self.raw_losses(o, raw, latent_action, inside, climb))

    def raw_inside(self, raw: Tensor, latent_action: Tensor | None) -> Tensor | None:
        """Return where the raw policy (B, d) climbs Q: in the trust ball; None: not yet."""
        if latent_action is None:
            return raw
        # Also while the gate is shut again; a residual candidate never climbs.
        if not self.gated or self.residual is not None:
            return None
        return self.trusted(raw, latent_action.detach())

    def climbs(self, o: Tensor, actions: list[Tensor]) -> Tensor:
        """Return the mean of -Q / L_Q (len(actions)), differentiable in the actions only."""
        self.critic.requires_grad_(False)
        heads = self._lagrangian(self.critic(o.repeat(len(actions), 1), torch.cat(actions)))
        # The lower bound, as at the gate: where the heads disagree there is nothing to climb.
        q = heads.mean(0) - self.training_file.actor_kappa * heads.std(0, unbiased=False)
        self.critic.requires_grad_(True)
        return (-q / self.lipschitz).view(len(actions), -1).mean(1)

    def raw_losses(self, o: Tensor, raw: Tensor, latent_action: Tensor | None,
                   inside: Tensor | None, climb: Tensor | None) -> dict[str, Tensor]:
        """Return the raw policy's loss by name, and measure eps_BC until the hand-over."""
        t = self.training_file
        if self.residual is not None and self.gated and latent_action is not None:
            return {'raw_policy': self.residual.loss(
                o, raw, latent_action.detach(), critic=self.critic, lagrangian=self._lagrangian,
                trusted=self.trusted, rng=self._rng)}
        if inside is not None and climb is not None:
            near = self.raw_anchor(o) if latent_action is None else latent_action.detach()
            # Outside the ball Q has no gradient for raw; the distance to the ball has.
            outside = (raw - inside.detach()).square().sum(-1)
            return {'raw_policy': climb + (
                t.raw_bc * (raw - near).square().sum(-1) + outside).mean()}
        losses: dict[str, Tensor] = {}
        if t.mode != 'latent-only' and latent_action is not None:
            error = (raw - latent_action.detach()).square().sum(-1)
            if t.concurrent_bc:
                losses['raw_policy'] = error.mean() / self.action_variance.mean()
            self._average(self.bc_error, error.detach().sqrt().mean())
        return losses

    def measure_lipschitz(self, batch: Batch) -> None:
        """Track L_Q, the 95th percentile of |grad_a Q| at the batch's actions."""
        a = batch['action'].clone().requires_grad_(True)
        q = self._lagrangian(self.critic(batch['observation'], a)).mean(0).sum()
        slope = torch.autograd.grad(q, a)[0].norm(dim=-1).quantile(0.95)
        self._average(self.lipschitz, slope, first=1.0)

    def update_rnd(self, observation: Tensor) -> None:
        """Make visited states familiar."""
        self.step('rnd', self.rnd.novelty(observation).mean())

    @staticmethod
    def _average(buffer: Tensor, value: Tensor, first: float = float('inf')) -> None:
        if float(buffer) == first:
            buffer.copy_(value)
        else:
            buffer.lerp_(value, 0.01)
