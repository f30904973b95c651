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
"""Residual CVAE of SPAR: the data's actions relative to a frozen base policy, in k latents."""

import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.networks import Encoder
from spaars_ros.learning.core.networks import MLP


class ResidualDecoder(nn.Module):
    """
    Residual decoder g(s, a_b, z) -> (B, d), unbounded: callers clip a_b + g to [-1, 1].

    The last layer is initialised to zero, so that before training a_b + g is the base action.
    """

    def __init__(self, observation: int, latent: int, action: int, width: int) -> None:
        super().__init__()
        self.net = MLP(observation + action + latent, action, width, final_scale=0.0)

    def forward(self, observation: Tensor, base_action: Tensor, latent: Tensor) -> Tensor:
        """Return the residuals (B, d) of (B, n), base actions (B, d) and latents (B, k)."""
        return self.net(torch.cat([observation, base_action, latent], -1))


class ResidualVAE(nn.Module):
    """
    Encoder q(z | s, rho) and decoder g(s, a_b, z) of residuals rho = a - a_b.

    docs/concepts/spar.md, reconstructed from SPAR's abstract ("residual regression"):

        L = |rho - g(s, a_b, z)|^2 + beta KL(q(z | s, rho) || N(0, I)),  z ~ q

    The error is divided by the residuals' variance, so that beta (`kl_weight`) has the same
    effect for precise and for noisy data. Both terms are means over dimensions, as for the CVAE
    of SPAARS.
    """

    residual_variance: Tensor
    """(d,) running mean square of rho, tracked while the base is fitted."""

    def __init__(self, observation: int, latent: int, action: int, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(observation, action, latent, width)
        self.decoder = ResidualDecoder(observation, latent, action, width)
        self.register_buffer('residual_variance', torch.ones(action))

    def measure(self, residual: Tensor, rate: float = 0.02) -> None:
        """Track the mean square of residuals (B, d); at least 1e-4, a deviation of 0.01."""
        square = residual.detach().square().mean(0)
        self.residual_variance.lerp_(square, rate).clamp_(min=1e-4)

    def loss(self, observation: Tensor, base_action: Tensor, action: Tensor,
             kl_weight: float) -> Tensor:
        """Return the mean loss of (B, n), base actions (B, d) and the data's actions (B, d)."""
        residual = action - base_action
        mean, log_std = self.encode(observation, residual)
        latent = mean + log_std.exp() * standard_normal(mean)
        made = self.decoder(observation, base_action, latent)
        error = ((residual - made).square() / self.residual_variance).mean()
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).mean()
        return error + kl_weight * divergence

    def encode(self, observation: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (B, k) of q; it scales the residuals (B, d)."""
        mean, log_std = self.encoder(observation, residual / self.residual_variance.sqrt())
        return mean, log_std
