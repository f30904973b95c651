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
"""Networks of SPAR and their updates."""

import copy

import numpy as np
import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.algorithms.spar.geometry import Projection
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import FIELDS
from spaars_ros.learning.core.residual_vae import ResidualDecoder
from spaars_ros.learning.core.residual_vae import ResidualVAE
from spaars_ros.learning.core.self_imitation import candidate_noise
from spaars_ros.learning.core.self_imitation import candidate_values
from spaars_ros.learning.core.self_imitation import candidate_weights
from spaars_ros.learning.core.self_imitation import Candidates
from spaars_ros.learning.core.self_imitation import draw_candidates
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training

CONSERVATIVE = 4
"""Number of decoded actions per state whose values are pushed down."""


class SparAgent(TrainableModule):
    """
    Frozen base policy, and a residual policy that imitates its own best candidates.

    Observations are normalised, actions are normalised joint velocities in [-1, 1]. Equations are
    those of docs/concepts/spar.md. Sourced are frozen base, residual regression, conservative
    values and weighted regression on latent candidates (SPAR's abstract); the rest is
    reconstructed. Both residual policies depend on s only, since a_b is a frozen function of s.

    :raises ValueError: latent_dim above the width of the action
    """

    projects: Tensor
    """() bool, whether the policy is SPAR-PROJ."""

    def __init__(self, training: Training, observation: int, action: int,
                 constraints: int) -> None:
        super().__init__()
        t = training
        if t.latent_dim > action:
            raise ValueError(f'latent_dim {t.latent_dim}: has to be at most the {action} '
                             'dimensions of the action, or no direction is normal to the '
                             "decoder's range")
        self.training_file = t
        self.base = BoundedPolicy(observation, action, t.width, 1.0)
        self.vae = ResidualVAE(observation, t.latent_dim, action, t.width)
        self.value = MLP(observation, 1 + constraints, t.width)
        self.critic = EnsembleCritic(observation, action, 1 + constraints, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.latent_policy = _at_zero(
            BoundedPolicy(observation, t.latent_dim, t.width, t.latent_bound))
        self.residual_policy = _at_zero(
            BoundedPolicy(observation, action, t.width, t.spar_scale))
        self.register_buffer('projects', torch.tensor(t.spar_projection == 'proj'))
        self.multipliers = torch.zeros(constraints)
        self._rng = np.random.default_rng(0)
        self.set_learning_rate(t.offline_learning_rate)
        self.set_recipe(t, observation=observation, action=action, constraints=constraints)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'base': parameters_of(self.base), 'vae': parameters_of(self.vae),
                'value': parameters_of(self.value), 'critic': parameters_of(self.critic),
                'latent_policy': parameters_of(self.latent_policy),
                'residual_policy': parameters_of(self.residual_policy)}

    # Acting

    @property
    def projection(self) -> Projection:
        """Return which residual policy acts: 'mlp', or 'proj' through the residual decoder."""
        return 'proj' if bool(self.projects) else 'mlp'

    @projection.setter
    def projection(self, projection: Projection) -> None:
        self.projects.fill_(projection == 'proj')

    @property
    def residual_decoder(self) -> ResidualDecoder:
        """Return the residual decoder g(s, a_b, z)."""
        return self.vae.decoder

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return SPAR-PROJ's action (B, d), clip(a_b + g(s, a_b, h(s)))."""
        return self.decoded(observation, self.latent_policy(observation))

    def decoded(self, observation: Tensor, latent: Tensor) -> Tensor:
        """Return the action (B, d) of latents (B, k), clip(a_b + g(s, a_b, z))."""
        base = self.base(observation)
        return (base + self.residual_decoder(observation, base, latent)).clamp(-1.0, 1.0)

    def raw_action(self, observation: Tensor) -> Tensor:
        """Return SPAR-MLP's action (B, d), clip(a_b + phi tanh(.))."""
        return (self.base(observation) + self.residual_policy(observation)).clamp(-1.0, 1.0)

    def action(self, observation: Tensor) -> Tensor:
        """Return the acting policy's action (B, d)."""
        return self.latent_action(observation) if self.projects else self.raw_action(observation)

    def current_latent(self, observation: Tensor, proj: bool) -> Tensor:
        """
        Return the latent (B, k) of the present residual: h(s), or the encoder's mean.

        :param proj: whether SPAR-PROJ acts
        """
        if proj:
            return self.latent_policy(observation)
        bound = self.training_file.latent_bound
        mean, _ = self.vae.encode(observation, self.residual_policy(observation))
        return mean.clamp(-bound, bound)

    # Learning

    def update_base(self, batch: Batch) -> float:
        """Do one cloning update, min E |a - pi_base(s)|^2, and measure the residual variance."""
        residual = batch['action'] - self.base(batch['observation'])
        self.vae.measure(residual)
        return self.step('base', residual.square().sum(-1).mean())

    def update_residual(self, batch: Batch) -> float:
        """Do one update of the residual CVAE on the data's residuals about the frozen base."""
        o = batch['observation']
        with torch.no_grad():
            base = self.base(o)
        return self.step('vae', self.vae.loss(o, base, batch['action'],
                                              self.training_file.kl_weight))

    def lagrangian(self, values: Tensor) -> Tensor:
        """Return (Q_r - lambda . Q_c) / (1 + sum lambda) of (..., 1 + C) values."""
        weighted = values[..., 0] - values[..., 1:] @ self.multipliers
        return weighted / (1.0 + self.multipliers.sum())

    def update_values(self, batch: Batch, *, conservative: bool = False) -> dict[str, float]:
        """
        Do one update of IQL's V and Q (Kostrikov, Nair, Levine 2021), on the batch's actions.

        With `conservative`, which needs a fitted residual CVAE, and `spar_conservative` above 0,
        the values of decoded actions are pushed below those of the data's actions (not in the
        paper).

        Cost values have the same expectile weights as the reward value, by the advantage of the
        Lagrangian, so all values belong to the same implicit policy.
        """
        t, drawn = self.training_file, [batch[name] for name in FIELDS]
        if conservative and t.spar_conservative:
            drawn.append(torch.from_numpy(self._rng.standard_normal(
                (CONSERVATIVE * len(drawn[0]), t.latent_dim), dtype=np.float32)))
        if conservative:
            losses = self.run('fit_values', *drawn)
        else:  # offline only, which is not compiled
            with torch.no_grad():
                losses = self.fit_values(*drawn)
        return dict(zip(('value', 'critic'), map(float, losses)))

    def fit_values(self, o: Tensor, a: Tensor, reward: Tensor, cost: Tensor, after: Tensor,
                   discount: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the losses of `update_values` as tensors; noise of `_excess`, or none of it."""
        t = self.training_file
        heads = self.target(o, a)
        q = torch.cat([heads[..., :1].amin(0), heads[..., 1:].amax(0)], -1)

        def value_loss() -> tuple[Tensor, tuple[()]]:
            v = self.value(o)
            better = self.lagrangian((q - v).detach())[:, None] > 0
            weight = torch.where(better, t.expectile, 1.0 - t.expectile)
            return (weight * (q - v).square()).sum(-1).mean(), ()

        value, _ = self.minimise('value', value_loss)
        y = torch.cat([reward[:, None], cost], -1) + discount[:, None] * self.value(after)

        def critic_loss() -> tuple[Tensor, tuple[()]]:
            values = self.critic(o, a)
            loss = (values - y).square().mean(1).sum(0).mean()
            if noise is not None:
                loss = loss + t.spar_conservative * self._excess(o, values, noise).sum()
            return loss, ()

        critic, _ = self.minimise('critic', critic_loss)
        polyak(self.target, self.critic, t.tau)
        return value, critic

    def _excess(self, observation: Tensor, values: Tensor, noise: Tensor) -> Tensor:
        """
        Return the excess (heads,) of each head's values of decoded actions over the data's.

            sigma^2 E[log sum_j exp(L(s, a_j) / sigma) - L(s, a_0) / sigma],  a_0: the data's,
            a_j = clip(a_b + g(s, a_b, z_j)),  z_j ~ N(0, I),  sigma: std of L(s, a_0)

        This is CQL's regulariser (Kumar et al. 2020, eq. 4) on the actions that self-imitation
        can propose, with L the Lagrangian. It is in units of sigma, so that one weight fits every
        reward. It vanishes where the data's action is by far the best. It has a gradient for the
        critic's parameters only.

        :param observation: (B, n) normalised
        :param values: (heads, B, 1 + C) of the data's actions, with their gradient
        :param noise: (`CONSERVATIVE` B, k) z_j, standard normal
        """
        t = self.training_file
        o = observation.repeat(CONSERVATIVE, 1)
        with torch.no_grad():
            action = self.decoded(o, noise.clamp(-t.latent_bound, t.latent_bound))
        seen = self.lagrangian(values)
        sigma = seen.detach().std(1, keepdim=True).clamp(min=1e-6)
        others = self.lagrangian(self.critic(o, action)).view(len(seen), CONSERVATIVE, -1)
        high = torch.logsumexp(torch.cat([others, seen[:, None]], 1) / sigma[:, None], 1)
        return (sigma.square() * (high - seen / sigma)).mean(1)

    def noise(self, batch: int) -> Tensor:
        """Return noise (K, batch, k) for `candidates`."""
        t = self.training_file
        return candidate_noise(self._rng, t.spar_candidates, batch, t.latent_dim)

    def candidates(self, observation: Tensor, noise: Tensor, proj: bool
                   ) -> tuple[Candidates, Tensor]:
        """
        Return K candidates per state and their weights (K, B), without a gradient.

        Their centre is `spar_centre` times the present latent. At 1 each round starts from the
        result of the previous one, and latents drift to their bound on mere noise of the values,
        since value differences are scaled by their own spread. Below 1 latents settle at a finite
        distance from the data's. At 0 candidates have the distribution of the data's residuals.

        :param observation: (B, n) normalised
        :param noise: (K, B, k) of `noise`
        :param proj: whether SPAR-PROJ acts
        """
        t = self.training_file
        with torch.no_grad():
            base = self.base(observation)
            centre = t.spar_centre * self.current_latent(observation, proj)
            drawn = draw_candidates(
                self.residual_decoder, observation, base, centre, noise=noise,
                sigma=t.spar_sigma, bound=t.latent_bound)
            heads = self.lagrangian(candidate_values(self.critic, observation,
                                                     base + drawn.residual))
            lower = heads.mean(0) - t.actor_kappa * heads.std(0, unbiased=False)
            return drawn, candidate_weights(lower, t.spar_temperature)

    def imitate(self, batch: Batch) -> dict[str, float]:
        """
        Regress the residual on its own candidates, weighted by Q_lcb (self-imitation).

            MLP:  |Delta(s) - sum_k w_k Delta_k|^2 + lambda |Delta(s) - g(s, a_b, 0)|^2
            PROJ: |h(s) - sum_k w_k z_k|^2 + lambda |h(s)|^2

        A weighted sum of squared distances has the same gradient as the squared distance to the
        weighted mean. The critic only determines the weights w_k.
        """
        o, proj = batch['observation'], bool(self.projects)
        loss, = self.run('fit_residual', o, self.noise(len(o)), proj=proj)
        return {'latent_policy' if proj else 'residual_policy': float(loss)}

    def fit_residual(self, o: Tensor, noise: Tensor, *, proj: bool) -> tuple[Tensor, ...]:
        """Return the loss of `imitate` as a tensor."""
        t = self.training_file
        drawn, weight = self.candidates(o, noise, proj)
        latent, residual = drawn.mean(weight)

        def loss_of_latent() -> tuple[Tensor, tuple[()]]:
            h = self.latent_policy(o)
            off = (h - latent).square() + t.spar_fit * h.square()
            return off.sum(-1).mean(), ()

        if proj:
            return self.minimise('latent_policy', loss_of_latent)[:1]
        start = self.residual_decoder(o, self.base(o), torch.zeros_like(latent))

        def loss_of_residual() -> tuple[Tensor, tuple[()]]:
            made = self.residual_policy(o)
            off = (made - residual).square() + t.spar_fit * (made - start).square()
            return (off / self.vae.residual_variance).mean(), ()

        return self.minimise('residual_policy', loss_of_residual)[:1]


def _at_zero(policy: BoundedPolicy) -> BoundedPolicy:
    """Set the policy's last layer to zero, so that its output is 0 everywhere; return it."""
    with torch.no_grad():
        for parameter in policy.net.layers[-1].parameters():
            parameter.zero_()
    return policy
