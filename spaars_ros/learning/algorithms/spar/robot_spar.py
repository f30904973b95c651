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

"""SPAR on the robot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.learning.algorithms.spar.spar import Spar
from spaars_ros.learning.algorithms.spar.spar_agent import SparAgent
from spaars_ros.learning.core.multipliers import checked_multipliers
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.robot_algorithm import Array
from spaars_ros.learning.core.robot_algorithm import RobotAlgorithm
from spaars_ros.learning.core.robot_algorithm import RobotSetup
from spaars_ros.learning.export import export_spar
from spaars_ros.policy.bundle import Exploration

UNBOUNDED = 2.0
"""Trust ball that holds every action: SPAR has no gate between two policies."""


class RobotSpar(RobotAlgorithm):
    """
    `Spar` as the learner node runs it.

    SPAR-PROJ acts by its latent (`latent-only`) and explores there. SPAR-MLP acts by its residual
    (`raw-only`); its exploration noise is `explore_raw` on the action, where `spaars train` moves
    it along the decoder.
    """

    agent: SparAgent

    def __init__(self, setup: RobotSetup) -> None:
        """Make the networks from torch's generator."""
        super().__init__(setup)
        self.spar = Spar(setup.training, observation=setup.task.observation_dim,
                         action=setup.action_dim, constraints=len(setup.task.constraint_names),
                         normaliser=setup.normaliser, seed=setup.seed)
        self.agent = self.spar.agent

    def stages(self) -> dict[str, int]:
        """Return the base, the residual CVAE and self-imitation."""
        t, spar = self.training, self.spar
        return {'base': t.spar_base_steps, 'residual': spar.imitates_from - t.spar_base_steps,
                'imitation': spar.offline_steps - spar.imitates_from}

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the stage that `step` is in."""
        return self.spar.update_offline(batch, step)

    def begin_online(self) -> None:
        """Freeze base and residual CVAE."""
        self.spar.begin_online()

    def update(self, batch: Batch, online: Batch, number: int) -> dict[str, float]:
        """Do one update of the values and of the residual policy."""
        self.spar.updates = number
        return self.spar.update_online(batch, online)

    @property
    def multipliers(self) -> Array:
        """Return lambda (C,) of each constraint."""
        return np.asarray(self.agent.multipliers.numpy(), dtype=np.float64)

    @multipliers.setter
    def multipliers(self, values: Array) -> None:
        self.agent.multipliers.copy_(torch.from_numpy(
            checked_multipliers(values, self.agent.multipliers.numel())))

    def manifest(self) -> dict[str, Any]:
        """Return the mode, which is that of the residual policy, and the exploration noise."""
        t = self.training
        return {'latent_bound': t.latent_bound, 'kappa': t.kappa, 'trust': UNBOUNDED,
                'mode': 'latent-only' if self.agent.projection == 'proj' else 'raw-only',
                'exploration': Exploration(latent=t.explore_latent, raw=t.explore_raw,
                                           correlation=t.explore_correlation)}

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policy."""
        return export_spar(self.agent)

    def canaries(self, observations: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return what torch computes for observations (m, n)."""
        agent = self.agent
        with torch.no_grad():
            o = torch.from_numpy(self.setup.normaliser(observations))
            latent = agent.latent_policy(o) * float(agent.projection == 'proj')
            action, raw = agent.decoded(o, latent), agent.raw_action(o)
            return {'observation': observations.astype(np.float32),
                    'latent': latent.numpy(), 'latent_action': action.numpy(),
                    'raw_action': raw.numpy(),
                    'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                    'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}

    def state(self) -> dict[str, Any]:
        """Return the generator of the candidates and what the diagnostic found."""
        state = self.spar.state()
        kept = {name: state[name] for name in ('candidates', 'components', 'noise')}
        return {**kept, 'raw_share': self.raw_share}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.spar.load_state(state)
        self.raw_share = float(state['raw_share'])
