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
"""Implicit Q-learning (Kostrikov, Nair, Levine 2021), offline and fine-tuned online."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.algorithms.spaars.gated_agent import LARGEST
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training


class IQL(SinglePolicy):
    """
    IQL: expectile value, critic ensemble, policy by advantage-weighted regression.

    The update is the same offline and online, as in the paper's fine-tuning. Online it explores
    with the Gaussian of the policy. docs/concepts/spaars.md.
    """

    offline_share = 0.5

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        n, d, constraints = self.sizes
        t = training
        # As many offline updates as SPAARS.
        self.offline_steps = t.cvae_steps + t.iql_steps + t.align_steps
        self.policy = BoundedPolicy(n, d, t.width, 1.0)
        self.log_std = nn.Parameter(torch.full((d,), -1.0))
        self.value = MLP(n, 1, t.width)
        self.critic = EnsembleCritic(n, d, 1, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.set_learning_rate(t.offline_learning_rate)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'policy': [*parameters_of(self.policy), self.log_std],
                'value': parameters_of(self.value), 'critic': parameters_of(self.critic)}

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of value, critic and policy."""
        return self._update(batch)

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do the same update on the mixed batch."""
        return self._update(batch)

    def _update(self, batch: Batch) -> dict[str, float]:
        t = self.training_file
        o, a = batch['observation'], batch['action']
        with torch.no_grad():
            q = self.target(o, a)[..., 0].min(0).values
        v = self.value(o)[:, 0]
        advantage = q - v
        weight = torch.where(advantage > 0, t.expectile, 1.0 - t.expectile)
        value = self.step('value', (weight * advantage.square()).mean())

        with torch.no_grad():
            y = batch['reward'] + batch['discount'] * self.value(batch['next'])[:, 0]
        critic = self.step('critic', (self.critic(o, a)[..., 0] - y).square().mean(1).sum())
        polyak(self.target, self.critic, t.tau)

        with torch.no_grad():
            # Divided by their spread, so that temperature does not depend on the reward's scale.
            scale = advantage.std(unbiased=False).clamp(min=1e-6)
            weight = (t.temperature * advantage.detach() / scale).clamp(-10.0, LARGEST).exp()
            weight = weight / weight.mean()
        log_std = self.log_std.clamp(-5.0, 0.0)
        off = (a - self.policy(o)) * (-log_std).exp()
        log_prob = (-0.5 * off.square() - log_std).sum(-1)
        policy = self.step('policy', -(weight * log_prob).mean())
        self.updates += 1
        return {'value': value, 'critic': critic, 'policy': policy}

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the policy's mean or, when exploring, a sample clipped to [-1, 1]."""
        with torch.no_grad():
            o = self.tensor(self.normaliser(observation))[None]
            action = array_of(self.policy(o)[0]).astype(np.float64)
            std = array_of(self.log_std.clamp(-5.0, 0.0).exp())
        if explore:
            action = np.clip(action + std * rng.standard_normal(len(action)), -1.0, 1.0)
        return ActionSample(action)
