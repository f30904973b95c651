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

"""Interface of algorithms whose policies a robot can run."""

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
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.multipliers import checked_multipliers
from spaars_ros.learning.core.replay import Batch
from spaars_ros.training_file import Training


class Deployable(Algorithm, Protocol):
    """
    Algorithm for pretraining and the learner node; such a class derives from this protocol.

    Pretraining calls `set_action_variance` and `take_offline`, then `update_offline` for the
    `stages()` in order, then `end_offline`. The learner calls the same first two, `begin_online`
    and `ready`, then `store_episode` for every episode, `end_episode` for new ones, and
    `update_online`.
    """

    training: Training

    # Offline

    def stages(self) -> dict[str, int]:
        """Return the offline stages in order, with the number of updates of each."""

    def end_offline(self, sample: Callable[[], Batch]) -> None:
        """End pretraining; `sample` draws a batch of demonstrations."""

    # Online

    def ready(self) -> None:
        """Prepare, after the tensors are loaded, whatever would delay the first update."""

    def take_corrections(self, observations: Tensor, actions: Tensor) -> None:
        """
        Set a sample of human actions; the next update clones those better than its own actions.

        :param observations: (B, n) normalised
        :param actions: (B, d) normalised, in [-1, 1]
        """

    def store_episode(self, episode: Episode) -> None:
        """Store an episode in the algorithm's own memory; after a resume, each episode again."""

    def out_of_reach(self, observations: NDArray[np.float32],
                     actions: NDArray[np.float32]) -> float:
        """
        Return the mean distance of actions from the range of the latent decoder.

        :param observations: (T, n) normalised
        :param actions: (T, d) normalised, in [-1, 1]
        :return: mean norm of the difference, normalised action units; NaN without a decoder
        """
        return float('nan')

    @property
    def multipliers(self) -> Array:
        """Return the Lagrange multipliers (C,), one per constraint."""
        return np.asarray(array_of(self.agent.multipliers), dtype=np.float64)

    def set_multipliers(self, multipliers: Array) -> None:
        """Set the multipliers (C,); raise ValueError for wrong shape, negative or non-finite."""
        own = self.agent.multipliers
        own.copy_(torch.from_numpy(checked_multipliers(multipliers, own.numel())))

    def phase(self, steps: int) -> int:
        """Return the index in `PHASES` after `steps` environment steps; 0 or 1 without a gate."""
        return 0 if steps < self.training.warmup_steps else 1

    def progress(self) -> dict[str, float]:
        """Return bc_error (-1: not measured), novelty, margin and gate_share."""

    # Bundles

    @property
    def latent_dim(self) -> int:
        """Return k, the width of the latent action in step records and bundles."""
        return self.training.latent_dim

    def manifest(self) -> dict[str, Any]:
        """Return the entries of `Manifest` that the algorithm determines."""

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""

    def golden_outputs(self, observations: NDArray[np.float32]
                       ) -> dict[str, NDArray[np.float32]]:
        """
        Return the golden outputs of the graph, computed by torch; see `Bundle`.

        :param observations: (m, n) physical units
        """
