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

"""Deployment of SPAARS on a robot, with single-step latents or skills."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.curriculum import Curriculum
from spaars_ros.learning.algorithms.spaars.gated_agent import GatedAgent
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.deployable import Deployable
from spaars_ros.learning.core.replay import Batch
from spaars_ros.policy.bundle import Exploration


class GatedDeployment(Deployable):
    """
    Deployable algorithm with a `GatedAgent`, and a `Curriculum` for its phases.

    The online phases are warm-up, latent phase with concurrent BC, and gated phase.
    """

    agent: GatedAgent
    curriculum: Curriculum
    _noise: Array
    """Exploration noise of the running episode, correlated over its steps."""

    def episode_state(self) -> tuple[Any, ...]:
        """Return the noise, and whether the episode is a control episode; see `EpisodeState`."""
        return self._noise.copy(), self.curriculum.control

    def set_episode_state(self, state: tuple[Any, ...]) -> None:
        """Continue the episode of a state from `episode_state`."""
        self._noise, self.curriculum.control = state

    def end_offline(self, sample: Callable[[], Batch]) -> None:
        """Measure L_Q on 20 batches, for the gate margin."""
        for _ in range(20):
            self.agent.measure_lipschitz(sample())

    def take_corrections(self, observations: Tensor, actions: Tensor) -> None:
        """Set a sample of human actions to clone; see `RawPolicyUpdates.clone`."""
        self.agent.corrections = (observations, actions)

    def phase(self, steps: int) -> int:
        """Return 0 in warm-up, 1 in the latent phase, 2 in the gated phase."""
        return self.curriculum.phase(steps)

    def progress(self) -> dict[str, float]:
        """Return bc_error (-1: not measured), novelty, margin and gate_share."""
        error = float(self.agent.bc_error)
        return {'bc_error': error if np.isfinite(error) else -1.0,
                'novelty': self.curriculum.novelty, 'margin': self.agent.margin,
                'gate_share': self.curriculum.raw_share}

    def gate(self, *, explore_latent: float) -> dict[str, Any]:
        """
        Return the manifest's entries of the present gate, trust box and exploration noise.

        :param explore_latent: standard deviation of the latent noise
        """
        t, agent = self.training, self.agent
        mode, trust = t.mode, agent.trust
        if mode == 'raw-only':
            trust = 2.0
        elif mode == 'hard-switch':
            mode = 'raw-only' if agent.gate_open else 'latent-only'
        return {'mode': mode, 'gate_open': agent.gate_open, 'margin': agent.margin,
                'kappa': t.kappa, 'trust': trust, 'floor': agent.floored,
                'floor_margin': t.min_margin if agent.floored else 0.0,
                'exploration': Exploration(latent=explore_latent, raw=agent.explore_raw,
                                           correlation=t.explore_correlation)}
