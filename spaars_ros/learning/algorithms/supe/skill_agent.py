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
"""SPAARS over skills: the shared critic, the raw policy and the gate beside the high level."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spaars_ros.learning.algorithms.spaars.gated_agent import GatedAgent
from spaars_ros.learning.algorithms.supe.chunks import BOUND
from spaars_ros.learning.algorithms.supe.opal import ChunkEncoder
from spaars_ros.learning.algorithms.supe.opal import SkillDecoder
from spaars_ros.learning.algorithms.supe.skill_learner import SkillLearner
from spaars_ros.learning.core.networks import SquashedGaussian


class SkillAgent(GatedAgent):
    """
    `GatedAgent` whose latent policy is the high level and whose decoder is OPAL's.

    The shared critic is of primitive steps. Its target takes the action of the skill that the
    policy would begin at s', although a skill may go on there (reconstructed: the value of the
    policy that decides anew at every step). At run time `skill_policy`, `skill_decoder`,
    `raw_policy` and `critic` are needed, `encoder` only where it learns.
    """

    skill_bound = BOUND
    """|z| <= this: what u = tanh(z) is clipped to."""

    def make_coder(self, observation: int, action: int) -> None:
        """Make skills and high level; its multipliers are the same tensor."""
        self.skills = SkillLearner(self.training_file, observation, action, self.multipliers)

    def make_latent_policy(self, observation: int) -> None:
        """Make nothing more: the high level has its policy."""

    @property
    def skill_policy(self) -> SquashedGaussian:
        """Return the policy of u = tanh(z); a skill is z = mean + std * noise."""
        return self.skills.policy

    @property
    def skill_decoder(self) -> SkillDecoder:
        """Return the policy of a skill, of which the mean is executed."""
        return self.skills.decoder

    @property
    def encoder(self) -> ChunkEncoder:
        """Return the encoder of chunks."""
        return self.skills.encoder

    def latent_action(self, observation: Tensor) -> Tensor:
        """Return the decoder's mean action (B, d) at the policy's mean skill."""
        return self.skills.action(observation)

    def freeze_anchors(self) -> None:
        """Copy the pretrained policies, to which fine-tuning is anchored."""
        self.skills.freeze_anchor()
        self.raw_anchor.load_state_dict(self.raw_policy.state_dict())

    def seed(self, seed: int) -> None:
        """Seed the choice of target heads, of both critics."""
        super().seed(seed)
        self.skills.seed(seed)

    def rng_state(self) -> dict[str, Any]:
        """Return the state of both choices, JSON-able."""
        return {'gate': super().rng_state(), 'skills': self.skills.rng_state()}

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Restore `rng_state()`."""
        super().set_rng_state(state['gate'])
        self.skills.set_rng_state(state['skills'])

    def set_learning_rate(self, rate: float) -> None:
        """Begin with fresh optimisers at this rate, of the skills too."""
        super().set_learning_rate(rate)
        self.skills.set_learning_rate(rate)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the optimisers included, by name."""
        adam = {f'skills/{name}': value for name, value in self.skills.arrays().items()
                if name.startswith('adam/')}
        return {**super().arrays(), **adam}

    def load_arrays(self, arrays: dict[str, NDArray[Any]], optimisers: bool = True) -> None:
        """Restore `arrays()`, strictly."""
        super().load_arrays(arrays, optimisers)
        if optimisers:
            self.skills.load_optimisers({name[len('skills/'):]: np.asarray(value)
                                         for name, value in arrays.items()
                                         if name.startswith('skills/')})
