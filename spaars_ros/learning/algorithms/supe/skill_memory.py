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
"""Macro transitions for the high-level policy: chunks of the data and executed skills."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.algorithms.supe.chunks import Array
from spaars_ros.learning.algorithms.supe.chunks import Chunks
from spaars_ros.learning.algorithms.supe.chunks import Floats
from spaars_ros.learning.algorithms.supe.chunks import macro_transitions
from spaars_ros.learning.algorithms.supe.chunks import Macros
from spaars_ros.learning.algorithms.supe.chunks import squash
from spaars_ros.learning.algorithms.supe.skill_learner import SkillLearner
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay

CAPACITY = 250_000
ENCODED = 4096
"""Number of windows per encoder call."""


class SkillMemory:
    """
    Chunks of the offline data, encoded once, and the skills of executed episodes.

    Draws use a separate generator. `state` and `arrays` hold everything but the offline data,
    which `take_offline` sets again after a resume.

    :param observation: n
    :param seed: seed of the generator
    """

    def __init__(self, skills: SkillLearner, normaliser: Normaliser, observation: int,
                 seed: int) -> None:
        t = skills.training_file
        self.skills, self.normaliser = skills, normaliser
        # For the high level one skill is one step, with the discount of a skill.
        self.online = Replay(CAPACITY, None, normaliser, action=t.skill_dim,
                             constraints=skills.multipliers.numel(), gamma=skills.discount,
                             n_step=1, scale=t.reward_scale, observation=observation)
        self.chunks: Chunks | None = None
        self._potential: Callable[[Array], Array] | None = None
        self._shaping = 0.0
        self._data_skills: Floats | None = None
        self._rng = np.random.default_rng([seed, 11])

    def take_offline(self, data: Replay) -> None:
        """Set the offline data; raise ValueError if no chunk fits into its episodes."""
        t = self.skills.training_file
        self.chunks = Chunks(data, t.skill_length, discount=self.skills.discount)
        self._potential, self._shaping = data.potential, data.shaping
        self._data_skills = None

    # Draws

    def windows(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw chunks of the data: normalised observations (B, H, n), actions (B, H, d)."""
        chunks, device = self._given(), self.skills.device
        observations, actions = chunks.windows(self._rng.integers(0, len(chunks), count))
        return observations.to(device), actions.to(device)

    def draw_offline(self, count: int) -> Batch:
        """Draw macro transitions of the data; their skills are the posterior means."""
        chunks = self._given()
        places = self._rng.integers(0, len(chunks), count)
        return chunks.batch(places, self.encoded()).to(self.skills.device)

    def encoded(self) -> Floats:
        """Return u (M, k) of every chunk; the first call encodes them, a second or longer."""
        if self._data_skills is None:
            chunks = self._given()
            every = np.arange(len(chunks))
            self._data_skills = np.concatenate([
                squash(self._encode(*chunks.windows(every[i:i + ENCODED])))
                for i in range(0, len(chunks), ENCODED)])
        return self._data_skills

    def draw_online(self, count: int) -> Batch:
        """Draw macro transitions of executed episodes."""
        return self.online.sample(count, self._rng).to(self.skills.device)

    @property
    def least(self) -> float:
        """Return the least reward of the data's chunks, scaled."""
        return self._given().least

    def _given(self) -> Chunks:
        if self.chunks is None:
            raise ValueError('skills are learned from a data set, and none was given')
        return self.chunks

    def forget_skills(self) -> None:
        """Drop the encoded skills, after a change of the encoder; the next draw encodes again."""
        self._data_skills = None

    # Executed episodes

    def add(self, observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any],
            costs: NDArray[Any], skills: NDArray[Any], skill_steps: NDArray[Any],
            modes: NDArray[Any], terminated: bool) -> Macros:
        """
        Store an executed episode and return its macro transitions.

        The arguments are those of `macro_transitions`, with rewards and costs of the task,
        neither scaled nor shaped.
        """
        t = self.skills.training_file
        macros = macro_transitions(observations, actions, rewards,
                                   costs[:, :self.online.constraints], skills, skill_steps,
                                   modes, terminated, length=t.skill_length, gamma=t.gamma,
                                   encode=self._encode_physical)
        if not len(macros.skills):
            return macros
        rewards = macros.rewards
        if self._potential is not None and self._shaping:
            potential = self._potential(macros.observations)
            after = self.skills.discount * potential[1:]
            after[-1] *= not macros.terminated
            rewards = rewards + self._shaping * (after - potential[:-1])
        self.online.add_episode(macros.observations, squash(macros.skills),
                                macros.terminated, rewards=rewards, costs=macros.costs)
        return macros

    def make_familiar(self, macros: Macros) -> None:
        """Train the RND predictor once on each macro transition, one at a time."""
        seen = self.skills.tensor(self.normaliser(macros.observations[:-1]))
        skills = self.skills.tensor(squash(macros.skills))
        for o, u in zip(seen, skills):
            self.skills.update_rnd(o[None], u[None])

    def _encode_physical(self, observations: Floats, actions: Floats) -> Floats:
        return self._encode(torch.from_numpy(self.normaliser(observations)),
                            torch.from_numpy(actions))

    def _encode(self, observations: Tensor, actions: Tensor) -> Floats:
        with torch.no_grad():
            mean, _ = self.skills.encoder(observations.to(self.skills.device),
                                          actions.to(self.skills.device))
        return array_of(mean)

    # State

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the executed macro transitions."""
        return self.online.arrays()

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`."""
        self.online.load_arrays(arrays)
        self.forget_skills()

    def state(self) -> dict[str, Any]:
        """Return the generator's state, as values for JSON."""
        return dict(self._rng.bit_generator.state)

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        self._rng.bit_generator.state = state
