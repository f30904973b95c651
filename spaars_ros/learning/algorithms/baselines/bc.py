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
"""Behaviour cloning."""

from typing import Any

import numpy as np
import torch
from torch import nn

from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training


class BehaviourCloning(SinglePolicy):
    """Behaviour cloning, min E |a - pi(s)|^2 over the data set; it does not learn online."""

    learns_online = False

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        n, d, _ = self.sizes
        self.offline_steps = training.iql_steps
        self.policy = BoundedPolicy(n, d, training.width, 1.0)
        self.set_learning_rate(training.offline_learning_rate)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'policy': parameters_of(self.policy)}

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one regression step; return the loss."""
        error = (self.policy(batch['observation']) - batch['action']).square().sum(-1)
        return {'policy': self.step('policy', error.mean())}

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do nothing."""
        return {}

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the policy's action."""
        with torch.no_grad():
            action = self.policy(self.tensor(self.normaliser(observation))[None])
        return ActionSample.of(action)
