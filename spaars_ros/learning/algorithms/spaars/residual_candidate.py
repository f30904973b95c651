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
"""SPAR's residual policy as the raw candidate of the SPAARS gate."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.residual_vae import ResidualVAE
from spaars_ros.learning.core.self_imitation import candidate_noise
from spaars_ros.learning.core.self_imitation import candidate_values
from spaars_ros.learning.core.self_imitation import candidate_weights
from spaars_ros.learning.core.self_imitation import draw_candidates
from spaars_ros.training_file import Training


class ResidualCandidate(nn.Module):
    """
    Self-imitation of residuals: improves the raw policy without a gradient of Q in the action.

    SPAR's base action is D(s, pi_z(s)) here, so that the raw candidate is D(s, z) + Delta
    (docs/concepts/spar.md, reconstructed). The raw policy stays a plain network, also in the
    graph on the robot. It regresses to the weighted mean of

        a_k = trust box(clip(D(s, z) + g(s, D(s, z), u_k))),

    with latents u_k drawn about that of the present residual.

    :raises ValueError: mode 'raw-only', which has no decoder
    """

    def __init__(self, training: Training, observation: int, action: int) -> None:
        super().__init__()
        if training.mode == 'raw-only':
            raise ValueError("raw_candidate 'residual': mode 'raw-only' has no decoder whose "
                             'action it could be a residual of')
        self.training_file = training
        self.latent = min(training.latent_dim, action)
        self.vae = ResidualVAE(observation, self.latent, action, training.width)

    def noise(self, rng: np.random.Generator, batch: int) -> Tensor:
        """Return noise (K, batch, k) of the candidates for `loss`."""
        t = self.training_file
        return candidate_noise(rng, t.spar_candidates, batch, self.latent)

    def fit_loss(self, observation: Tensor, decoded: Tensor, action: Tensor) -> Tensor:
        """Return the residual CVAE's loss for the data's actions about the decoded (B, d)."""
        decoded = decoded.detach()
        self.vae.measure(action - decoded)
        return self.vae.loss(observation, decoded, action, self.training_file.kl_weight)

    def loss(self, observation: Tensor, raw: Tensor, decoded: Tensor, *, critic: EnsembleCritic,
             lagrangian: Callable[[Tensor], Tensor], trusted: Callable[[Tensor, Tensor], Tensor],
             noise: Tensor) -> Tensor:
        """
        Return the raw policy's loss by self-imitation, `raw_bc` |raw - D(s, z)|^2 included.

        The critic is evaluated without a gradient.

        :param observation: (B, n) normalised
        :param raw: (B, d) of the raw policy, the only input with a gradient
        :param decoded: (B, d) D(s, pi_z(s)), without a gradient
        :param lagrangian: values (..., 1 + C) -> Lagrangian values (...)
        :param trusted: (raw, decoded) -> raw actions clipped to the trust box
        :param noise: (K, B, k) of `candidate_noise`
        """
        t = self.training_file
        with torch.no_grad():
            present, _ = self.vae.encode(observation, trusted(raw, decoded) - decoded)
            centre = t.spar_centre * present.clamp(-t.latent_bound, t.latent_bound)
            drawn = draw_candidates(
                self.vae.decoder, observation, decoded, centre, sigma=t.spar_sigma,
                bound=t.latent_bound, noise=noise)
            action = trusted(decoded + drawn.residual, decoded)
            heads = lagrangian(candidate_values(critic, observation, action))
            lower = heads.mean(0) - t.actor_kappa * heads.std(0, unbiased=False)
            weight = candidate_weights(lower, t.spar_temperature)
            best = (weight[..., None] * action).sum(0)
        off = (raw - best).square() + t.raw_bc * (raw - decoded).square()
        return off.sum(-1).mean()
