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
"""Soft actor-critic with an ensemble critic, from scratch or with offline data as in RLPD."""

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training


class SAC(SinglePolicy):
    """
    SAC (Haarnoja et al. 2018) with an ensemble of LayerNorm heads; targets use two random heads.

    Until the first update actions are uniformly random, as usual for SAC: do not run on a robot.
    """

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        n, d, _ = self.sizes
        t = training
        self.policy = SquashedGaussian(n, d, t.width)
        self.critic = EnsembleCritic(n, d, 1, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        # Temperature 1 on unscaled rewards, as published; the critic's rewards are scaled.
        self.log_alpha = nn.Parameter(torch.tensor(math.log(t.reward_scale)))
        self.target_entropy = -float(d)
        self.set_learning_rate(t.learning_rate)
        self.set_recipe(t, observation=n, action=d, constraints=0, normaliser=None, seed=0)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'policy': parameters_of(self.policy), 'critic': parameters_of(self.critic),
                'alpha': [self.log_alpha]}

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Raise NotImplementedError: there is no offline phase."""
        raise NotImplementedError('SAC and RLPD have no offline phase')

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update of critic, policy and temperature."""
        self.updates += 1
        climb = self.updates % self.training_file.policy_delay == 0
        noise = [torch.randn(batch['action'].shape) for _ in range(1 + climb)]
        losses = self.run(
            'learn',
            *(batch[name] for name in ('observation', 'action', 'reward', 'next', 'discount')),
            self.two_heads(), *noise, climb=climb)
        return dict(zip(('critic', 'policy', 'alpha'), map(float, losses)))

    def learn(self, o: Tensor, a: Tensor, reward: Tensor, after: Tensor, discount: Tensor,
              heads: Tensor, *noise: Tensor, climb: bool) -> tuple[Tensor, ...]:
        """
        Do the update on tensors, so that it can be compiled.

        :param heads: (2,) indices of the target critic's heads
        :param noise: one or two (B, d), standard normal; the second is for the policy
        :param climb: whether policy and temperature are trained, too
        :return: the critic's loss and, with `climb`, the policy's loss and the temperature
        """
        t = self.training_file
        alpha = self.log_alpha.exp()
        action, log_prob = self.policy.sample(after, noise[0])
        value = self.target(after, action)[..., 0][heads].amin(0) - alpha * log_prob
        y = reward + discount * value
        critic, _ = self.minimise('critic', lambda: (
            (self.critic(o, a)[..., 0] - y).square().mean(1).sum(), ()))
        polyak(self.target, self.critic, t.tau)
        if not climb:
            return (critic,)

        def loss() -> tuple[Tensor, Tensor]:
            drawn, log_prob = self.policy.sample(o, noise[1])
            q = self._policy_value(self.critic(o, drawn)[..., 0])
            return (alpha * log_prob - q).mean(), log_prob.detach()

        policy, log_prob = self.minimise('policy', loss)
        entropy = -log_prob.mean()
        self.minimise('alpha', lambda: (self.log_alpha * (entropy - self.target_entropy), ()))
        return critic, policy, self.log_alpha.exp()

    @staticmethod
    def _policy_value(heads: Tensor) -> Tensor:
        return heads.amin(0)

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the mode or, when exploring, a sample; uniform before the first update."""
        if explore and self.updates == 0:
            return ActionSample(rng.uniform(-1.0, 1.0, self.sizes[1]))
        with torch.no_grad():
            mean, log_std = self.policy(self.tensor(self.normaliser(observation))[None])
        before = array_of(mean[0]).astype(np.float64)
        if explore:
            before = before + np.exp(array_of(log_std[0])) * rng.standard_normal(len(before))
        return ActionSample(np.tanh(before))


class RLPD(SAC):
    """
    RLPD (Ball et al. 2023): SAC from scratch with half of every batch from the offline data.

    The target entropy is -d/2, and the policy maximises the mean of the heads.
    """

    offline_share = 0.5

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        self.target_entropy = -0.5 * self.sizes[1]

    @staticmethod
    def _policy_value(heads: Tensor) -> Tensor:
        return heads.mean(0)
