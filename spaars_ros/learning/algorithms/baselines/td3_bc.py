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
"""TD3+BC (Fujimoto, Gu 2021): TD3 with a cloning term in the policy's loss."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training

ALPHA = 2.5
"""Weight of the values, which are divided by their mean absolute value (sourced)."""
POLICY_NOISE = 0.2
"""Standard deviation of the noise on the target policy's actions (sourced, TD3)."""
NOISE_CLIP = 0.5
"""Bound of that noise (sourced, TD3)."""
DELAY = 2
"""Number of critic updates per policy update (sourced, TD3)."""


class TD3BC(SinglePolicy):
    """
    TD3+BC (Fujimoto and Gu 2021): clipped double Q-learning with a smoothed target policy.

    The policy's loss is (paper, equation 5; lambda is computed at the policy's actions)

        -lambda E Q_1(s, pi(s)) + E |pi(s) - a|^2 / d,   lambda = alpha / E |Q_1(s, pi(s))|

    Networks, replay and optimisers are those of the other baselines: targets use two random heads
    of the ensemble. Online the same updates continue on mixed batches; the paper has no online
    phase.
    """

    offline_share = 0.5

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        n, d, _ = self.sizes
        t = training
        # As many offline updates as SPAARS.
        self.offline_steps = t.cvae_steps + t.iql_steps + t.align_steps
        self.policy = BoundedPolicy(n, d, t.width, 1.0)
        self.policy_target = copy.deepcopy(self.policy).requires_grad_(False)
        self.critic = EnsembleCritic(n, d, 1, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.set_learning_rate(t.offline_learning_rate)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'policy': parameters_of(self.policy), 'critic': parameters_of(self.critic)}

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the critic and, every `DELAY` updates, of the policy."""
        return self._update(batch)

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do the same update on the mixed batch."""
        return self._update(batch)

    def _update(self, batch: Batch) -> dict[str, float]:
        t = self.training_file
        o, a, after = batch['observation'], batch['action'], batch['next']
        with torch.no_grad():
            noise = (POLICY_NOISE * standard_normal(a)).clamp(-NOISE_CLIP, NOISE_CLIP)
            action = (self.policy_target(after) + noise).clamp(-1.0, 1.0)
            value = self.target(after, action)[..., 0][self.two_heads()].min(0).values
            y = batch['reward'] + batch['discount'] * value
        losses = {'critic': self.step(
            'critic', (self.critic(o, a)[..., 0] - y).square().mean(1).sum())}
        self.updates += 1
        if self.updates % DELAY == 0:
            action = self.policy(o)
            self.critic.requires_grad_(False)
            q = self.critic(o, action)[0, :, 0]
            self.critic.requires_grad_(True)
            scale = ALPHA / q.detach().abs().mean().clamp(min=1e-6)
            losses['policy'] = self.step(
                'policy', (action - a).square().mean() - scale * q.mean())
            polyak(self.target, self.critic, t.tau)
            polyak(self.policy_target, self.policy, t.tau)
        return losses

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the policy's action, with noise when exploring, clipped to [-1, 1]."""
        with torch.no_grad():
            o = self.tensor(self.normaliser(observation))[None]
            action = array_of(self.policy(o)[0]).astype(np.float64)
        if explore:
            noise = self.training_file.explore_raw * rng.standard_normal(len(action))
            action = np.clip(action + noise, -1.0, 1.0)
        return ActionSample(action)
