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

"""Interface of all algorithms, for the trainer and the learner node."""

from dataclasses import dataclass
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.trainable import TrainableModule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ActionSample:
    """Action of an algorithm in one state."""

    action: Array
    """(d,) normalised, in [-1, 1]."""
    mode: Mode = Mode.NONE
    """Policy that chose the action, for algorithms that have two."""

    @classmethod
    def of(cls, actions: Tensor, mode: Mode = Mode.NONE) -> 'ActionSample':
        """Return the sample of the only row of actions (1, d), of any device."""
        return cls(array_of(actions[0]).astype(np.float64), mode)


@dataclass(frozen=True)
class Episode:
    """Trajectory of a finished training episode, or of a part of one."""

    observations: Array
    """(T + 1, n) physical units."""
    actions: Array
    """(T, d) executed actions, normalised, in [-1, 1]."""
    rewards: Array
    """(T,) rewards."""
    costs: Array
    """(T, C) costs per constraint."""
    modes: NDArray[Any]
    """(T,) `Mode` of each action."""
    terminated: bool
    """True after a true termination; False after truncation, for example by the time limit."""
    skills: Array | None = None
    """(T, k) latent in effect, from the policy server's records; None if the algorithm acted."""
    skill_steps: Array | None = None
    """(T,) 0-based step within the skill."""


@runtime_checkable
class OfflineLearner(Protocol):
    """Optional interface of algorithms that sample the offline data themselves."""

    def take_offline(self, data: Replay) -> None:
        """Set the offline data: once before the first update, and again after a resume."""


@runtime_checkable
class EpisodeLearner(Protocol):
    """Optional interface of algorithms that act over several steps or learn from episodes."""

    def begin_episode(self) -> None:
        """Begin a training or evaluation episode."""

    def take_episode(self, episode: Episode) -> None:
        """Learn from a finished training episode; called before `end_episode`."""


@runtime_checkable
class EpisodeState(Protocol):
    """
    Optional interface of algorithms that keep a state of the running episode.

    Examples are correlated noise and the skill in effect. Saving and restoring it lets one
    algorithm act in several episodes in turn.
    """

    def episode_state(self) -> Any:
        """Return the state of the running episode; later steps of other episodes keep it."""

    def set_episode_state(self, state: Any) -> None:
        """Continue the episode of a state from `episode_state`."""


@runtime_checkable
class AligningLearner(Protocol):
    """Optional interface of algorithms whose offline phase ends with value pre-alignment."""

    def aligns(self, step: int) -> bool:
        """Return whether offline update `step` is an alignment update, with hindsight goals."""


@runtime_checkable
class AlignedLearner(Protocol):
    """Optional interface of algorithms that align their values with their policy after warm-up."""

    @property
    def alignment_owed(self) -> int:
        """Return the number of alignment updates still to do after the warm-up."""

    def align(self, offline: Batch, own: Batch | None = None) -> float:
        """Do one alignment update on offline and own warm-up transitions; return the loss."""


class Algorithm(Protocol):
    """
    Interface of an algorithm; an instance is built for one data set.

    Batches hold normalised observations and actions in [-1, 1]. First come `offline_steps` calls
    of `update_offline`, then environment steps with `utd` calls of `update_online` per step.
    """

    normaliser: Normaliser
    agent: TrainableModule
    """Networks and optimisers."""
    offline_steps: int
    """Number of updates before the first environment step; 0: learns from scratch."""
    offline_share: float
    """Share of offline transitions in an online batch, 0 to 1; 0: not used."""
    learns_online: bool
    """Whether the algorithm learns from environment steps."""

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do update `step` (0-based) of `offline_steps`; return the losses by name."""

    def begin_online(self) -> None:
        """End the offline phase."""

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the action for one observation (n,) in physical units."""

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update on a mixed batch, `online` being its online part; return the losses."""

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """
        Process the end of a training episode.

        :param observations: (T + 1, n) physical units
        :param modes: (T,) `Mode` of each action
        :param steps: environment steps of the run so far
        :param replay: online replay, which holds the episode
        """

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the variance of the data set's actions (N, d), before the offline phase."""

    def set_multipliers(self, multipliers: Array) -> None:
        """Set the Lagrange multipliers (C,), >= 0."""

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return values to log after `steps` steps, such as phase, margin and gate share."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the optimisers included, by name."""

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`, strictly."""

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
