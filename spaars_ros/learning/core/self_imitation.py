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
"""Latent self-imitation: candidates in latent space, weighted by values, never their gradient."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.residual_vae import ResidualDecoder

ROWS = 512
"""Actions valued at once: their layers stay in the cache, and it takes half the time."""


@dataclass(frozen=True)
class Candidates:
    """K latents a state, the residuals that they decode to, and their weights."""

    latent: Tensor
    """(K, B, k), within the bound."""
    residual: Tensor
    """(K, B, d), of which a_b + residual is in [-1, 1]."""

    def mean(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents' (B, k) and the residuals' (B, d) mean by weights (K, B)."""
        spread = weight[..., None]
        return (spread * self.latent).sum(0), (spread * self.residual).sum(0)


@torch.no_grad()
def draw_candidates(decoder: ResidualDecoder, observation: Tensor, base_action: Tensor,
                    centre: Tensor, *, count: int, sigma: float, bound: float,
                    rng: np.random.Generator) -> Candidates:
    """
    Return `count` candidates a state about a latent (docs/concepts/spar.md, reconstructed).

        z_k = clip(centre + sigma eps_k, +-bound),  Delta_k = clip(a_b + g(s, a_b, z_k)) - a_b

    The first has eps = 0: where no other is better, nothing moves.

    :param observation: (B, n)
    :param base_action: (B, d)
    :param centre: (B, k)
    """
    noise = rng.standard_normal((count, *centre.shape), dtype=np.float32)
    noise[0] = 0.0
    latent = (centre + sigma * torch.from_numpy(noise)).clamp(-bound, bound)
    rows = latent.flatten(0, 1)
    o = observation.repeat(count, 1)
    base = base_action.repeat(count, 1)
    residual = (base + decoder(o, base, rows)).clamp(-1.0, 1.0) - base
    return Candidates(latent, residual.view(count, *base_action.shape))


@torch.no_grad()
def candidate_values(critic: EnsembleCritic, observation: Tensor, action: Tensor) -> Tensor:
    """
    Return every head's values (heads, K, B, 1 + C) of actions (K, B, d), without a graph.

    The only place where SPAR's policy update asks the critic anything.
    """
    count, batch = action.shape[:2]
    pairs = zip(observation.repeat(count, 1).split(ROWS), action.flatten(0, 1).split(ROWS))
    values = torch.cat([critic(o, a) for o, a in pairs], 1)
    return values.view(len(values), count, batch, -1)


def candidate_weights(value: Tensor, temperature: float) -> Tensor:
    """
    Return softmax over candidates (K, B) of Q_lcb / T, T = temperature * mean_s std_k(Q_lcb).

    The temperature follows the spread of the candidates' values over the batch (spar.md), so it
    depends on no reward's scale, and a state whose candidates are all alike moves hardly at all:
    with each state's own spread noise would move it as far as a difference does elsewhere.
    """
    spread = value.std(0, unbiased=False).mean().clamp(min=1e-6)
    return torch.softmax(value / (temperature * spread), 0)
