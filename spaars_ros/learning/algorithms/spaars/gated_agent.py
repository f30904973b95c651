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

from spaars_ros.learning.algorithms.spaars.raw_policy_updates import RawPolicyUpdates
from spaars_ros.learning.algorithms.spaars.residual_candidate import ResidualCandidate
from spaars_ros.learning.core.floor import bootstrap_masks
from spaars_ros.learning.core.multipliers import lagrangian
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.rnd import RND
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training

BATCH = ('observation', 'action', 'reward', 'cost', 'next', 'discount')
ACTS = ('trust', 'explore_raw', 'promised', 'gated', 'closed')
"""What a version of the policy has besides its tensors."""
LARGEST = math.log(100.0)
"""Exponent of an advantage weight; it is bounded below too, or a batch of one transition weighs
nothing."""


class GatedAgent(RawPolicyUpdates):
    """
    What every variant of SPAARS shares: critic on raw actions, raw policy, gate, RND.

    A subclass brings the latent policy: `make_coder`, `make_latent_policy`, `latent_action`.
    Observations are normalised, actions normalised joint velocities in [-1, 1]. Equations are
    those of docs/concepts/spaars.md (reconstructed) unless a method says otherwise.
    """

    action_variance: Tensor
    """(d,) of the demonstrations."""
    lipschitz: Tensor
    """() L_Q, running estimate."""
    bc_error: Tensor
    """
    () eps_BC, running mean of |raw - decoded| until the hand-over; with a floor from there on of
    how far raw is outside its trust box. Where raw imitates: of by how much it is further from
    what is cloned than the latent policy is, always.
    """

    def __init__(self, training: Training, observation: int, action: int,
                 constraints: int) -> None:
        super().__init__()
        t = training
        self.training_file = t
        self.multipliers = torch.zeros(constraints)
        self.make_coder(observation, action)
        self.value = MLP(observation, 1, t.width)
        self.critic = EnsembleCritic(observation, action, 1 + constraints, t.width, t.heads,
                                     prior=t.prior)
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
        self.hold = t.hold_start
        """Factor on what holds policies near where they began."""
        self.promised = float('nan')
        """By how much raw actions brought less than the critic said, after the hand-over."""
        self.explore_raw = t.explore_raw
        self.gated = False
        """Whether the hand-over is done."""
        self.closed = False
        """Whether the gate is shut again, since the critic is wrong about raw actions."""
        self._rng = np.random.default_rng(0)
        self.set_learning_rate(t.offline_learning_rate)
        if t.raw_candidate != 'residual':  # residuals draw from numpy's generator in between
            self.set_recipe(t, observation=observation, action=action, constraints=constraints)

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

    def settings(self) -> dict[str, Any]:
        """Return what gate and trust box are at."""
        return {name: getattr(self, name) for name in ACTS}

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
        error = (self.critic(o, a) - y).square().mean(2)
        if t.bootstrap < 1.0:
            error = error * bootstrap_masks(o, a, t.heads, t.bootstrap).T
        losses['critic'] = self.step('critic', error.mean(1).sum())
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

    def trusted(self, raw: Tensor, latent_action: Tensor, trust: Tensor | None = None) -> Tensor:
        """Return the raw action inside the trust box (the present one) about the decoder's."""
        if self.training_file.mode == 'raw-only':
            return raw
        ball = self.trust if trust is None else trust
        return torch.minimum(torch.maximum(raw, latent_action - ball),
                             latent_action + ball).clamp(-1.0, 1.0)

    def _lagrangian(self, values: Tensor) -> Tensor:
        """Return (Q_r - lambda . Q_c) / (1 + sum lambda) of (..., 1 + C) values."""
        return lagrangian(values, self.multipliers)

    def weighed_return(self, rewards: NDArray[Any], costs: NDArray[Any]) -> float:
        """Return an episode's rewards (T,) less lambda times costs (T, C), summed and scaled."""
        weights = self.multipliers.numpy()
        spent = costs[:, :len(weights)].sum(0) @ weights if len(weights) else 0.0
        return float(self.training_file.reward_scale * (rewards.sum() - spent)
                     / (1.0 + weights.sum()))

    def executed(self, critic: EnsembleCritic, o: Tensor, heads: Tensor, limits: Tensor, *,
                 gated: bool) -> Tensor:
        """Return the action (B, d) that wins by the lower bound over some heads, if `floored`."""
        raise NotImplementedError

    def _next_values(self, o: Tensor, limits: Tensor, pair: Tensor, *, gated: bool) -> Tensor:
        """
        Return the target critic's values (heads, B, 1 + C) of the executed policy at o.

        :param limits: (4,) of `limits`
        :param pair: (2,) heads that choose between candidates, where there is a floor
        :param gated: whether the gate may let raw actions pass
        """
        mode = self.training_file.mode
        if mode == 'raw-only':
            return self.target(o, self.raw_policy(o))
        if self.floored:
            return self.target(o, self.executed(self.target, o, pair, limits, gated=gated))
        latent_action = self.latent_action(o)
        if not gated:
            return self.target(o, latent_action)
        raw = self.trusted(self.raw_policy(o), latent_action, limits[0])
        if mode == 'hard-switch':
            return self.target(o, raw)
        values = self.target(torch.cat([o, o]), torch.cat([raw, latent_action]))
        v_raw, v_latent = values.chunk(2, 1)
        opens = self._bound(v_raw, v_latent) > limits[1]
        return torch.where(opens[None, :, None], v_raw, v_latent)

    def limits(self) -> Tensor:
        """Return trust box, margins of raw and latent, and hold as they are now, (4,)."""
        return torch.tensor([self.trust, self.margin, self.training_file.min_margin, self.hold])

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
            values = self._next_values(batch['next'], self.limits(),
                                       torch.arange(self.training_file.heads),
                                       gated=self.gate_open)
            after = self._lagrangian(values).mean(0)
            rewards = torch.cat([batch['reward'][:, None], batch['cost']], -1)
            y = self._lagrangian(rewards) + batch['discount'] * after
            return self._lagrangian(self.critic(batch['observation'],
                                                batch['action'])).mean(0) - y

    @property
    def margin(self) -> float:
        """
        Return the gate's margin.

        max(m_0, L_Q min(eps_BC, trust sqrt(d) / 2)): the difference of two actions in the ball is
        at most L_Q trust sqrt(d), which no margin may come up to. Once raw actions were seen to
        act it is at least by how much the critic overrates them.
        """
        least, error = self.training_file.min_margin, float(self.bc_error)
        if self.gated and np.isfinite(self.promised):
            least = max(least, self.promised)
        if not np.isfinite(error):
            return least
        return max(least, float(self.lipschitz) * min(error, 0.5 * self.reach))

    @property
    def reach(self) -> float:
        """Return how far an action in the trust box is from its middle, at most."""
        return self.trust * math.sqrt(len(self.action_variance))

    def update_critic(self, batch: Batch) -> float:
        """
        TD towards the executed policy.

        Every head towards its own target's value of it (`independent_targets`), or all towards
        two random heads' least reward and greatest cost.
        """
        t = self.training_file
        pair = torch.from_numpy(self._rng.choice(t.heads, 2, replace=False))
        mask = () if t.bootstrap == 1.0 else (bootstrap_masks(
            batch['observation'], batch['action'], t.heads, t.bootstrap),)
        loss, = self.run('fit_critic', *(batch[name] for name in BATCH), pair,
                         self.limits(), *mask, gated=self.gate_open)
        return float(loss) / t.heads

    def fit_critic(self, o: Tensor, a: Tensor, reward: Tensor, cost: Tensor, after: Tensor,
                   discount: Tensor, pair: Tensor, limits: Tensor, mask: Tensor | None = None,
                   *, gated: bool) -> tuple[Tensor, ...]:
        """Return the loss of `update_critic`, all of it tensors; mask (B, heads)."""
        values = self._next_values(after, limits, pair, gated=gated)
        if not self.training_file.independent_targets:
            values = values[pair]
            values = torch.cat([values[..., :1].amin(0), values[..., 1:].amax(0)], -1)[None]
        y = torch.cat([reward[:, None], cost], -1) + discount[:, None] * values

        def loss() -> tuple[Tensor, tuple[()]]:
            error = (self.critic(o, a) - y).square().mean(2)
            return (error if mask is None else error * mask.T).mean(1).sum(), ()

        found, _ = self.minimise('critic', loss)
        polyak(self.target, self.critic, self.training_file.tau)
        return (found,)

    def measure_lipschitz(self, batch: Batch) -> None:
        """Track L_Q, the 95th percentile of |grad_a Q| at the batch's actions."""
        a = batch['action'].clone().requires_grad_(True)
        q = self._lagrangian(self.critic(batch['observation'], a)).mean(0).sum()
        slope = torch.autograd.grad(q, a)[0].norm(dim=-1).quantile(0.95)
        self._average(self.lipschitz, slope, first=1.0)

    def update_rnd(self, observation: Tensor) -> None:
        """Make visited states familiar."""
        self.step('rnd', self.rnd.novelty(observation).mean())
