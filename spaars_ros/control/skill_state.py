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

"""The skill in effect and its step; part of the control loop, not of a bundle."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.policy.bundle import Manifest


class SkillState:
    """
    The skill in effect and the step within it.

    A skill is a latent action that is held for H = `skill_length` ticks (SUPE; skills.md). Its
    step advances while the gate takes raw actions (docs/concepts/spaars.md, reconstructed). It
    belongs to the control loop, so a bundle that takes over in the middle of a skill continues it.
    `restart` ends it: after an episode, a stop and a reset.

    :param manifest: of the acting bundle; with a `skill_length` of 1 no skill is held
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.step = 0
        """0-based, of the next decision; 0 where it begins a new skill."""
        self._skill: NDArray[np.float32] | None = None

    @property
    def held(self) -> NDArray[np.float32] | None:
        """Return the skill (k,) of the next decision, None where it begins a new one."""
        return self._skill

    def took(self, skill: NDArray[np.float32]) -> int:
        """Take the skill (k,) of a decision; return the decision's step within it."""
        step = self.step
        self.step = (step + 1) % self.manifest.skill_length
        self._skill = skill if self.step else None
        return step

    def restart(self) -> None:
        """Begin a new skill with the next decision."""
        self.step = 0
        self._skill = None

    def swap(self, manifest: Manifest) -> None:
        """
        Continue under another bundle, and keep the skill where its meaning is the same.

        The meaning is the same if algorithm, latent dimension, skill length and the decoder's
        digest are equal. A manifest without a digest does not identify its decoder. In all other
        cases a new skill begins with the next decision.
        """
        old, self.manifest = self.manifest, manifest
        same = all(getattr(old, name) == getattr(manifest, name)
                   for name in ('algorithm', 'latent_dim', 'skill_length', 'decoder'))
        if not same or not manifest.decoder:
            self.restart()
