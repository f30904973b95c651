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

"""Shared critic, raw policy, and the gate between raw and latent policy."""

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
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.floor import bootstrap_masks
from spaars_ros.learning.core.multipliers import lagrangian
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import FIELDS
from spaars_ros.learning.core.rnd import RND
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training

ACTS = ('trust', 'explore_raw', 'promised', 'gated', 'closed')
"""Attributes of a policy version besides its tensors."""
LARGEST = math.log(100.0)
"""Maximum exponent of an advantage weight (weights up to 100; algorithms also bound it below, so
that no batch has only zero weights)."""


class GatedAgent(RawPolicyUpdates):
    """
    Base class of the SPAARS variants: critic on raw actions, raw policy, gate, RND.

    A subclass adds the latent policy: `make_coder`, `make_latent_policy`, `latent_action`.
    Observations are normalised, actions are normalised joint velocities in [-1, 1]. Equations are
    those of docs/concepts/spaars.md (reconstructed) unless a method says otherwise.
    """

    action_variance: Tensor
    """(d,) variance of the demonstrations' actions."""
    lipschitz: Tensor
    """() running estimate of L_Q."""
    bc_error: Tensor
    """
    () eps_BC, running mean of |raw - decoded| until the phase switch. After it, with a floor, of
    the distance of raw actions from the trust box. If the raw policy imitates good episodes: in
    all phases, of the excess of its imitation error over that of the latent policy, at least 0.
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
        """Factor on the loss terms that hold the policies near their start."""
        self.promised = float('nan')
        """Measured overestimation of raw actions by the critic, after the phase switch."""
        self.explore_raw = t.explore_raw
        self.gated = False
        """Whether the phase switch is done."""
        self.closed = False
        """Whether the gate is closed again because the critic overestimates raw actions."""
        self._rng = np.random.default_rng(0)
        self.set_learning_rate(t.offline_learning_rate)
        self.set_recipe(t, observation=observation, action=action, constraints=constraints)

    def make_coder(self, observation: int, action: int) -> None:
        """Create the encoder and the decoder of latent actions."""
        raise NotImplementedError

    def make_latent_policy(self, observation: int) -> None:
        """Create the latent policy."""
        raise NotImplementedError

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoded action (B, d) at the mode of the latent policy."""
        raise NotImplementedError

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        residual = {} if self.residual is None else {'residual': parameters_of(self.residual)}
        return {'value': parameters_of(self.value), 'critic': parameters_of(self.critic),
                'raw_policy': parameters_of(self.raw_policy),
                'rnd': parameters_of(self.rnd.predictor), **residual}

    def settings(self) -> dict[str, Any]:
        """Return the present gate and trust box, as values for JSON."""
        return {name: getattr(self, name) for name in ACTS}

    # Offline

    def update_values(self, batch: Batch) -> tuple[dict[str, float], Tensor]:
        """Do one update of IQL's value and critic; return the losses and the advantages (B)."""
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
            # Cost values are those of the behaviour policy, SARSA-like. Its next action is not
            # in the batch, so the mean over heads at the latent policy's action replaces it.
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
        """Do one update of the raw policy's behaviour cloning, and of its residual CVAE."""
        o, a = batch['observation'], batch['action']
        if self.residual is not None:
            self.step('residual', self.residual.fit_loss(o, self.latent_action(o), a))
        error = (self.raw_policy(o) - a).square()
        return self.step('raw_policy', (error / self.action_variance).mean())

    # Online

    def trusted(self, raw: Tensor, latent_action: Tensor, trust: Tensor | None = None) -> Tensor:
        """
        Clip raw actions (B, d) to the trust box about the decoded actions, and to [-1, 1].

        In mode 'raw-only' they are returned unchanged.

        :param trust: half-width of the box; None: the present one
        """
        if self.training_file.mode == 'raw-only':
            return raw
        ball = self.trust if trust is None else trust
        return torch.minimum(torch.maximum(raw, latent_action - ball),
                             latent_action + ball).clamp(-1.0, 1.0)

    def _lagrangian(self, values: Tensor) -> Tensor:
        """Return (Q_r - lambda . Q_c) / (1 + sum lambda) of (..., 1 + C) values."""
        return lagrangian(values, self.multipliers)

    def weighed_return(self, rewards: NDArray[Any], costs: NDArray[Any]) -> float:
        """
        Return an episode's scaled Lagrangian return, (reward - lambda . cost) / (1 + sum lambda).

        :param rewards: (T,)
        :param costs: (T, C); further columns are ignored
        """
        weights = array_of(self.multipliers)
        spent = costs[:, :len(weights)].sum(0) @ weights if len(weights) else 0.0
        return float(self.training_file.reward_scale * (rewards.sum() - spent)
                     / (1.0 + weights.sum()))

    def executed(self, critic: EnsembleCritic, o: Tensor, heads: Tensor, limits: Tensor, *,
                 gated: bool) -> Tensor:
        """Return the action (B, d) that the floor rule selects by some heads; if `floored`."""
        raise NotImplementedError

    def _next_values(self, o: Tensor, limits: Tensor, pair: Tensor, *, gated: bool) -> Tensor:
        """
        Return the target critic's values (heads, B, 1 + C) of the executed policy at o.

        :param o: (B, n) normalised
        :param limits: (4,) from `limits`
        :param pair: indices of the heads that choose between candidates, with a floor
        :param gated: whether the gate may select raw actions
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
        """Return the present trust box, margins of raw and latent, and hold, (4,)."""
        return torch.tensor([self.trust, self.margin, self.training_file.min_margin,
                             self.hold]).to(self.device)

    def _bound(self, v_raw: Tensor, v_latent: Tensor, kappa: float | None = None) -> Tensor:
        """Return the gate's lower bound (B) of per-head advantages, from (heads, B, 1 + C)."""
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
        """Return whether the gate may select raw actions."""
        return self.gated and not self.closed

    def td_error(self, batch: Batch) -> Tensor:
        """Return the TD error Q(s, a) - y (B) of the ensemble's mean Lagrangian value."""
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
        Return the gate margin max(m_0, L_Q min(eps_BC, trust sqrt(d) / 2)).

        Two actions in the trust box differ in value by at most L_Q trust sqrt(d); a margin of
        that size would never be exceeded. After the phase switch the margin is at least the
        measured overestimation of raw actions.
        """
        least, error = self.training_file.min_margin, float(self.bc_error)
        if self.gated and np.isfinite(self.promised):
            least = max(least, self.promised)
        if not np.isfinite(error):
            return least
        return max(least, float(self.lipschitz) * min(error, 0.5 * self.reach))

    @property
    def reach(self) -> float:
        """Return the maximum distance of an action in the trust box from its centre."""
        return self.trust * math.sqrt(len(self.action_variance))

    def update_critic(self, batch: Batch) -> float:
        """
        Do one TD update towards the value of the executed policy; return the loss per head.

        With `independent_targets` every head follows its own target head. Otherwise all heads
        follow the lower reward value and the higher cost values of two random target heads.
        """
        t = self.training_file
        pair = torch.from_numpy(self._rng.choice(t.heads, 2, replace=False))
        mask = () if t.bootstrap == 1.0 else (bootstrap_masks(
            batch['observation'], batch['action'], t.heads, t.bootstrap),)
        loss, = self.run('fit_critic', *(batch[name] for name in FIELDS), pair,
                         self.limits(), *mask, gated=self.gate_open)
        return float(loss) / t.heads

    def fit_critic(self, o: Tensor, a: Tensor, reward: Tensor, cost: Tensor, after: Tensor,
                   discount: Tensor, pair: Tensor, limits: Tensor, mask: Tensor | None = None,
                   *, gated: bool) -> tuple[Tensor, ...]:
        """Do the update of `update_critic` on tensors; return its loss. Mask: (B, heads)."""
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
        """Train the RND predictor on visited states (B, n)."""
        self.step('rnd', self.rnd.novelty(observation).mean())
