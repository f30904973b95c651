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

"""Marvel (arXiv 2412.04426): offline policy, values aligned to it, then SAC-Lagrangian online."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.cpq import CPQ
from spaars_ros.learning.replay import Batch
from spaars_ros.learning.sac_lagrangian import ADAPTIVE
from spaars_ros.learning.sac_lagrangian import INTEGRAL
from spaars_ros.learning.sac_lagrangian import PLAIN
from spaars_ros.learning.sac_lagrangian import SACLagrangian
from spaars_ros.training_file import Training

GAINS = {'adaptive': ADAPTIVE, 'plain': PLAIN, 'integral': INTEGRAL}


class Marvel(SACLagrangian):
    """
    CPQ offline, value pre-alignment for `align_steps`, SAC-Lagrangian with an adaptive PID.

    Ablations: `align_steps: 0` for no alignment, `multiplier: plain` for a PID of fixed gains.
    The warm start is strict: the same network classes, every tensor present in its shape, or an
    error (docs/marvel.md lists what silently differs in the released code).
    """

    reward_floor: Tensor
    """() as the offline learner has it."""

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `Baseline`; raises ValueError when `start` cannot be read or does not fit."""
        super().__init__(training, **sizes)
        self.explores_uniformly = False
        self.gains = replace(GAINS[training.multiplier], setpoint=training.setpoint)
        self.register_buffer('reward_floor', torch.zeros(()))
        self.cpq: CPQ | None = None
        if training.start:
            self.offline_steps = training.align_steps
            self._read_start(Path(training.start))
        else:
            self.cpq = CPQ(training, **sizes)
            self.offline_steps = self.cpq.offline_steps + training.align_steps
        self.set_learning_rate(training.offline_learning_rate)

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the data set's actions (N, d), where there is an offline learner."""
        if self.cpq is not None:
            self.cpq.set_action_variance(actions)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of CPQ, or of the alignment when those are done."""
        before = self.cpq.offline_steps if self.cpq is not None else 0
        if self.cpq is not None and step < before:
            losses = self.cpq.update_offline(batch, step)
            if step == before - 1:
                self.warm_start(self.cpq.arrays())
            return losses
        return {'critic': self.align(batch)}

    def warm_start(self, arrays: dict[str, NDArray[Any]]) -> None:
        """
        Take policy, critic and target of an offline learner's `arrays()`, strictly.

        Raises ValueError naming what is missing, too much or of another shape. The policy's
        optimiser begins anew like the critics' (the released code carries it over).
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

    def align(self, batch: Batch) -> float:
        """Do one update of value pre-alignment: the offline policy rests, the critic follows."""
        t = self.training_file
        return self.update_critic(batch, entropy_reward=t.align_entropy_reward,
                                  entropy_cost=t.align_entropy_cost)

    def update_critic(self, batch: Batch, *, entropy_reward: float,
                      entropy_cost: float = 0.0) -> float:
        """Fit the values with the reward counted from where the offline phase counted it."""
        shifted = Batch({**batch, 'reward': batch['reward'] - self.reward_floor})
        return super().update_critic(shifted, entropy_reward=entropy_reward,
                                     entropy_cost=entropy_cost)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the offline learner and its optimisers included."""
        arrays = super().arrays()
        if self.cpq is not None:
            arrays.update({f'cpq/{name}': value for name, value in self.cpq.arrays().items()
                           if name.startswith('adam/')})
        return arrays

    def load_arrays(self, arrays: dict[str, NDArray[Any]], optimisers: bool = True) -> None:
        """Take `arrays()` back, strictly."""
        super().load_arrays({name: value for name, value in arrays.items()
                             if not name.startswith('cpq/')}, optimisers)
        if self.cpq is not None:
            own = {name[len('cpq/'):]: value for name, value in arrays.items()
                   if name.startswith('cpq/')}
            own.update({f'net/{name[len("net/cpq."):]}': value for name, value in arrays.items()
                        if name.startswith('net/cpq.')})
            self.cpq.load_arrays(own, optimisers)
