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

"""SPAARS with the CVAE: its networks and one update of each kind, offline and online."""

import copy

import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.gated_agent import GatedAgent
from spaars_ros.learning.algorithms.spaars.gated_agent import LARGEST
from spaars_ros.learning.core.cvae import cvae_loss
from spaars_ros.learning.core.learner import parameters_of
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import Encoder
from spaars_ros.learning.core.replay import Batch


class SpaarsAgent(GatedAgent):
    """
    CVAE, shared critic on raw actions, latent policy, raw policy and RND.

    Equations are those of docs/concepts/spaars.md (reconstructed) unless a method says otherwise.
    """

    def make_coder(self, observation: int, action: int) -> None:
        """Make the CVAE."""
        t = self.training_file
        self.encoder = Encoder(observation, action, t.latent_dim, t.width)
        self.decoder = Decoder(observation, t.latent_dim, action, t.width)

    def make_latent_policy(self, observation: int) -> None:
        """Make the latent policy, and the pretrained one to which it is held."""
        t = self.training_file
        self.latent_policy = BoundedPolicy(observation, t.latent_dim, t.width, t.latent_bound)
        self.anchor = copy.deepcopy(self.latent_policy).requires_grad_(False)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return what each optimiser trains."""
        return {'cvae': parameters_of(self.encoder, self.decoder),
                'latent_policy': parameters_of(self.latent_policy), **super().trained()}

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoder's action at the latent policy's mode."""
        return self.decoder(observation, self.latent_policy(observation))

    # Offline

    def update_cvae(self, batch: Batch) -> float:
        """Minimise reconstruction + KL(E(s, a) || N(0, 1)) on unordered pairs."""
        return self.step('cvae', cvae_loss(self.encoder, self.decoder, batch,
                                           self.action_variance, self.training_file.kl_weight))

    def update_iql(self, batch: Batch) -> dict[str, float]:
        """IQL with the critic on raw actions, AWR of the latent policy, BC of the raw policy."""
        t = self.training_file
        o, a = batch['observation'], batch['action']
        losses, advantage = self.update_values(batch)
        with torch.no_grad():
            # In units of their spread, so that temperature does not depend on the reward's scale.
            scale = advantage.std(unbiased=False).clamp(min=1e-6)
            weight = (t.temperature * advantage / scale).clamp(-10.0, LARGEST).exp()
            weight = weight / weight.mean()
            latent = self.encoder(o, a)[0].clamp(-t.latent_bound, t.latent_bound)
        error = (self.latent_policy(o) - latent).square().mean(-1)
        losses['latent_policy'] = self.step('latent_policy', (weight * error).mean())
        losses['raw_policy'] = self.update_clone(batch)
        return losses

    # Online

    def freeze_anchors(self) -> None:
        """Remember the pretrained policies, which fine-tuning is held near."""
        self.anchor.load_state_dict(self.latent_policy.state_dict())
        self.raw_anchor.load_state_dict(self.raw_policy.state_dict())

    def update_policies(self, batch: Batch) -> dict[str, float]:
        """
        Move both policies up the shared critic, each within what keeps it safe.

        The latent policy climbs Q through the frozen decoder, held near the pretrained one; the
        raw policy imitates the decoder (concurrent BC) until the hand-over and climbs Q
        inside the trust ball afterwards.
        """
        latent = self.training_file.mode != 'raw-only'
        moved = ('latent_policy',) * latent + ('raw_policy',) * self.raw_learns
        losses = self.run('fit_policies', moved, batch['observation'], self.limits(),
                          gated=self.gated)
        return dict(zip(moved, map(float, losses)))

    def fit_policies(self, o: Tensor, limits: Tensor, *, gated: bool) -> tuple[Tensor, ...]:
        """Return the losses of `update_policies`: each from both policies as they were."""
        t = self.training_file
        if t.mode == 'raw-only':
            return self.fit_raw(o, limits, gated=gated)
        anchor = self.anchor(o)

        def loss() -> tuple[Tensor, tuple[()]]:
            latent = self.latent_policy(o)
            drift = (latent - anchor).square().mean()
            return t.anchor * drift + self.climb(o, self.decoder(o, latent)), ()

        raw = self.fit_raw(o, limits, gated=gated)
        return (self.minimise('latent_policy', loss)[0], *raw)
