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
"""Loss of a conditional variational autoencoder of actions."""

from torch import nn
from torch import Tensor

from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.replay import Batch


def cvae_loss(encoder: nn.Module, decoder: nn.Module, batch: Batch, variance: Tensor,
              kl_weight: float) -> Tensor:
    """
    Return reconstruction error + kl_weight KL(E(s, a) || N(0, 1)), both means (Sohn et al. 2015).

    :param encoder: (B, n), (B, d) -> mean and log standard deviation (B, k)
    :param decoder: (B, n), (B, k) -> actions (B, d)
    :param batch: normalised observations and actions in [-1, 1]
    :param variance: (d,) variance of the data's actions, which scales the squared error
    :param kl_weight: weight of the divergence
    """
    o, a = batch['observation'], batch['action']
    mean, log_std = encoder(o, a)
    latent = mean + log_std.exp() * standard_normal(mean)
    error = ((a - decoder(o, latent)).square() / variance).mean()
    divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).mean()
    loss: Tensor = error + kl_weight * divergence
    return loss
