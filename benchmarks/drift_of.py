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
"""Drift of SPAR: how far an update points out of the range of the residual decoder."""

import torch
from torch import Tensor

from spaars_ros.learning.algorithms.spar.spar_agent import SparAgent
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.residual_vae import ResidualDecoder

RANK = 1e-3
"""Singular values below this share of the largest are taken as zero."""


def decoder_jacobian(decoder: ResidualDecoder, observation: Tensor, base_action: Tensor,
                     latent: Tensor) -> Tensor:
    """
    Return dg/dz (B, d, k) of the residual decoder at latents (B, k).

    Its columns span the tangent space of the decoder's outputs for a state.
    """
    z = latent.detach().clone().requires_grad_(True)
    made = decoder(observation, base_action, z)
    rows = [torch.autograd.grad(made[:, i].sum(), z, retain_graph=True)[0]
            for i in range(made.shape[1])]
    return torch.stack(rows, 1)


def normal_share(jacobian: Tensor, direction: Tensor) -> Tensor:
    """
    Return the share (B,) of a direction's length that is normal to the range of the Jacobian.

        |(I - U U^T) v| / |v|,   J = U S V^T without singular values near zero

    0 is along the manifold, 1 is normal to it; NaN if the direction is zero.

    :param jacobian: (B, d, k)
    :param direction: (B, d)
    """
    u, s, _ = torch.linalg.svd(jacobian.double(), full_matrices=False)
    u = u * (s > RANK * s[:, :1]).to(u.dtype)[:, None]
    v = direction.double()
    along = torch.einsum('bdr,br->bd', u, torch.einsum('bdr,bd->br', u, v))
    share = (v - along).norm(dim=-1) / v.norm(dim=-1)
    return share.to(direction.dtype)


def measure_drift(agent: SparAgent, batch: Batch) -> dict[str, float]:
    """
    Return the mean normal shares (`normal_share`) of two updates of the same states.

    Both start at the decoder's action for the present latent z. Self-imitation moves to the
    weighted mean of its candidates: the direction is sum_k w_k Delta_k - g(s, a_b, z) for
    SPAR-MLP and g(s, a_b, sum_k w_k z_k) - g(s, a_b, z) for SPAR-PROJ. A critic-gradient update
    moves along grad_a Q_lcb. Keys: `self_imitation`, `critic_gradient`, and `random` for a random
    direction.

    The candidates drawn here do not advance the agent's generator.

    :raises ValueError: k >= d, where no direction is normal to the decoder's range
    """
    o = batch['observation']
    k, d = agent.latent_policy.outputs, agent.base.outputs
    if k >= d:
        raise ValueError(f'latent_dim {k}: has to be less than the {d} dimensions of the action, '
                         "or no direction is normal to the decoder's range")
    kept = agent.rng_state()
    drawn, weight = agent.candidates(o, agent.noise(len(o)), bool(agent.projects))
    agent.set_rng_state(kept)
    with torch.no_grad():
        base = agent.base(o)
        z = agent.current_latent(o, bool(agent.projects))
        start = agent.residual_decoder(o, base, z)
        latent, residual = drawn.mean(weight)
        if agent.projection == 'proj':
            residual = agent.residual_decoder(o, base, latent)
        imitation = residual - start
    jacobian = decoder_jacobian(agent.residual_decoder, o, base, z)
    climb = _critic_gradient(agent, o, base + start)
    noise = torch.randn(o.shape[0], d, generator=torch.Generator().manual_seed(0))
    found = {'self_imitation': imitation, 'critic_gradient': climb, 'random': noise}
    return {name: float(normal_share(jacobian, direction).nanmean())
            for name, direction in found.items()}


def _critic_gradient(agent: SparAgent, observation: Tensor, action: Tensor) -> Tensor:
    """Return grad_a Q_lcb (B, d), which SPAR itself does not use."""
    a = action.detach().clamp(-1.0, 1.0).requires_grad_(True)
    heads = agent.lagrangian(agent.critic(observation, a))
    lower = heads.mean(0) - agent.training_file.actor_kappa * heads.std(0, unbiased=False)
    return torch.autograd.grad(lower.sum(), a)[0]
