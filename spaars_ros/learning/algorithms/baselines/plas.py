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
"""PLAS: policy in the latent action space of a frozen CVAE (Zhou, Bajracharya, Held 2020)."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.cvae import cvae_loss
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import Encoder
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training


class PLAS(SinglePolicy):
    """
    PLAS: CVAE, then deterministic policy gradient through its decoder, offline and online.

    The target is 0.75 min + 0.25 max of two heads (docs/concepts/spaars.md, sourced). The latent
    width k is that of the training file instead of PLAS's 2d, for a fair comparison with SPAARS.
    """

    offline_share = 0.5

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        n, d, _ = self.sizes
        t = training
        self.offline_steps = t.cvae_steps + t.iql_steps + t.align_steps
        self.encoder = Encoder(n, d, t.latent_dim, t.width)
        self.decoder = Decoder(n, t.latent_dim, d, t.width)
        self.policy = BoundedPolicy(n, t.latent_dim, t.width, t.latent_bound)
        self.policy_target = copy.deepcopy(self.policy).requires_grad_(False)
        self.critic = EnsembleCritic(n, d, 1, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.register_buffer('action_variance', torch.ones(d))
        self.set_learning_rate(t.offline_learning_rate)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'cvae': parameters_of(self.encoder, self.decoder),
                'policy': parameters_of(self.policy), 'critic': parameters_of(self.critic)}

    def set_action_variance(self, actions: 'np.ndarray[Any, Any]') -> None:
        """Measure the variance of actions (N, d), which scales the reconstruction error."""
        variance = self.tensor(actions.var(0).astype(np.float32))
        self.action_variance = variance.clamp(min=1e-4)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the CVAE or, after `cvae_steps`, of critic and policy."""
        t = self.training_file
        if step < t.cvae_steps:
            return {'cvae': self._update_cvae(batch)}
        if step == t.cvae_steps:
            self._freeze_decoder()
        return self._update(batch)

    def begin_online(self) -> None:
        """Freeze the decoder and set the online learning rate."""
        self._freeze_decoder()
        super().begin_online()

    def _freeze_decoder(self) -> None:
        self.encoder.requires_grad_(False)
        self.decoder.requires_grad_(False)

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do the offline update on the mixed batch."""
        return self._update(batch)

    def _update_cvae(self, batch: Batch) -> float:
        return self.step('cvae', cvae_loss(self.encoder, self.decoder, batch,
                                           self.action_variance, self.training_file.kl_weight))

    def _update(self, batch: Batch) -> dict[str, float]:
        t = self.training_file
        o, a, after = batch['observation'], batch['action'], batch['next']
        with torch.no_grad():
            action = self.decoder(after, self.policy_target(after))
            pair = self.target(after, action)[..., 0][self.two_heads()]
            value = 0.75 * pair.min(0).values + 0.25 * pair.max(0).values
            y = batch['reward'] + batch['discount'] * value
        critic = self.step('critic', (self.critic(o, a)[..., 0] - y).square().mean(1).sum())
        self.critic.requires_grad_(False)
        q = self.critic(o, self.decoder(o, self.policy(o)))[0, :, 0]
        policy = self.step('policy', -q.mean())
        self.critic.requires_grad_(True)
        polyak(self.target, self.critic, t.tau)
        polyak(self.policy_target, self.policy, t.tau)
        self.updates += 1
        return {'critic': critic, 'policy': policy}

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the decoded action of the latent policy, with latent noise when exploring."""
        t = self.training_file
        with torch.no_grad():
            o = self.tensor(self.normaliser(observation))[None]
            latent = self.policy(o)
            if explore:
                noise = rng.standard_normal(latent.shape).astype(np.float32)
                latent = (latent + t.explore_latent * self.tensor(noise)).clamp(
                    -t.latent_bound, t.latent_bound)
            action = self.decoder(o, latent)
        return ActionSample.of(action, Mode.LATENT)
