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

"""Marvel (arXiv 2412.04426): offline CPQ, value pre-alignment, then online SAC-Lagrangian."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.algorithms.constrained.cpq import CPQ
from spaars_ros.learning.algorithms.constrained.cpq import from_floor
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import ADAPTIVE
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import gains_of
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import INTEGRAL
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import PLAIN
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import SACLagrangian
from spaars_ros.learning.core.device import standard_normal
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import concatenate
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training

GAINS = {'adaptive': ADAPTIVE, 'plain': PLAIN, 'integral': INTEGRAL}


class Marvel(SACLagrangian):
    """
    CPQ offline, value pre-alignment for `align_steps`, SAC-Lagrangian with an adaptive PID.

    With `align_share` the alignment follows the warm-up, in which the offline policy acts, and
    also uses its episodes: the values of states outside the data cannot be known before
    (docs/concepts/marvel.md). During the alignment the policy is fixed.

    With `demonstration_weight` the policy also imitates the actions of the data that are better
    than its own (`imitation`). Without it, an arm's policy that starts from demonstrations
    forgets them first.

    Ablations: `align_steps: 0` for no alignment, `multiplier: plain` for a PID with fixed gains.
    The warm start is strict: the same network classes, every tensor present in its shape, or an
    error (docs/concepts/marvel.md lists what silently differs in the released code).
    """

    reward_floor: Tensor
    """() reward shift of the offline learner; see `CPQ.reward_floor`."""

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`; raise ValueError if `start` cannot be read or does not fit."""
        super().__init__(training, **sizes)
        self.explores_uniformly = False
        self.offline_share = training.offline_share
        self.gains = gains_of(GAINS[training.multiplier], training)
        self.register_buffer('reward_floor', torch.zeros(()))
        self.cpq = CPQ(training, **sizes)
        """Offline learner; later it finds actions out of the data's distribution."""
        self.aligned = 0
        self.offline_steps = 0 if training.align_share else training.align_steps
        if training.start:
            self._read_start(Path(training.start))
        else:
            self.offline_steps += self.cpq.offline_steps
        self.set_learning_rate(training.offline_learning_rate)

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the variance of actions (N, d) for the offline learner, if `start` is empty."""
        if not self.training_file.start:
            self.cpq.set_action_variance(actions)

    def aligns(self, step: int) -> bool:
        """Return whether offline update `step` is an update of value pre-alignment."""
        return bool(self.training_file.start) or step >= self.cpq.offline_steps

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of CPQ or, when those are done, of the alignment."""
        if not self.aligns(step):
            losses = self.cpq.update_offline(batch, step)
            if step == self.cpq.offline_steps - 1:
                self.warm_start(self.cpq.arrays())
            return losses
        return {'critic': self.align(batch)}

    def warm_start(self, arrays: dict[str, NDArray[Any]]) -> None:
        """
        Load policy, critic and target from an offline learner's `arrays()`, strictly.

        The optimisers of policy and critic are not loaded (the released code carries over the
        policy's).

        :raises ValueError: missing or unexpected tensors, or wrong shapes; names them
        """
        for name in ('policy', 'critic', 'target'):
            prefix = f'net/{name}.'
            content = {key[len(prefix):]: torch.from_numpy(np.array(value))
                       for key, value in arrays.items() if key.startswith(prefix)}
            try:
                getattr(self, name).load_state_dict(content, strict=True)
            except RuntimeError as error:
                text = ' '.join(str(error).split())
                raise ValueError(f'warm start of the {name}: {text}') from None
        self.reward_floor.copy_(torch.from_numpy(np.array(arrays['net/reward_floor'])))

    def _read_start(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError) as error:
            raise ValueError(f'start {path}: {error}') from None
        if 'net/reward_floor' not in arrays:
            raise ValueError(f'start {path}: not the tensors of an offline learner')
        self.warm_start(arrays)
        try:
            self.cpq.load_arrays(arrays, optimisers=False)
        except RuntimeError as error:
            raise ValueError(f'start {path}: {" ".join(str(error).split())}') from None

    @property
    def alignment_owed(self) -> int:
        """Return the number of alignment updates still to do after the warm-up."""
        t = self.training_file
        return t.align_steps - self.aligned if t.align_share else 0

    def align(self, offline: Batch, own: Batch | None = None) -> float:
        """
        Do one update of value pre-alignment: fit the critic to the fixed offline policy.

        With `align_push`, CPQ's loss on the costs of out-of-distribution actions stays, in the
        data's states. Without it the critic forgets those costs, since the data has no such
        actions.

        :param own: transitions of the policy itself, from the warm-up
        :return: the critic's loss, mean over heads
        """
        t = self.training_file
        if own is not None and not self.aligned:
            self.set_learning_rate(t.offline_learning_rate)
        batch = self.from_floor(offline if own is None else concatenate(own, offline))
        entropy = t.entropy if t.align_entropy_reward is None else t.align_entropy_reward
        y = self.targets(batch, self.two_heads(), standard_normal(batch['action']),
                         entropy_reward=entropy, entropy_cost=t.align_entropy_cost)
        error = (self.critic(batch['observation'], batch['action']) - y).square().mean(1).sum(-1)
        if t.align_push:
            pushed, short = self.cpq.foreign_cost(
                self.critic, *self.cpq.outside(offline['observation']))
            error = error + pushed
            self.cpq.weigh(short)
        loss = self.step('critic', error.sum())
        polyak(self.target, self.critic, t.tau)
        self.aligned += 1
        if own is not None and not self.alignment_owed:
            self.set_learning_rate(t.learning_rate)
        return loss / self.critic.heads

    def from_floor(self, batch: Batch) -> Batch:
        """Return the batch with the reward shift of the offline phase; see `cpq.from_floor`."""
        return Batch({**batch, 'reward': from_floor(batch, self.reward_floor, self.training_file)})

    def parts(self) -> list[TrainableModule]:
        """Return this module and the offline learner, each with its own optimisers."""
        return [self, self.cpq]

    def imitation(self, batch: Batch, action: Tensor, objective: Tensor, own: int
                  ) -> Tensor | float:
        """
        Return the loss of cloning the data's actions whose Lagrangian exceeds the policy's.

        This is the Q-filter of Nair et al. (2018) with the Lagrangian for Q: as lambda rises,
        demonstrations over the limit are no longer copied. Errors are divided by the data's
        variance, and the loss is scaled by the mean |objective|, as in TD3+BC (Fujimoto and Gu
        2021).

        :param action: (B, d) of the policy
        :param objective: (B) Lagrangian of these actions
        :param own: number of own transitions, before those of the data
        """
        weight, data = self.training_file.demonstration_weight, slice(own, None)
        shown = batch['action'][data]
        if not weight or not len(shown):
            return 0.0
        with torch.no_grad():
            shown_value = self.lagrangian(self.critic(batch['observation'][data], shown))
            better = (shown_value > objective[data]).float()
            scale = objective.abs().mean().clamp(min=1e-6)
        return weight * scale * (better * self.cpq.away(action[data], shown)).mean()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the offline learner and its optimisers included."""
        return {**super().arrays(),
                **{f'cpq/{name}': value for name, value in self.cpq.arrays().items()
                   if name.startswith('adam/')}}

    def load_arrays(self, arrays: dict[str, NDArray[Any]], optimisers: bool = True) -> None:
        """Restore `arrays()`, strictly."""
        super().load_arrays({name: value for name, value in arrays.items()
                             if not name.startswith('cpq/')}, optimisers)
        if optimisers:
            self.cpq.load_optimisers({name[len('cpq/'):]: value for name, value in arrays.items()
                                      if name.startswith('cpq/')})

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {**super().state(), 'aligned': self.aligned, 'cpq': self.cpq.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        super().load_state(state)
        self.aligned = int(state['aligned'])
        self.cpq.load_state(state['cpq'])
