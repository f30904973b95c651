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

"""What the trainer drives: one interface for every algorithm."""

from dataclasses import dataclass
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.trainable import TrainableModule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ActionSample:
    """What an algorithm does in one state."""

    action: Array
    """(d,) normalised, in [-1, 1]."""
    mode: Mode = Mode.NONE
    """Which of two policies chose, where an algorithm has two."""


@dataclass(frozen=True)
class Episode:
    """What was done in a finished training episode, or in a part of one."""

    observations: Array
    """(T + 1, n) physical units."""
    actions: Array
    """(T, d) as executed, in [-1, 1]."""
    rewards: Array
    """(T,)"""
    costs: Array
    """(T, C)"""
    modes: NDArray[Any]
    """(T,) of `Mode`."""
    terminated: bool
    """Whether it ended truly; else by its time limit."""
    skills: Array | None = None
    """(T, k) latent action in effect, as the policy server says; None: the algorithm acted."""
    skill_steps: Array | None = None
    """(T,) 0-based step within the skill."""


@runtime_checkable
class OfflineLearner(Protocol):
    """What an algorithm has besides, that draws from the offline data by itself."""

    def take_offline(self, data: Replay) -> None:
        """Take the offline data, once, before all updates and again when a run goes on."""


@runtime_checkable
class EpisodeLearner(Protocol):
    """What an algorithm has besides, that acts or learns over more than one step."""

    def begin_episode(self) -> None:
        """Begin an episode, of training or evaluation."""

    def take_episode(self, episode: Episode) -> None:
        """Take a finished training episode, before `end_episode`."""


@runtime_checkable
class AligningLearner(Protocol):
    """What an algorithm has besides, whose offline phase ends with value pre-alignment."""

    def aligns(self, step: int) -> bool:
        """Return whether offline update `step` is of the alignment, with hindsight goals."""


@runtime_checkable
class AlignedLearner(Protocol):
    """What an algorithm has besides, whose values follow its policy before it learns online."""

    @property
    def alignment_owed(self) -> int:
        """Updates of the alignment that are to be done when the warm-up is over."""

    def align(self, offline: Batch, own: Batch | None = None) -> float:
        """Do one of them, of the data's transitions and the warm-up's own; returns the loss."""


class Algorithm(Protocol):
    """
    An algorithm as the trainer sees it; an agent is built for its data set.

    Batches hold normalised observations and actions in [-1, 1]; `offline_steps` calls of
    `update_offline` come first, then online steps with `utd` calls of `update_online` each.
    """

    normaliser: Normaliser
    agent: TrainableModule
    """Its networks: what acts and what learns."""
    offline_steps: int
    """Updates before the first environment step; 0 for one that learns from scratch."""
    offline_share: float
    """Share of the offline data in an online batch; 0 for one that does not use it."""
    learns_online: bool
    """Whether environment steps are of use to it."""

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do update `step` of `offline_steps`; returns losses."""

    def begin_online(self) -> None:
        """End the offline phase."""

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the action for one observation (n,) in physical units."""

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update from a mixed batch, of which `online` is the online part."""

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """Take a finished episode's observations (T + 1, n), modes (T,) and all steps so far."""

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the data set's actions (N, d), before the offline phase."""

    def set_multipliers(self, multipliers: Array) -> None:
        """Take the Lagrange multipliers (C,)."""

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return numbers to log, such as phase, margin and gate share."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, optimisers included, by name."""

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take `arrays()` back, strictly."""

    def state(self) -> dict[str, Any]:
        """Return what is not a tensor, as JSON-able values."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state()` back."""
