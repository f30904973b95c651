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
"""SPAARS over skills: shared critic, raw policy and gate, with a high-level policy of skills."""

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
from spaars_ros.learning.core.trainable import TrainableModule


class SkillAgent(GatedAgent):
    """
    `GatedAgent` with a policy of skills as its latent policy, and OPAL's decoder.

    The shared critic evaluates single steps. Its target uses the action of the skill that the
    policy would begin at s', although the present skill may continue there (reconstructed: the
    value of a policy that chooses a skill in every step). At run time `skill_policy`,
    `skill_decoder`, `raw_policy` and `critic` are needed, `encoder` only for learning.
    """

    skill_bound = BOUND
    """Bound of |z|, from the clipping of u = tanh(z)."""

    def make_coder(self, observation: int, action: int) -> None:
        """Create skills and high-level policy, which share the tensor of the multipliers."""
        self.skills = SkillLearner(self.training_file, observation, action, self.multipliers)

    def make_latent_policy(self, observation: int) -> None:
        """Do nothing: `SkillLearner` has the high-level policy."""

    @property
    def skill_policy(self) -> SquashedGaussian:
        """Return the high-level policy of u = tanh(z); a skill is z = mean + std * noise."""
        return self.skills.policy

    @property
    def skill_decoder(self) -> SkillDecoder:
        """Return the policy of actions given a skill; its mean is executed."""
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

    def parts(self) -> list[TrainableModule]:
        """Return this module and the skills, each with its own optimisers."""
        return [self, self.skills]

    def seed(self, seed: int) -> None:
        """Seed the choice of target heads of both critics."""
        super().seed(seed)
        self.skills.seed(seed)

    def rng_state(self) -> dict[str, Any]:
        """Return the states of both generators, as values for JSON."""
        return {'gate': super().rng_state(), 'skills': self.skills.rng_state()}

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Restore `rng_state()`."""
        super().set_rng_state(state['gate'])
        self.skills.set_rng_state(state['skills'])

    def set_learning_rate(self, rate: float) -> None:
        """Create new optimisers with this learning rate, also those of the skills."""
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
