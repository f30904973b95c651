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

"""Updates of the raw policy, common to all kinds of latent policy."""

from typing import Any

import torch
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.residual_candidate import ResidualCandidate
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training


class RawPolicyUpdates(TrainableModule):
    """Online updates of the raw policy; `GatedAgent` provides the attributes declared here."""

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
    """Observations (B, n) and human actions (B, d); empty without a takeover."""

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoded action (B, d) at the mode of the latent policy."""
        raise NotImplementedError

    def trusted(self, raw: Tensor, latent_action: Tensor, trust: Tensor | None = None) -> Tensor:
        """Clip raw actions (B, d) to the trust box about the decoded actions."""
        raise NotImplementedError

    def limits(self) -> Tensor:
        """Return trust box, margins of raw and latent, and hold, (4,)."""
        raise NotImplementedError

    def _lagrangian(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def floored(self) -> bool:
        """Return whether the floor is in use: the pretrained action competes in every state."""
        return False

    def update_raw(self, batch: Batch) -> dict[str, float]:
        """
        Do one update of the raw policy, with the loss of the present phase.

        It imitates the decoder (concurrent BC) until the phase switch. Afterwards it maximises Q
        inside the trust box.
        """
        o = batch['observation']
        losses = self.run('fit_raw', o, self.limits(), *self.drawn(len(o)), gated=self.gated,
                          **self.corrected())
        return {'raw_policy': float(losses[0])} if self.raw_learns else {}

    def drawn(self, batch: int) -> tuple[Tensor, ...]:
        """Return what an update takes besides: noise of residual candidates, and corrections."""
        if self.residual is None or not self.gated:
            return self.corrections
        return self.residual.noise(self._rng, batch), *self.corrections

    def corrected(self) -> dict[str, bool]:
        """Return the variant of an update (`TrainableModule.run`) that has human corrections."""
        return {'corrected': True} if self.corrections else {}

    def clone(self, o: Tensor, action: Tensor, shown: Tensor) -> Tensor:
        """
        Return the loss of cloning human actions that the critic values above the policy's.

        This is the Q-filter of Nair et al. (2018) with the Lagrangian for Q, as in
        `Marvel.imitation`: actions whose cost outweighs their reward are not copied. The policy's
        other loss is divided by L_Q, so both are distances of actions (reconstructed).

        :param o: (B, n) normalised
        :param action: (B, d) of the policy
        :param shown: (B, d) human actions, or the nearest that the policy can produce
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
        """Return the loss `clone` for the raw policy, within its trust box unless `free`."""
        if not corrections:
            return 0.0
        o, shown = corrections
        raw = self.raw_policy(o)
        if free:
            return self.clone(o, raw, shown)
        near = self.near(o)
        # Actions outside the trust box are never executed: clone the clipped action.
        return self.clone(o, raw, self.trusted(shown, near, limits[0]))

    @property
    def raw_imitates(self) -> bool:
        """Return whether the raw policy clones good episodes (`SpaarsAgent.fit_imitation`)."""
        return self.training_file.raw_candidate == 'imitation'

    @property
    def raw_learns(self) -> bool:
        """Return whether the raw policy is trained by `fit_raw` in this phase."""
        t = self.training_file
        if self.raw_imitates:
            return bool(self.corrections) and t.mode != 'latent-only'
        return self.gated or t.mode == 'raw-only' or (t.concurrent_bc and t.mode != 'latent-only')

    def fit_raw(self, o: Tensor, limits: Tensor, *drawn: Tensor, gated: bool,
                corrected: bool = False) -> tuple[Tensor, ...]:
        """
        Do the raw policy's update on tensors and measure eps_BC.

        :param o: (B, n) normalised
        :param limits: (4,) from `limits`
        :param drawn: from `drawn`
        :param gated: whether the phase switch is done
        :param corrected: whether there are corrections; selects the compiled variant
        :return: the loss, or nothing in phases without one
        """
        t, corrections = self.training_file, drawn[-2:] if corrected else ()
        if self.raw_imitates:
            return () if not corrections else self.minimise('raw_policy', lambda: (
                torch.as_tensor(self._clone_raw(corrections, limits, free=False)), ()))[:1]
        if t.mode == 'raw-only':
            return self.minimise('raw_policy', lambda: (
                self._climb(o, self.raw_policy(o), self.raw_anchor(o), limits, free=True)
                + self._clone_raw(corrections, limits, free=True), ()))[:1]
        decoded = self.near(o)
        if self.residual is not None and gated:
            return self.minimise('raw_policy', lambda: (
                self.residual_loss(o, self.raw_policy(o), decoded, limits, drawn[0]), ()))[:1]
        if gated:
            if self.floored:
                # From here on raw's error is its distance from the trust box, in which it acts.
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
        """Return the centre (B, d) of the trust box in states (B, n), without a gradient."""
        return self.latent_action(observation).detach()

    def _climb(self, o: Tensor, raw: Tensor, near: Tensor, limits: Tensor,
               free: bool = False) -> Tensor:
        """Return the raw policy's loss: maximise Q in the trust box about `near`, stay near it."""
        inside = raw if free else self.trusted(raw, near, limits[0])
        # Outside the trust box Q has no gradient for raw; the distance to the box has one.
        outside = (raw - inside.detach()).square().sum(-1)
        held = limits[3] * self.training_file.raw_bc * (raw - near).square().sum(-1)
        return self.climb(o, inside) + (held + outside).mean()

    def climb(self, o: Tensor, action: Tensor) -> Tensor:
        """Return the mean of -Q / L_Q, Q the lower bound over heads of actions (B, d)."""
        heads = self._lagrangian(self.critic(o, action))
        # The lower bound, as at the gate: it does not rise where the heads disagree.
        q = heads.mean(0) - self.training_file.actor_kappa * heads.std(0, unbiased=False)
        return (-q / self.lipschitz).mean()

    def residual_loss(self, o: Tensor, raw: Tensor, decoded: Tensor, limits: Tensor, noise: Tensor
                      ) -> Tensor:
        """Return the raw policy's loss by self-imitation of residuals, without dQ/da."""
        assert self.residual is not None
        return self.residual.loss(
            o, raw, decoded, critic=self.critic, lagrangian=self._lagrangian, noise=noise,
            trusted=lambda raw, near: self.trusted(raw, near, limits[0]))

    @staticmethod
    def _average(buffer: Tensor, value: Tensor, first: float = float('inf')) -> None:
        buffer.copy_(torch.where(buffer == first, value, torch.lerp(buffer, value, 0.01)))
