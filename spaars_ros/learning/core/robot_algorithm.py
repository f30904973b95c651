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

"""What the learner node and pretraining need of an algorithm that a robot can run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.learner import Learner
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.tasks.base import Task
from spaars_ros.training_file import Training

Array = NDArray[np.float64]

PHASES = ('warm-up', 'latent', 'gated')
"""Names of `phase`; an algorithm without a gate stays in the second."""


@dataclass(frozen=True)
class RobotEpisode:
    """A finished episode of step records, or the part of one that was seen."""

    observations: Array
    """(T + 1, n) physical units."""
    actions: Array
    """(T, d) normalised, as the filter let them pass."""
    costs: Array
    """(T, C)"""
    skills: Array
    """(T, k) latent action in effect."""
    skill_steps: Array
    """(T,) 0-based step within the skill."""
    modes: Array
    """(T,) of `Mode`."""
    terminated: bool
    rewards: Array | None = None
    """(T,) that were given, NaN where the task computes them; None: everywhere."""


@dataclass(frozen=True)
class RobotSetup:
    """What every algorithm for the robot is made from."""

    training: Training
    task: Task
    action_dim: int
    """d"""
    normaliser: Normaliser
    seed: int


class RobotAlgorithm:
    """
    An algorithm beside what all of them share: records, replays, steps owed, files.

    `FineTuner` and `pretrain` drive it. Pretraining: `take_offline`, `update_offline` for
    `stages()` one after the other, `end_offline`. Online: `take_offline`, `begin_online`, then
    `add_episode` for every episode, `end_episode` for the new ones, and `update`.
    """

    agent: Learner
    """Its tensors are what a checkpoint holds."""

    def __init__(self, setup: RobotSetup) -> None:
        self.setup = setup
        self.training = setup.training

    # Offline

    def stages(self) -> dict[str, int]:
        """Return the offline stages in order, with the updates of each."""
        raise NotImplementedError

    def take_offline(self, dataset: Dataset, replay: Replay) -> None:
        """Take the demonstrations, also as a replay; before all updates, offline and online."""

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do offline update `step`, counted over all stages; returns losses."""
        raise NotImplementedError

    def relabels(self, stage: str) -> bool:
        """Return whether batches of an offline stage have hindsight goals."""
        return False

    def end_offline(self, sample: Callable[[], Batch]) -> None:
        """End pretraining; `sample` draws a batch of demonstrations."""

    # Online

    def begin_online(self) -> None:
        """Freeze what is frozen online and take the online learning rate."""
        raise NotImplementedError

    def update(self, batch: Batch, online: Batch, number: int) -> dict[str, float]:
        """
        Do one update; returns losses, among them `critic`.

        :param batch: half online, half offline transitions
        :param online: the online ones of them
        :param number: updates done before
        """
        raise NotImplementedError

    def take_corrections(self, observations: Tensor, actions: Tensor) -> None:
        """
        Take some of what a person did, to clone in the next update what is better than its own.

        :param observations: (B, n) normalised
        :param actions: (B, d)
        """

    def add_episode(self, episode: RobotEpisode) -> None:
        """Take an episode into stores of the algorithm's own; after a resume each one again."""

    def end_episode(self, reached: NDArray[np.float32], modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """
        Take a new episode that has ended.

        :param reached: (T, n) normalised observations after each step
        :param modes: (T,) of `Mode`
        :param steps: environment steps so far
        :param replay: all online transitions
        """
        self.raw_share = float((modes == Mode.RAW).mean())

    raw_share = 0.0
    """Of the last episode's actions."""

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
        raise NotImplementedError

    @multipliers.setter
    def multipliers(self, values: Array) -> None:
        """Take lambda; raises ValueError on a wrong shape, negative or non-finite values."""
        raise NotImplementedError

    def phase(self, steps: int) -> int:
        """Return the index in `PHASES` after `steps` environment steps."""
        return 0 if steps < self.training.warmup_steps else 1

    def progress(self) -> dict[str, float]:
        """Return bc_error (-1: not measured), novelty, margin and gate_share."""
        return {'bc_error': -1.0, 'novelty': 0.0, 'margin': 0.0, 'gate_share': self.raw_share}

    # Bundles

    @property
    def latent_dim(self) -> int:
        """Return k, the width of the latent action in step records and bundles."""
        return self.training.latent_dim

    def manifest(self) -> dict[str, Any]:
        """Return the entries of `Manifest` that are the algorithm's to say."""
        raise NotImplementedError

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""
        raise NotImplementedError

    def canaries(self, observations: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """
        Return what the graph has to answer, computed by torch; see `Bundle`.

        :param observations: (m, n) physical units
        """
        raise NotImplementedError

    # State

    def state(self) -> dict[str, Any]:
        """Return what is no tensor and no counter of `FineTuner`, JSON-able."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state()` back, which may stand among other entries."""
