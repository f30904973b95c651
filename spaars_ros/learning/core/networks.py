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

"""Networks of all algorithms; the same classes are used offline and online."""

import math
from typing import Any

import torch
from torch import nn
from torch import Tensor
import torch.nn.functional as functional

from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.ensemble import ensemble_values

PRIOR_WIDTH = 64
"""Hidden units of the prior network of each head."""


class MLP(nn.Module):
    """
    Linear layers with ReLU between them, (B, inputs) -> (B, outputs).

    :param depth: number of hidden layers
    :param final_scale: factor on the initial weights and biases of the last layer
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int = 2,
                 final_scale: float = 1.0) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth + [outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:]))
        with torch.no_grad():
            for parameter in self.layers[-1].parameters():
                parameter.mul_(final_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's linear output."""
        # A slice of a ModuleList creates a new ModuleList, which takes longer than the layers.
        *hidden, last = self.layers
        for layer in hidden:
            x = functional.relu(layer(x))
        output: Tensor = last(x)
        return output


class Encoder(nn.Module):
    """CVAE encoder E(s, a) -> mean and log standard deviation of the latent action, (B, k)."""

    def __init__(self, observation: int, action: int, latent: int, width: int) -> None:
        super().__init__()
        self.net = MLP(observation + action, 2 * latent, width)

    def forward(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean, log_std), the latter clipped to [-4, 2]."""
        mean, log_std = self.net(torch.cat([observation, action], -1)).chunk(2, -1)
        return mean, log_std.clamp(-4.0, 2.0)


class Decoder(nn.Module):
    """CVAE decoder D(s, z) -> normalised action (B, d) in [-1, 1]."""

    def __init__(self, observation: int, latent: int, action: int, width: int) -> None:
        super().__init__()
        self.net = MLP(observation + latent, action, width)

    def forward(self, observation: Tensor, latent: Tensor) -> Tensor:
        """Return the actions (B, d) of observations (B, n) and latents (B, k)."""
        return torch.tanh(self.net(torch.cat([observation, latent], -1)))


class BoundedPolicy(nn.Module):
    """Deterministic policy s -> bound * tanh(.), the mode of a Gaussian with fixed deviation."""

    def __init__(self, observation: int, outputs: int, width: int, bound: float) -> None:
        super().__init__()
        self.inputs, self.outputs, self.bound = observation, outputs, bound
        self.net = MLP(observation, outputs, width, final_scale=0.1)

    def forward(self, observation: Tensor) -> Tensor:
        """Return the mode (B, outputs), in [-bound, bound]."""
        return self.bound * torch.tanh(self.net(observation))


class SquashedGaussian(nn.Module):
    """Policy tanh(N(mean(s), std(s))) on [-1, 1]^d, as in SAC."""

    LOG_STD = (-5.0, 2.0)

    def __init__(self, observation: int, action: int, width: int) -> None:
        super().__init__()
        self.net = MLP(observation, 2 * action, width)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (B, d) before tanh, the latter clipped."""
        mean, log_std = self.net(observation).chunk(2, -1)
        return mean, log_std.clamp(*self.LOG_STD)

    def mode(self, observation: Tensor) -> Tensor:
        """Return tanh of the mean, (B, d)."""
        return torch.tanh(self(observation)[0])

    def sample(self, observation: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """
        Return an action (B, d), differentiable, and its log-probability (B).

        :param noise: (B, d) standard normal; None: drawn here
        """
        mean, log_std = self(observation)
        noise = standard_normal(mean) if noise is None else noise
        before = mean + log_std.exp() * noise
        # log(1 - tanh(x)^2) in the form that does not underflow for large |x|.
        squash = 2.0 * (math.log(2.0) - before - functional.softplus(-2.0 * before))
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi) - squash
        return torch.tanh(before), log_prob.sum(-1)

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """
        Return the log-probability (B) of actions (B, d) in [-1, 1].

        Actions are clipped to +-(1 - 1e-4), since atanh is infinite at +-1.
        """
        mean, log_std = self(observation)
        inside = action.clamp(-1.0 + 1e-4, 1.0 - 1e-4)
        before = torch.atanh(inside)
        off = (before - mean) * (-log_std).exp()
        density = -0.5 * off.square() - log_std - 0.5 * math.log(2.0 * math.pi)
        return (density - torch.log1p(-inside.square())).sum(-1)


