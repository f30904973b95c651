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

"""What an algorithm has besides, whose policies a robot can run."""

from collections.abc import Callable
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.multipliers import checked_multipliers
from spaars_ros.learning.core.replay import Batch
from spaars_ros.training_file import Training


class Deployable(Algorithm, Protocol):
    """
    An algorithm that pretraining and the learner node drive too; its class derives from this.

    Pretraining: `set_action_variance` and `take_offline`, `update_offline` for `stages()` one
    after the other, `end_offline`. Online: the same two, `begin_online`, `ready`, then
    `store_episode` for every episode, `end_episode` for the new ones, and `update_online`.
    """

    training: Training

    # Offline

    def stages(self) -> dict[str, int]:
        """Return the offline stages in order, with the updates of each."""

    def end_offline(self, sample: Callable[[], Batch]) -> None:
        """End pretraining; `sample` draws a batch of demonstrations."""

    # Online

    def ready(self) -> None:
        """Do, once tensors are loaded, what else the first update would have to wait for."""

    def take_corrections(self, observations: Tensor, actions: Tensor) -> None:
        """
        Take some of what a person did, to clone in the next update what is better than its own.

        :param observations: (B, n) normalised
        :param actions: (B, d)
        """

    def store_episode(self, episode: Episode) -> None:
        """Take an episode into stores of the algorithm's own; after a resume each one again."""

    def out_of_reach(self, observations: NDArray[np.float32],
                     actions: NDArray[np.float32]) -> float:
        """
        Return how far actions (T, d) are from what the latent's decoder can make, in the mean.

        :param observations: (T, n) normalised
        :return: norm of the difference, normalised action units; not-a-number without a decoder
        """
        return float('nan')

    @property
    def multipliers(self) -> Array:
        """Return lambda (C,) of each constraint."""
        return np.asarray(self.agent.multipliers.numpy(), dtype=np.float64)

    def set_multipliers(self, multipliers: Array) -> None:
        """Take lambda (C,); raises ValueError on a wrong shape, negative or non-finite values."""
        own = self.agent.multipliers
        own.copy_(torch.from_numpy(checked_multipliers(multipliers, own.numel())))

    def phase(self, steps: int) -> int:
        """Return the index in `PHASES` after `steps` environment steps; without a gate 0 or 1."""
        return 0 if steps < self.training.warmup_steps else 1

    def progress(self) -> dict[str, float]:
        """Return bc_error (-1: not measured), novelty, margin and gate_share."""

    # Bundles

    @property
    def latent_dim(self) -> int:
        """Return k, the width of the latent action in step records and bundles."""
        return self.training.latent_dim

    def manifest(self) -> dict[str, Any]:
        """Return the entries of `Manifest` that are the algorithm's to say."""

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""

    def golden_outputs(self, observations: NDArray[np.float32]
                       ) -> dict[str, NDArray[np.float32]]:
        """
        Return what the graph has to answer, computed by torch; see `Bundle`.

        :param observations: (m, n) physical units
        """
