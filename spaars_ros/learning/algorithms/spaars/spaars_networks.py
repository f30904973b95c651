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

"""Networks of SPAARS with the CVAE, and their offline and online updates."""

from collections.abc import Callable
import copy

import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.gated_agent import GatedAgent
from spaars_ros.learning.algorithms.spaars.gated_agent import LARGEST
from spaars_ros.learning.core.cvae import cvae_loss
from spaars_ros.learning.core.floor import best_of
from spaars_ros.learning.core.floor import latent_offsets
from spaars_ros.learning.core.floor import lower_bounds
from spaars_ros.learning.core.floor import pick
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import Encoder
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import parameters_of


def margins_of(limits: Tensor) -> Tensor:
    """Return the margins (3,) of pretrained, latent and raw action in `GatedAgent.limits`."""
    return torch.stack([limits[2], limits[2], limits[1]])


class SpaarsAgent(GatedAgent):
    """
    CVAE, shared critic on raw actions, latent policy, raw policy and RND.

    Equations are those of docs/concepts/spaars.md (reconstructed) unless a method says otherwise.
    """

    offsets: Tensor
    """(N, k) offsets of the latent candidates; only with `latent_candidates`."""
    every_head: Tensor
    """(heads,) their indices."""

    def make_coder(self, observation: int, action: int) -> None:
        """Create encoder and decoder of the CVAE."""
        t = self.training_file
        self.encoder = Encoder(observation, action, t.latent_dim, t.width)
        self.decoder = Decoder(observation, t.latent_dim, action, t.width)

    def make_latent_policy(self, observation: int) -> None:
        """Create the latent policy, and the frozen pretrained one to which it is anchored."""
        t = self.training_file
        self.latent_policy = BoundedPolicy(observation, t.latent_dim, t.width, t.latent_bound)
        self.register_buffer('every_head', torch.arange(t.heads), persistent=False)
        if t.latent_candidates:
            self.register_buffer('offsets', latent_offsets(t.latent_candidates, t.latent_dim,
                                                           t.latent_spread))
        self.anchor = copy.deepcopy(self.latent_policy).requires_grad_(False)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'cvae': parameters_of(self.encoder, self.decoder),
                'latent_policy': parameters_of(self.latent_policy), **super().trained()}

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoded action (B, d) at the mode of the latent policy."""
        return self.decoder(observation, self.latent_policy(observation))

    # The floor

    @property
    def floored(self) -> bool:
        """Return whether the floor is in use: the pretrained action competes in every state."""
        return self.training_file.floor and self.training_file.mode in ('gated', 'latent-only')

    def latents(self, o: Tensor) -> Tensor:
        """Return the candidate latents (N, B, k) in states (B, n), the pretrained one first."""
        anchor = self.anchor(o)[None]
        if not self.training_file.latent_candidates:
            return torch.cat([anchor, self.latent_policy(o)[None]])
        bound = self.training_file.latent_bound
        offsets: Tensor = self.offsets
        if not self.training_file.self_imitation:
            return (anchor + offsets[:, None]).clamp(-bound, bound)
        about = (self.latent_policy(o)[None] + offsets[:-1, None]).clamp(-bound, bound)
        return torch.cat([anchor, about])

    def best_latent(self, critic: EnsembleCritic, o: Tensor,
                    heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return the best latent (B, k) by the lower bound, and its action (B, d).

        :param o: (B, n) normalised
        :param heads: (h,) indices of the critic's heads to evaluate
        :return: best latent (B, k), pretrained action (B, d), best action (B, d)
        """
        with torch.no_grad():
            latents = self.latents(o)
            count, batch = latents.shape[:2]
            rows = o.repeat(count, 1)
            actions = self.decoder(rows, latents.flatten(0, 1))
            values = self._lagrangian(critic.of_heads(rows, actions, heads))
            bounds = lower_bounds(values.view(len(heads), count, batch), self.training_file.kappa)
            place = bounds.argmax(0)
            actions = actions.view(count, batch, -1)
            return pick(latents, place), actions[0], pick(actions, place)

    def compete(self, critic: EnsembleCritic, o: Tensor, heads: Tensor, limits: Tensor, *,
                gated: bool) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return candidates (3, B, d), their bounds (3, B), and the best latent (B, k).

        The candidates are the pretrained, the latent and the raw action, the latter in its trust
        box about the latent one; with a closed gate the pretrained action replaces it.
        """
        with torch.no_grad():
            latent, first, action = self.best_latent(critic, o, heads)
            raw = self.trusted(self.raw_policy(o), action, limits[0]) if gated else first
            candidates = torch.stack([first, action, raw])
            values = self._lagrangian(critic.of_heads(
                o.repeat(3, 1), candidates.flatten(0, 1), heads))
            bounds = lower_bounds(values.view(len(heads), 3, len(o)), self.training_file.kappa)
        return candidates, bounds, latent

    def executed(self, critic: EnsembleCritic, o: Tensor, heads: Tensor, limits: Tensor, *,
                 gated: bool) -> Tensor:
        """Return the action (B, d) that the floor rule selects by some heads."""
        candidates, bounds, _ = self.compete(critic, o, heads, limits, gated=gated)
        return pick(candidates, best_of(bounds, margins_of(limits)))

    def near(self, observation: Tensor) -> Tensor:
        """Return the latent candidate's action, the centre of the trust box; no gradient."""
        if not (self.floored and self.training_file.latent_candidates):
            return super().near(observation)
        return self.best_latent(self.critic, observation, self.every_head)[2]

    # Offline

    def update_cvae(self, batch: Batch) -> float:
        """Do one update of the CVAE on unordered pairs (s, a); return `cvae_loss`."""
        return self.step('cvae', cvae_loss(self.encoder, self.decoder, batch,
                                           self.action_variance, self.training_file.kl_weight))

    def update_iql(self, batch: Batch,
                   good: tuple[Tensor, Tensor] | None = None) -> dict[str, float]:
        """
        Do one update of IQL on raw actions, AWR of the latent policy, BC of the raw policy.

        :param good: observations (B, n) and actions (B, d) that the latent policy clones instead
            of AWR; in that case a raw policy that imitates is trained on them, too
        """
        t = self.training_file
        o, a = batch['observation'], batch['action']
        losses, advantage = self.update_values(batch)
        if good is not None:
            losses['latent_policy'] = self.imitate(*good)
            if not self.raw_imitates:
                losses['raw_policy'] = self.update_clone(batch)
            return losses
        with torch.no_grad():
            # Divided by their spread, so that temperature does not depend on the reward's scale.
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
        """Copy the pretrained policies, to which fine-tuning is anchored."""
        self.anchor.load_state_dict(self.latent_policy.state_dict())
        self.raw_anchor.load_state_dict(self.raw_policy.state_dict())

    def update_policies(self, batch: Batch) -> dict[str, float]:
        """
        Do one update of both policies on the shared critic; return the losses by name.

        The latent policy maximises Q through the frozen decoder, anchored to the pretrained
        policy. The raw policy imitates the decoder (concurrent BC) until the phase switch.
        Afterwards it maximises Q inside the trust box.
        """
        latent = self.climbs_latent
        moved = ('latent_policy',) * latent + ('raw_policy',) * self.raw_learns
        o = batch['observation']
        losses = self.run('fit_policies', o, self.limits(), *self.drawn(len(o)), gated=self.gated,
                          **self.corrected())
        return dict(zip(moved, map(float, losses)))

    @property
    def climbs_latent(self) -> bool:
        """Return whether a latent policy learns online by maximising Q."""
        t = self.training_file
        return t.mode != 'raw-only' and not (self.floored and t.latent_candidates)

    def imitate(self, observation: Tensor, action: Tensor) -> float:
        """Do one update of cloning actions (B, d); return the latent policy's loss."""
        return float(self.run('fit_imitation', observation, action)[0])

    def fit_imitation(self, o: Tensor, a: Tensor) -> tuple[Tensor, ...]:
        """Do the update of `imitate` on tensors; return the losses of latent and raw policy."""
        # Through the decoder, not onto E(s, a), since the action is what matters. Absolute
        # errors: if good episodes disagree, the mean of their actions may be in none of them.
        def loss(act: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
            error = act(o) - a
            return error.abs().mean(), error.detach().norm(dim=-1).mean()

        latent, error = self.minimise('latent_policy', lambda: loss(self.latent_action))
        if not self.raw_imitates:
            return (latent,)
        raw, own = self.minimise('raw_policy', lambda: loss(self.raw_policy))
        self._average(self.bc_error, (own - error).clamp(min=0.0))
        return latent, raw

    def fit_policies(self, o: Tensor, limits: Tensor, *drawn: Tensor, gated: bool,
                     corrected: bool = False) -> tuple[Tensor, ...]:
        """Do the update of `update_policies` on tensors; both losses use the old policies."""
        t, corrections = self.training_file, drawn[-2:] if corrected else ()
        if not self.climbs_latent:
            return self.fit_raw(o, limits, *drawn, gated=gated, corrected=corrected)
        anchor = self.anchor(o)

        def loss() -> tuple[Tensor, tuple[()]]:
            latent = self.latent_policy(o)
            drift = (latent - anchor).square().mean()
            climbed = self.climb(o, self.decoder(o, latent))
            return limits[3] * t.anchor * drift + climbed + self._clone_latent(corrections), ()

        raw = self.fit_raw(o, limits, *drawn, gated=gated, corrected=corrected)
        return (self.minimise('latent_policy', loss)[0], *raw)

    def reconstruct(self, o: Tensor, actions: Tensor) -> Tensor:
        """Return actions (B, d) encoded and decoded: their nearest that a latent can produce."""
        with torch.no_grad():
            bound = self.training_file.latent_bound
            return self.decoder(o, self.encoder(o, actions)[0].clamp(-bound, bound))

    def _clone_latent(self, corrections: tuple[Tensor, ...]) -> Tensor | float:
        """Return the loss `clone` for the latent policy, of the reconstructed human actions."""
        if not corrections:
            return 0.0
        o, shown = corrections
        return self.clone(o, self.latent_action(o), self.reconstruct(o, shown))