class EnsembleCritic(nn.Module):
    """
    Independent heads with LayerNorm, computed as batched matrix products.

    (B, n), (B, d) -> (heads, B, 1 + C): the reward's value, then the cost value per constraint.
    With a prior every head is f_i + prior p_i, where p_i is a frozen random network (Osband et
    al. 2018). Away from the data f_i does not compensate p_i, so the heads differ.

    :param values: 1 + C
    :param width: hidden units per layer and head
    :param prior: weight of p_i; 0: no prior
    """

    def __init__(self, observation: int, action: int, values: int, width: int, heads: int,
                 depth: int = 2, prior: float = 0.0) -> None:
        super().__init__()
        self.prior = prior
        self.priors = nn.Module() if prior else None
        if self.priors is not None:
            for number, (a, b) in enumerate(((observation + action, PRIOR_WIDTH),
                                             (PRIOR_WIDTH, values))):
                drawn = torch.empty(heads, a + 1, b).uniform_(-1.0, 1.0) / math.sqrt(a)
                self.priors.register_buffer(f'weight_{number}', drawn[:, :a].contiguous())
                self.priors.register_buffer(f'bias_{number}', drawn[:, a:].contiguous())
        sizes = [observation + action] + [width] * depth + [values]
        self.heads, self.values, self.normalise = heads, values, True
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for a, b in zip(sizes[:-1], sizes[1:]):
            limit = 1.0 / math.sqrt(a)
            self.weights.append(nn.Parameter(torch.empty(heads, a, b).uniform_(-limit, limit)))
            self.biases.append(nn.Parameter(torch.empty(heads, 1, b).uniform_(-limit, limit)))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the values (heads, B, 1 + C) of observations (B, n) and actions (B, d)."""
        x = torch.cat([observation, action], -1)
        values = ensemble_values(x, list(self.weights), list(self.biases), self.normalise)
        if self.priors is None:
            return values
        with_prior: Tensor = values + self.prior * prior_values(x, *self.prior_layers())
        return with_prior

    def prior_layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights (heads, a, b) and biases (heads, 1, b) of the priors."""
        assert self.priors is not None
        there = self.priors
        return ([getattr(there, f'weight_{number}') for number in (0, 1)],
                [getattr(there, f'bias_{number}') for number in (0, 1)])

    def of_heads(self, observation: Tensor, action: Tensor, heads: Tensor) -> Tensor:
        """Return the values (h, B, 1 + C) of the heads with indices (h,), without a gradient."""
        x = torch.cat([observation, action], -1)
        with torch.no_grad():
            values = ensemble_values(x, [w[heads] for w in self.weights],
                                     [b[heads] for b in self.biases], self.normalise)
            if self.priors is None:
                return values
            weights, biases = self.prior_layers()
            return values + self.prior * prior_values(x, [w[heads] for w in weights],
                                                      [b[heads] for b in biases])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Load tensors; an older critic has no priors, which are then set to zero."""
        if self.priors is not None:
            for name, there in self.priors.named_buffers():
                state_dict.setdefault(f'{prefix}priors.{name}', torch.zeros_like(there))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def prior_values(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Return the values (heads, B, v) of networks with one hidden layer, for inputs (B, n)."""
    hidden = torch.relu(torch.baddbmm(biases[0], x.expand(len(weights[0]), *x.shape), weights[0]))
    # By column, as in `ensemble_values`: there are few columns.
    columns = [(hidden * column[:, None]).sum(-1) for column in weights[1].unbind(-1)]
    return torch.stack(columns, -1) + biases[1]


def polyak(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Move a target network towards its source: target += rate (source - target), in place."""
    with torch.no_grad():
        for mine, other in zip(target.parameters(), source.parameters()):
            mine.lerp_(other, rate)
