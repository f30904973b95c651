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
"""OPAL: skills from chunks of trajectories (Ajay et al., ICLR 2021)."""

import math

import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import MLP

LOG_STD = (-3.0, 2.0)
"""Range of the decoder's log standard deviation per action dimension, normalised units. Its lower
bound, 0.05, is precise enough, and keeps a dimension that is decoded without error from
outweighing the others."""
HASTE = 30.0
"""Factor from the parameter to log_std. Adam moves each parameter by about its learning rate per
step; without the factor log_std converges slowly, and meanwhile the KL outweighs the errors, so
that z carries no information."""
PRIOR_LOG_STD = (-20.0, 2.0)
"""Range of the log standard deviation of prior and posterior."""


class ChunkEncoder(nn.Module):
    """
    Posterior q(z | s_1..s_H, a_1..a_H), a diagonal Gaussian over skills.

    As in SUPE (docs/concepts/skills.md, sourced): an MLP of each observation, concatenated with
    its action, a bidirectional GRU, the outputs of all H steps concatenated, a linear layer. The
    standard deviation is exp(out / 2). SUPE has width 256 and 2 layers.

    :param skill: k
    :param length: H
    :param layers: number of GRU layers
    """

    def __init__(self, observation: int, action: int, skill: int, length: int, width: int,
                 layers: int = 1) -> None:
        super().__init__()
        self.length = length
        self.inputs = MLP(observation, width, width, depth=1)
        self.gru = nn.GRU(width + action, width, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width * length, 2 * skill)

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log_std (B, k) of normalised chunks (B, H, n), (B, H, d)."""
        seen = torch.relu(self.inputs(observations))
        out, _ = self.gru(torch.cat([seen, actions], -1))
        mean, twice = self.head(out.flatten(1)).chunk(2, -1)
        # Clipped, since a first batch of large values could give an infinite variance.
        return mean, (0.5 * twice).clamp(*PRIOR_LOG_STD)


class SkillPrior(nn.Module):
    """Prior p(z | s_1), a diagonal Gaussian over skills."""

    def __init__(self, observation: int, skill: int, width: int) -> None:
        super().__init__()
        self.net = MLP(observation, 2 * skill, width)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log_std (B, k), the latter clipped to [-20, 2]."""
        mean, log_std = self.net(observation).chunk(2, -1)
        return mean, log_std.clamp(*PRIOR_LOG_STD)


class SkillDecoder(Decoder):
    """
    Skill policy pi(a | s, z), a Gaussian with the mean tanh(MLP(s, z)).

    The mean is in [-1, 1], and the standard deviation is one vector (d,) for all states. Both are
    reconstructed: the sources say only "Gaussian". It is a `Decoder`, and is exported as one.
    """

    def __init__(self, observation: int, skill: int, action: int, width: int) -> None:
        super().__init__(observation, skill, action, width)
        with torch.no_grad():
            for parameter in self.net.layers[-1].parameters():
                parameter.mul_(1e-2)  # initial scale of the last layer (sourced)
        self.spread = nn.Parameter(torch.zeros(action))

    def mean(self, observation: Tensor, skill: Tensor) -> Tensor:
        """Return the mean action (B, d) in [-1, 1]."""
        return self(observation, skill)

    @property
    def log_std(self) -> Tensor:
        """Return the logarithm of the standard deviation (d,)."""
        return (HASTE * self.spread).clamp(*LOG_STD)

    @property
    def std(self) -> Tensor:
        """Return the standard deviation (d,)."""
        return self.log_std.exp()

    def log_prob(self, observation: Tensor, skill: Tensor, action: Tensor) -> Tensor:
        """Return log pi(a | s, z) (...), summed over the d action dimensions."""
        log_std = self.log_std
        off = (action - self(observation, skill)) * (-log_std).exp()
        return (-0.5 * off.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)


def divergence(mean: Tensor, log_std: Tensor, prior_mean: Tensor, prior_log_std: Tensor) -> Tensor:
    """Return KL(N(mean, std) || N(prior_mean, prior_std)) (B), summed over k dimensions."""
    ratio = (2.0 * (log_std - prior_log_std)).exp()
    off = (mean - prior_mean).square() * (-2.0 * prior_log_std).exp()
    return 0.5 * (ratio + off - 1.0).sum(-1) + (prior_log_std - log_std).sum(-1)


def opal_loss(encoder: ChunkEncoder, prior: SkillPrior, decoder: SkillDecoder,
              observations: Tensor, actions: Tensor, kl_weight: float) -> tuple[Tensor, Tensor]:
    """
    Return the two terms () of OPAL's loss, negative log-likelihood and weighted KL divergence.

        L = -mean_{B, H} sum_d log pi(a_t | s_t, z) + kl_weight * mean_B KL(q(z|chunk) || p(z|s_1))

    docs/concepts/skills.md (SUPE, sourced). The likelihood is averaged over the H steps: a
    kl_weight of 0.1 here corresponds to H * 0.1 if the steps are summed, as in OPAL-PyTorch.

    :param observations: (B, H, n) normalised
    :param actions: (B, H, d) in [-1, 1]
    """
    mean, log_std = encoder(observations, actions)
    skill = mean + log_std.exp() * standard_normal(mean)
    held = skill[:, None].expand(-1, observations.shape[1], -1)
    likelihood = decoder.log_prob(observations, held, actions)  # (B, H)
    kl = divergence(mean, log_std, *prior(observations[:, 0])).mean()
    return -likelihood.mean(), kl_weight * kl
