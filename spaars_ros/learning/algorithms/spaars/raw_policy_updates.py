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

"""The raw policy's update, which is the same whatever the latent policy is."""

from typing import Any

import torch
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.residual_candidate import ResidualCandidate
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training


class RawPolicyUpdates(TrainableModule):
    """How the raw policy of a `GatedAgent`, which has all that is named here, learns online."""

    training_file: Training
    residual: ResidualCandidate | None
    gated: bool
    action_variance: Tensor
    bc_error: Tensor
    lipschitz: Tensor
    raw_policy: Any
    raw_anchor: Any
    critic: Any
    corrections: tuple[Tensor, ...] = ()
    """Observations (B, n) and actions (B, d) of a person; empty where nobody took over."""

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoder's action at the latent policy's mode."""
        raise NotImplementedError

    def trusted(self, raw: Tensor, latent_action: Tensor, trust: Tensor | None = None) -> Tensor:
        """Return the raw action inside the trust box about the decoder's."""
        raise NotImplementedError

    def limits(self) -> Tensor:
        """Return trust box, margins and hold."""
        raise NotImplementedError

    def _lagrangian(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def floored(self) -> bool:
        """Return whether the pretrained action competes in every state."""
        return False

    def update_raw(self, batch: Batch) -> dict[str, float]:
        """
        Do one update of the raw policy alone, by whichever of its losses is due.

        It imitates the decoder (concurrent BC) until the hand-over, and climbs Q inside the
        trust box afterwards.
        """
        losses = self.run('fit_raw', batch['observation'], self.limits(), *self.corrections,
                          gated=self.gated, **self.corrected())
        return {'raw_policy': float(losses[0])} if self.raw_learns else {}

    def corrected(self) -> dict[str, bool]:
        """Return the choice of an update that is given a person's steps, too."""
        return {'corrected': True} if self.corrections else {}

    def clone(self, o: Tensor, action: Tensor, shown: Tensor) -> Tensor:
        """
        Return the loss of cloning what a person did better, by the critic, than the policy.

        The Q-filter of Nair et al. (2018) with the Lagrangian for Q, as `Marvel.imitation` has
        it: what costs more than it brings is not copied. L_Q turns values into distances of
        actions, in which this loss is, too (reconstructed).

        :param o: (B, n) normalised
        :param action: (B, d) of the policy
        :param shown: (B, d) of the person, or the nearest to it that the policy can make
        """
        with torch.no_grad():
            values = self._lagrangian(self.critic(
                torch.cat([o, o]), torch.cat([shown, action.detach()]))).mean(0)
            theirs, own = values.chunk(2)
            better = (theirs > own).float()
        return self.training_file.correction_weight * (
            better * (action - shown).square().sum(-1)).mean()

    def _clone_raw(self, corrections: tuple[Tensor, ...], limits: Tensor,
                   free: bool) -> Tensor | float:
        """Return the raw policy's part of `clone`, within its trust box."""
        if not corrections:
            return 0.0
        o, shown = corrections
        raw = self.raw_policy(o)
        if free:
            return self.clone(o, raw, shown)
        near = self.near(o)
        # Outside the ball it would not act: what is cloned is what can be done there.
        return self.clone(o, raw, self.trusted(shown, near, limits[0]))

    @property
    def raw_imitates(self) -> bool:
        """Return whether the raw policy clones good episodes, as `fit_imitation` does."""
        return self.training_file.raw_candidate == 'imitation'

    @property
    def raw_learns(self) -> bool:
        """Return whether the raw policy has a loss of its own in this phase."""
        t = self.training_file
        if self.raw_imitates:
            return bool(self.corrections) and t.mode != 'latent-only'
        return self.gated or t.mode == 'raw-only' or (t.concurrent_bc and t.mode != 'latent-only')

    def fit_raw(self, o: Tensor, limits: Tensor, *corrections: Tensor, gated: bool,
                corrected: bool = False) -> tuple[Tensor, ...]:
        """Return the raw policy's loss, where it has one, and measure eps_BC."""
        t = self.training_file
        if self.raw_imitates:
            return () if not corrections else self.minimise('raw_policy', lambda: (
                torch.as_tensor(self._clone_raw(corrections, limits, free=False)), ()))[:1]
        if t.mode == 'raw-only':
            return self.minimise('raw_policy', lambda: (
                self._climb(o, self.raw_policy(o), self.raw_anchor(o), limits, free=True)
                + self._clone_raw(corrections, limits, free=True), ()))[:1]
        decoded = self.near(o)
        if self.gated_residual(gated):
            return self.minimise('raw_policy', lambda: (
                self.residual_loss(o, self.raw_policy(o), decoded), ()))[:1]
        if gated:
            if self.floored:
                # From here on raw's own error is what it misses the ball by, in which it acts.
                raw = self.raw_policy(o)
                outside = (raw - self.trusted(raw, decoded, limits[0])).norm(dim=-1)
                self._average(self.bc_error, outside.mean())
            return self.minimise('raw_policy', lambda: (
                self._climb(o, self.raw_policy(o), decoded, limits)
                + self._clone_raw(corrections, limits, free=False), ()))[:1]
        if t.mode == 'latent-only':
            return ()
        if not t.concurrent_bc:
            self._average(self.bc_error, (self.raw_policy(o) - decoded).norm(dim=-1).mean())
            return ()

        def loss() -> tuple[Tensor, Tensor]:
            error = (self.raw_policy(o) - decoded).square().sum(-1)
            return error.mean() / self.action_variance.mean(), error.detach()

        imitation, error = self.minimise('raw_policy', loss)
        self._average(self.bc_error, error.sqrt().mean())
        return (imitation,)

    def near(self, observation: Tensor) -> Tensor:
        """Return the action (B, d) in whose neighbourhood raw ones are allowed, no graph."""
        return self.latent_action(observation).detach()

    def _climb(self, o: Tensor, raw: Tensor, near: Tensor, limits: Tensor,
               free: bool = False) -> Tensor:
        """Return the raw policy's loss where it climbs Q in the trust box about `near`."""
        inside = raw if free else self.trusted(raw, near, limits[0])
        # Outside the ball Q has no gradient for raw; the distance to the ball has.
        outside = (raw - inside.detach()).square().sum(-1)
        held = limits[3] * self.training_file.raw_bc * (raw - near).square().sum(-1)
        return self.climb(o, inside) + (held + outside).mean()

    def climb(self, o: Tensor, action: Tensor) -> Tensor:
        """Return the mean of -Q / L_Q."""
        heads = self._lagrangian(self.critic(o, action))
        # The lower bound, as at the gate: where the heads disagree there is nothing to climb.
        q = heads.mean(0) - self.training_file.actor_kappa * heads.std(0, unbiased=False)
        return (-q / self.lipschitz).mean()

    def gated_residual(self, gated: bool) -> bool:
        """Return whether the raw policy learns from residuals about the decoder's action."""
        return self.residual is not None and gated

    def residual_loss(self, o: Tensor, raw: Tensor, decoded: Tensor) -> Tensor:
        """Return the raw policy's loss by self-imitation of residuals; it never climbs."""
        assert self.residual is not None
        return self.residual.loss(o, raw, decoded, critic=self.critic, lagrangian=self._lagrangian,
                                  trusted=self.trusted, rng=self._rng)

    @staticmethod
    def _average(buffer: Tensor, value: Tensor, first: float = float('inf')) -> None:
        buffer.copy_(torch.where(buffer == first, value, torch.lerp(buffer, value, 0.01)))
