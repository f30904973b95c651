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
"""Quantities of the three statements of SPAARS, measured on given networks (theory.md)."""

from typing import Any

import torch
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent


def score_gradient_variance(advantage: Tensor, noise: Tensor, std: float) -> float:
    """
    Return tr Cov of the REINFORCE gradient with respect to the mean, g = (x - mu) / std^2 A.

    :param advantage: advantage A (N,) of the sampled actions
    :param noise: (x - mu) / std (N, dim), standard normal
    """
    gradient = noise / std * advantage[:, None]
    return float(gradient.var(0).sum())


def variance_ratio(agent: SpaarsAgent, observation: Tensor, *, std: float, samples: int,
                   bounded: bool) -> dict[str, float]:
    """
    Return tr Cov of the latent policy's score gradient over that of the raw policy.

    Keys: ratio, predicted (k / d), latent, raw (traces, averaged over states).

    :param observation: (B, n)
    :param std: standard deviation of the exploration of both policies
    :param samples: actions per state
    :param bounded: replace the advantage by its sign, so that |A| = 1 as in the lemma; otherwise
        it is that of the critic, minus the mean over the samples
    """
    traces = {'latent': 0.0, 'raw': 0.0}
    with torch.no_grad():
        for state in observation:
            o = state.expand(samples, -1)
            latent = agent.latent_policy(o)
            raw = agent.raw_policy(o)
            for name, mean in (('latent', latent), ('raw', raw)):
                noise = torch.randn_like(mean)
                moved = mean + std * noise
                action = agent.decoder(o, moved) if name == 'latent' else moved
                q = agent.critic(o, action)[..., 0].mean(0)
                advantage = q - q.mean()
                if bounded:
                    advantage = advantage.sign()
                traces[name] += score_gradient_variance(advantage, noise, std) / len(observation)
    k, d = agent.latent_policy.outputs, agent.raw_policy.outputs
    return {'ratio': traces['latent'] / traces['raw'], 'predicted': k / d, **traces}


def gradient_norms(agent: SpaarsAgent, observation: Tensor, action: Tensor) -> Tensor:
    """Return |grad_a Q| (B,) of the mean reward value of the ensemble."""
    a = action.clone().requires_grad_(True)
    q = agent.critic(observation, a)[..., 0].mean(0).sum()
    return torch.autograd.grad(q, a)[0].norm(dim=-1)


def steepest(agent: SpaarsAgent, observation: Tensor, one: Tensor, other: Tensor,
             points: int = 17) -> Tensor:
    """Return the largest |grad_a Q| (B,) on the segment between two actions (B, d)."""
    steps = torch.linspace(0.0, 1.0, points)
    return torch.stack([gradient_norms(agent, observation, one + step * (other - one))
                        for step in steps]).max(0).values


def calibration(agent: SpaarsAgent, observation: Tensor) -> dict[str, Any]:
    """
    Return the value difference of the gate and its bound at observations (B, n).

    Keys: difference (B,) = |mean_i Q_i(s, nu) - Q_i(s, D mu)|, distance (B,) = |nu - D mu|,
    bc_error (mean distance), lipschitz (running L_Q of the agent, a 95th percentile), local (B,)
    (steepest slope between the two actions).
    """
    with torch.no_grad():
        decoded = agent.latent_action(observation)
        raw = agent.raw_policy(observation)
        q = agent.critic(torch.cat([observation, observation]),
                         torch.cat([raw, decoded]))[..., 0].mean(0)
        q_raw, q_latent = q.chunk(2)
    distance = (raw - decoded).norm(dim=-1)
    return {'difference': (q_raw - q_latent).abs(), 'distance': distance,
            'bc_error': float(distance.mean()), 'lipschitz': float(agent.lipschitz),
            'local': steepest(agent, observation, raw, decoded)}


def reconstruction_gap(agent: SpaarsAgent, observation: Tensor, action: Tensor,
                       gamma: float) -> dict[str, float]:
    """
    Return the bound on J(pi*) - J(pi_z), and the performance-difference sum behind it.

    Averages are over states (B, n) and actions (B, d) of pi*; the critic is that of pi_z. Keys:
    bound = L_Q / (1 - gamma) mean |a* - D(s, E(s, a*))|, from_mse = the same with the root of
    the mean square, difference = mean [Q(s, a*) - Q(s, D mu)] / (1 - gamma), error, lipschitz
    (95th percentile of the steepest slope between a* and its reconstruction).
    """
    with torch.no_grad():
        latent = agent.encoder(observation, action)[0].clamp(
            -agent.latent_policy.bound, agent.latent_policy.bound)
        rebuilt = agent.decoder(observation, latent)
        q = agent.critic(observation, action)[..., 0].mean(0)
        value = agent.critic(observation, agent.latent_action(observation))[..., 0].mean(0)
    error = (action - rebuilt).norm(dim=-1)
    slope = float(steepest(agent, observation, action, rebuilt).quantile(0.95))
    return {'bound': slope * float(error.mean()) / (1.0 - gamma),
            'from_mse': slope * float(error.square().mean().sqrt()) / (1.0 - gamma),
            'difference': float((q - value).mean()) / (1.0 - gamma),
            'error': float(error.mean()), 'lipschitz': slope}
