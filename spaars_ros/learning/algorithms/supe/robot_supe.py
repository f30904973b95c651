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

"""SPAARS-SUPE, skills of H steps, on the robot."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.data.dataset import Dataset
from spaars_ros.learning.algorithms.spaars.robot_gated import GatedRobotAlgorithm
from spaars_ros.learning.algorithms.supe.chunks import Macros
from spaars_ros.learning.algorithms.supe.skill_agent import SkillAgent
from spaars_ros.learning.algorithms.supe.spaars_supe import SpaarsSupe
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.robot_algorithm import RobotEpisode
from spaars_ros.learning.core.robot_algorithm import RobotSetup
from spaars_ros.learning.export import export_skills


class RobotSupe(GatedRobotAlgorithm):
    """
    `SpaarsSupe` as the learner node runs it; the skills in effect are the policy server's.

    A skill is drawn from its policy (a standard deviation of 1 of the noise, whatever
    `explore_latent` says) and decoded to its mean action, also while exploring: the published
    noise of every action would be filtered away or shake the arm. With `explore_correlation` the
    draws of successive skills are correlated by its H-th power.
    """

    agent: SkillAgent

    def __init__(self, setup: RobotSetup) -> None:
        """Make the networks from torch's generator."""
        super().__init__(setup)
        self.supe = SpaarsSupe(setup.training, observation=setup.task.observation_dim,
                               action=setup.action_dim,
                               constraints=len(setup.task.constraint_names),
                               normaliser=setup.normaliser, seed=setup.seed)
        self.agent = self.supe.agent
        self.curriculum = self.supe.curriculum
        self._newest: list[Macros] = []

    @property
    def latent_dim(self) -> int:
        """Return the values of a skill."""
        return self.training.skill_dim

    def stages(self) -> dict[str, int]:
        """Return OPAL, IQL on skills and single steps, value pre-alignment."""
        return self.supe.stages()

    def take_offline(self, dataset: Dataset, replay: Replay) -> None:
        """Take the chunks; raises ValueError where none of `skill_length` steps fits."""
        self.supe.set_action_variance(dataset.actions)
        self.supe.take_offline(replay)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the stage that `step` is in."""
        return self.supe.update_offline(batch, step)

    def begin_online(self) -> None:
        """Freeze the skills, and encode the chunks: not while the robot waits for steps."""
        self.supe.begin_online()
        self.supe.memory.encoded()

    def update(self, batch: Batch, online: Batch, number: int) -> dict[str, float]:
        """Do one update of both levels."""
        self.supe.updates = number
        return self.supe.update_online(batch, online)

    def add_episode(self, episode: RobotEpisode) -> None:
        """
        Store an episode's skills as macro transitions.

        A skill that was cut short in the middle of an episode, which a bundle with another
        decoder does, is left out: what it would have led to is not known.
        """
        e = episode
        rewards = self.setup.task.reward(e.observations[:-1], e.actions, e.observations[1:])
        if e.rewards is not None:
            rewards = np.where(np.isnan(e.rewards), rewards, e.rewards)
        self._newest = []
        count = len(e.actions)
        for part in whole_skills(e.skill_steps, self.training.skill_length):
            end = part.stop == count
            self._newest.append(self.supe.memory.add(
                e.observations[part.start:part.stop + 1], e.actions[part], rewards[part],
                e.costs[part], e.skills[part], e.skill_steps[part], e.modes[part],
                end and e.terminated))

    def end_episode(self, reached: NDArray[np.float32], modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """Make the newest skills familiar, and see `Curriculum.end_episode`."""
        if self.supe.updates:
            for macros in self._newest:
                self.supe.memory.make_familiar(macros)
        super().end_episode(reached, modes, steps, replay)

    def manifest(self) -> dict[str, Any]:
        """Return the skills' length and decoder, and the gate as it is now."""
        return {'latent_bound': self.agent.skill_bound,
                'skill_length': self.training.skill_length, 'decoder': self._digest(),
                **self.gate(explore_latent=1.0)}

    def _digest(self) -> str:
        """Return what tells two decoders apart."""
        digest = hashlib.sha256()
        for name, tensor in self.agent.skill_decoder.state_dict().items():
            digest.update(name.encode() + b'\0' + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""
        return export_skills(self.agent)

    def canaries(self, observations: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return what torch computes for observations (m, n): every second one in a skill."""
        agent, m = self.agent, len(observations)
        held = np.random.default_rng(m).normal(size=(m, self.latent_dim)).astype(np.float32)
        fresh = np.arange(1, m + 1, dtype=np.float32)[:, None] % 2
        with torch.no_grad():
            o = torch.from_numpy(self.setup.normaliser(observations))
            skill = torch.where(torch.from_numpy(fresh) > 0, self.supe.skills.skill(o),
                                torch.from_numpy(held))
            action = agent.skill_decoder.mean(o, skill)
            raw = agent.trusted(agent.raw_policy(o), action)
            return {'observation': observations.astype(np.float32), 'skill': held,
                    'fresh': fresh, 'latent': skill.numpy(), 'latent_action': action.numpy(),
                    'raw_action': raw.numpy(),
                    'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                    'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}

    def state(self) -> dict[str, Any]:
        """Return where curriculum and generators are; the skills come back as records."""
        state = self.supe.state()
        return {name: value for name, value in state.items()
                if name not in ('updates', 'multipliers')}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`; the tensors, the encoder's too, are loaded before."""
        self.supe.load_state(state)
        self.supe.memory.forget_skills()
        self.supe.memory.encoded()


def whole_skills(skill_steps: NDArray[Any], length: int) -> list[slice]:
    """
    Return the parts of an episode (T,) in which every skill but its last has all its steps.

    :param skill_steps: (T,) 0-based step within the skill; what does not count up is in no part
    """
    begins = [*np.flatnonzero(np.asarray(skill_steps) == 0), len(skill_steps)]
    parts = []
    first = begins[0]
    for begin, end in zip(begins[:-1], begins[1:]):
        counts = np.array_equal(skill_steps[begin:end], np.arange(end - begin))
        whole = end - begin == length or (end == len(skill_steps) and end - begin < length)
        if not (counts and whole):
            parts.append(slice(first, begin))
            first = end
    parts.append(slice(first, len(skill_steps)))
    return [part for part in parts if part.start < part.stop]
