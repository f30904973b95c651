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
"""Latent self-imitation: latent candidates weighted by values, without gradients of the values."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.residual_vae import ResidualDecoder

ROWS = 512
"""Number of actions per critic call: their activations stay in the cache, in half the time."""


@dataclass(frozen=True)
class Candidates:
    """K candidate latents per state, and the residuals that they decode to."""

    latent: Tensor
    """(K, B, k), within the latent bound."""
    residual: Tensor
    """(K, B, d), such that a_b + residual is in [-1, 1]."""

    def mean(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted means of latents (B, k) and residuals (B, d); weights (K, B)."""
        spread = weight[..., None]
        return (spread * self.latent).sum(0), (spread * self.residual).sum(0)


def candidate_noise(rng: np.random.Generator, count: int, batch: int, latent: int) -> Tensor:
    """Return standard normal noise (count, batch, latent) of candidates; zero for the first."""
    noise = rng.standard_normal((count, batch, latent), dtype=np.float32)
    noise[0] = 0.0
    return torch.from_numpy(noise)


@torch.no_grad()
def draw_candidates(decoder: ResidualDecoder, observation: Tensor, base_action: Tensor,
                    centre: Tensor, *, noise: Tensor, sigma: float, bound: float) -> Candidates:
    """
    Draw candidates per state about a centre latent (docs/concepts/spar.md, reconstructed).

        z_k = clip(centre + sigma eps_k, +-bound),  Delta_k = clip(a_b + g(s, a_b, z_k)) - a_b

    The first has eps = 0: where no other is better, the policy stays unchanged.

    :param observation: (B, n) normalised
    :param base_action: (B, d) in [-1, 1]
    :param centre: (B, k)
    :param noise: (K, B, k) of `candidate_noise`
    :param sigma: standard deviation of the draws
    :param bound: bound of the latents' absolute values
    """
    count = len(noise)
    latent = (centre + sigma * noise).clamp(-bound, bound)
    rows = latent.flatten(0, 1)
    o = observation.repeat(count, 1)
    base = base_action.repeat(count, 1)
    residual = (base + decoder(o, base, rows)).clamp(-1.0, 1.0) - base
    return Candidates(latent, residual.view(count, *base_action.shape))


@torch.no_grad()
def candidate_values(critic: EnsembleCritic, observation: Tensor, action: Tensor) -> Tensor:
    """
    Return every head's values (heads, K, B, 1 + C) of actions (K, B, d), without a gradient.

    This is the only use of the critic in SPAR's policy update.
    """
    count, batch = action.shape[:2]
    pairs = zip(observation.repeat(count, 1).split(ROWS), action.flatten(0, 1).split(ROWS))
    values = torch.cat([critic(o, a) for o, a in pairs], 1)
    return values.view(len(values), count, batch, -1)


def candidate_weights(value: Tensor, temperature: float) -> Tensor:
    """
    Return softmax over candidates (K, B) of Q_lcb / T, T = temperature * mean_s std_k(Q_lcb).

    The temperature follows the batch mean of the candidates' spread (docs/concepts/spar.md). So it
    is independent of the reward's scale, and a state whose candidates have nearly equal values
    hardly changes. With the spread of each state, noise would change such a state as much as real
    differences change others.

    :param value: (K, B) Q_lcb
    :param temperature: > 0
    """
    spread = value.std(0, unbiased=False).mean().clamp(min=1e-6)
    return torch.softmax(value / (temperature * spread), 0)
