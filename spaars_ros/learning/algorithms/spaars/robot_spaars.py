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

"""SPAARS (CVAE) on the robot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.data.dataset import Dataset
from spaars_ros.learning.algorithms.spaars.agent import SpaarsAgent
from spaars_ros.learning.algorithms.spaars.robot_gated import GatedRobotAlgorithm
from spaars_ros.learning.algorithms.spaars.spaars import Spaars
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.robot_algorithm import RobotEpisode
from spaars_ros.learning.core.robot_algorithm import RobotSetup
from spaars_ros.learning.export import export_policy


class RobotSpaars(GatedRobotAlgorithm):
    """`Spaars` and its ablations, by `mode`, as the learner node runs them."""

    agent: SpaarsAgent

    def __init__(self, setup: RobotSetup) -> None:
        """Make the networks from torch's generator."""
        super().__init__(setup)
        self.spaars = Spaars(setup.training, observation=setup.task.observation_dim,
                             action=setup.action_dim,
                             constraints=len(setup.task.constraint_names),
                             normaliser=setup.normaliser, seed=setup.seed)
        self.agent = self.spaars.agent
        self.curriculum = self.spaars.curriculum

    def stages(self) -> dict[str, int]:
        """Return CVAE, IQL and value pre-alignment."""
        t = self.training
        return {'cvae': t.cvae_steps, 'iql': t.iql_steps, 'align': t.align_steps}

    def take_offline(self, dataset: Dataset, replay: Replay) -> None:
        """Measure the actions' variance; a bundle's, which is loaded later, wins."""
        self.spaars.set_action_variance(dataset.actions)
        self.spaars.take_offline(replay)

    def add_episode(self, episode: RobotEpisode) -> None:
        """Clone it from now on, where it is worth that."""
        if self.spaars.good is None:
            return
        o, task = episode.observations, self.setup.task
        rewards = task.reward(o[:-1], episode.actions, o[1:])
        if episode.rewards is not None:
            rewards = np.where(np.isnan(episode.rewards), rewards, episode.rewards)
        self.spaars.good.take(self.agent.weighed_return(rewards, episode.costs), o[:-1],
                              episode.actions)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the stage that `step` is in."""
        return self.spaars.update_offline(batch, step)

    def out_of_reach(self, observations: NDArray[np.float32],
                     actions: NDArray[np.float32]) -> float:
        """Return the mean distance of actions (T, d) from their own reconstruction."""
        with torch.no_grad():
            o, a = torch.from_numpy(observations), torch.from_numpy(actions)
            return float((self.agent.reconstruct(o, a) - a).norm(dim=-1).mean())

    def begin_online(self) -> None:
        """Freeze encoder and decoder."""
        self.spaars.begin_online()

    def update(self, batch: Batch, online: Batch, number: int) -> dict[str, float]:
        """Do one update; the policies rest for the first `critic_steps` environment steps."""
        self.spaars.updates = number
        return self.spaars.update_online(batch, online)

    def manifest(self) -> dict[str, Any]:
        """Return gate, trust ball and exploration noise as they are now."""
        t = self.training
        return {'latent_bound': t.latent_bound, **self.gate(explore_latent=t.explore_latent)}

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""
        return export_policy(self.agent)

    def canaries(self, observations: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return what torch computes for observations (m, n)."""
        agent = self.agent
        with torch.no_grad():
            o = torch.from_numpy(self.setup.normaliser(observations))
            latent, floor = agent.latent_policy(o), {}
            if agent.floored:
                anchor = agent.anchor(o)
                latent, first, _ = agent.best_latent(agent.critic, o, agent.every_head)
                floor = {'anchor_latent': anchor.numpy(), 'anchor_action': first.numpy(),
                         'q_anchor': agent.critic(o, first).permute(1, 0, 2).numpy()}
            action = agent.decoder(o, latent)
            raw = agent.trusted(agent.raw_policy(o), action)
            return {**floor,'observation': observations.astype(np.float32),
                    'latent': latent.numpy(), 'latent_action': action.numpy(),
                    'raw_action': raw.numpy(),
                    'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                    'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}

    def state(self) -> dict[str, Any]:
        """Return where the curriculum is."""
        return self.curriculum.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.curriculum.restore(state)
