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
"""Base class of the baselines: common parts of algorithms with a single policy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training


class SinglePolicy(TrainableModule):
    """
    Base class of algorithms with one policy, without phases; it ignores multipliers.

    :param observation: n, width of an observation
    :param action: d, width of an action
    :param constraints: C, number of constraints
    :param seed: seed of the choice of target heads
    """

    offline_steps = 0
    offline_share = 0.0
    learns_online = True

    def __init__(self, training: Training, *, observation: int, action: int, constraints: int,
                 normaliser: Normaliser, seed: int) -> None:
        super().__init__()
        self.training_file = training
        self.normaliser = normaliser
        self.sizes = (observation, action, constraints)
        self.heads_rng = np.random.default_rng(seed)
        self.updates = 0

    @property
    def agent(self) -> TrainableModule:
        """Return the object itself, which holds its networks."""
        return self

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Ignore the data set's actions (N, d)."""

    def begin_online(self) -> None:
        """Set the online learning rate, with new optimisers."""
        self.set_learning_rate(self.training_file.learning_rate)

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """Do nothing."""

    def set_multipliers(self, multipliers: Array) -> None:
        """Ignore the multipliers: the baselines of `spaars train` have no constraints."""

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return an empty dict: nothing to log."""
        return {}

    def two_heads(self) -> Tensor:
        """Draw the indices (2,) of heads of the target critic (RLPD; docs/concepts/spaars.md)."""
        return self.tensor(self.heads_rng.choice(self.training_file.heads, 2, replace=False))

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {'updates': self.updates, 'heads': dict(self.heads_rng.bit_generator.state)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        self.updates = int(state['updates'])
        self.heads_rng.bit_generator.state = state['heads']
