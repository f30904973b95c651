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
"""SUPE: skills by OPAL, then SAC over them with optimistically relabelled offline chunks."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.supe.chunks import Macros
from spaars_ros.learning.algorithms.supe.chunks import whole_skills
from spaars_ros.learning.algorithms.supe.skill_learner import SkillLearner
from spaars_ros.learning.algorithms.supe.skill_memory import SkillMemory
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.multipliers import checked_multipliers
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training


class Supe:
    """
    SUPE (Wilcoxson et al. 2025; docs/concepts/skills.md, sourced).

    Offline: `skill_steps` of OPAL. Online: a skill is held for `skill_length` steps; until the
    first update skills come from the prior. Each update is one critic update of the high level,
    with half of its batch from the offline chunks. `utd` is the number of updates per environment
    step (the published 80 per skill of 4 steps are a `utd` of 20).

    It maximises the reward; with constraints, the Lagrangian (not in SUPE).
    """

    offline_share = 0.0
    """Online batches need no single transitions of the data: chunks come from the memory."""
    learns_online = True

    def __init__(self, training: Training, *, observation: int, action: int, constraints: int,
                 normaliser: Normaliser, seed: int) -> None:
        """
        Initialise the networks from torch's global generator.

        :param observation: n, width of an observation
        :param action: d, width of an action
        :param constraints: C, number of constraints
        :param seed: seed of draws outside of torch
        """
        self.training = training
        self.normaliser = normaliser
        self.agent, self.skills = self._make(observation, action, constraints, seed)
        self.memory = SkillMemory(self.skills, normaliser, observation, seed)
        self.offline_steps = training.skill_steps
        self.updates = self.skill_updates = 0
        self._newest: list[Macros] = []
        """Macro transitions of the newest episode; RND is trained on them at its end."""
        self.begin_episode()

    def _make(self, observation: int, action: int, constraints: int,
              seed: int) -> tuple[TrainableModule, SkillLearner]:
        """Return the module with all tensors, and the `SkillLearner` in it."""
        skills = SkillLearner(self.training, observation, action, torch.zeros(constraints))
        skills.seed(seed)
        return skills, skills

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Ignore the data set's actions (N, d): OPAL learns its own standard deviation."""

    def take_offline(self, data: Replay) -> None:
        """Set the data from whose chunks skills are learned."""
        self.memory.take_offline(data)

    # Offline

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of OPAL, on chunks of the memory instead of the batch."""
        return self.skills.update_opal(*self.memory.windows(self.training.batch))

    def begin_online(self) -> None:
        """Freeze the skills and set the online learning rate."""
        self._freeze_skills()
        self.agent.set_learning_rate(self.training.learning_rate)

    def _freeze_skills(self) -> None:
        self.skills.freeze_coder()
        self.memory.forget_skills()

    # Online

    def begin_episode(self) -> None:
        """Begin a new skill with the next step."""
        self._skill: Tensor | None = None
        self._step = 0
        self._taken: list[tuple[Array, int]] = []

    def episode_state(self) -> tuple[Any, ...]:
        """Return the skill in effect, its step, and the skills so far; see `EpisodeState`."""
        return self._skill, self._step, self._taken

    def set_episode_state(self, state: tuple[Any, ...]) -> None:
        """Continue the episode of a state from `episode_state`."""
        self._skill, self._step, self._taken = state

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the action of the skill in effect; every H steps a new skill begins."""
        with torch.no_grad():
            o = self.agent.tensor(self.normaliser(observation))[None]
            if self._skill is None or self._step == self.training.skill_length:
                self._skill, self._step = self._begin_skill(o, rng, explore), 0
            action, mode = self._act(o, self._skill, rng, explore)
        if explore:
            self._taken.append((array_of(self._skill[0]).astype(np.float64), self._step))
        self._step += 1
        return ActionSample.of(action, mode)

    def _begin_skill(self, o: Tensor, rng: np.random.Generator, explore: bool) -> Tensor:
        noise = None
        if explore:
            shape = (1, self.training.skill_dim)
            noise = self.agent.tensor(rng.standard_normal(shape).astype(np.float32))
        return self.skills.skill(o, noise, prior=explore and self._tries_prior)

    @property
    def _tries_prior(self) -> bool:
        """Return whether exploration draws skills from the prior: until the first update."""
        return self.updates == 0

    def _act(self, o: Tensor, skill: Tensor, rng: np.random.Generator,
             explore: bool) -> tuple[Tensor, Mode]:
        return self._decoded(self.skills.decoder.mean(o, skill), rng, explore), Mode.LATENT

    def _decoded(self, mean: Tensor, rng: np.random.Generator, explore: bool) -> Tensor:
        """Return the executed action (1, d) for the decoder's mean, with noise if configured."""
        if not (explore and self.training.skill_sample):
            return mean
        noise = self.agent.tensor(rng.standard_normal(tuple(mean.shape)).astype(np.float32))
        return (mean + self.skills.decoder.std * noise).clamp(-1.0, 1.0)

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update of the high level."""
        self.updates += 1
        losses = self.update_skills(climb=True)
        return {**losses, 'critic': losses.get('skill_critic', 0.0)}

    def update_skills(self, *, climb: bool, anchor: float = 0.0) -> dict[str, float]:
        """Do one update of the high level; none before the first executed skill is stored."""
        t, memory = self.training, self.memory
        if not memory.online.size:
            return {}
        self.skill_updates += 1
        half = t.batch // 2
        return self.skills.update_sac(
            memory.draw_online(t.batch - half), memory.draw_offline(half), memory.least,
            climb=climb and self.skill_updates % t.skill_actor_delay == 0, anchor=anchor)

    def take_episode(self, episode: Episode) -> None:
        """Store the skills of an episode in which the algorithm acted, and train RND on them."""
        skills, steps = zip(*self._taken, strict=True)
        self.store_episode(replace(episode, skills=np.asarray(skills),
                                   skill_steps=np.asarray(steps)))
        self._make_familiar()

    def store_episode(self, episode: Episode) -> None:
        """
        Store an episode's skills as macro transitions.

        Skills that were cut short within the episode, as by a bundle with another decoder, are
        left out: their outcome is unknown.
        """
        e = episode
        assert e.skills is not None and e.skill_steps is not None
        self._newest = []
        for part in whole_skills(e.skill_steps, self.training.skill_length):
            self._newest.append(self.memory.add(
                e.observations[part.start:part.stop + 1], e.actions[part], e.rewards[part],
                e.costs[part], e.skills[part], e.skill_steps[part], e.modes[part],
                part.stop == len(e.actions) and e.terminated))

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """End the skill in effect, and train RND on the episode's skills."""
        self.begin_episode()
        self._make_familiar()

    def _make_familiar(self) -> None:
        """Train RND on the newest episode's skills, once online updates have begun."""
        if self.updates:
            for macros in self._newest:
                self.memory.make_familiar(macros)
        self._newest = []

    def set_multipliers(self, multipliers: Array) -> None:
        """Set the multipliers (C,); raise ValueError for wrong shape, negative or non-finite."""
        own = self.skills.multipliers
        own.copy_(torch.from_numpy(checked_multipliers(multipliers, own.numel())))

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return SAC's temperature and the number of stored skills."""
        return {'skill_temperature': float(self.skills.log_alpha.detach().exp()),
                'skills': float(self.memory.online.size)}

    # State

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the optimisers included, and the executed skills."""
        return {**self.agent.arrays(), **{f'memory/{name}': array
                                          for name, array in self.memory.arrays().items()}}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`."""
        own = {name[len('memory/'):]: array for name, array in arrays.items()
               if name.startswith('memory/')}
        self.agent.load_arrays({name: array for name, array in arrays.items()
                                if not name.startswith('memory/')})
        self.memory.load_arrays(own)

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {'updates': self.updates, 'skill_updates': self.skill_updates,
                'multipliers': self.skills.multipliers.tolist(),
                'heads': self._heads().rng_state(), 'memory': self.memory.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        self.updates = int(state['updates'])
        self.skill_updates = int(state['skill_updates'])
        self.set_multipliers(np.asarray(state['multipliers']))
        self._heads().set_rng_state(state['heads'])
        self.memory.load_state(state['memory'])

    def _heads(self) -> Any:
        """Return the module whose generator chooses target heads."""
        return self.skills
