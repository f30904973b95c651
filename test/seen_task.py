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

"""Reach with a camera: the smallest task with images."""

from dataclasses import replace

import numpy as np

from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.seen import camera_term


class SeenScene:
    """Scene with a camera that views the arm, and nothing else."""

    def build(self, spec):
        spec.worldbody.add_camera(name='eye', pos=[1.4, 0.0, 0.9], xyaxes=[0, 1, 0, -0.5, 0, 1])

    def reset(self, model, data, rng):
        """Do nothing: the scene has no objects."""

    def measure(self, model, data):
        return {}

    def actuate(self, model, data, channels):
        """Do nothing: the scene has no actuators."""


class SeenReach(ReachTask):
    """Reach, with the features of the camera appended to the observation."""

    def __init__(self, robot, settings):
        super().__init__(robot, settings)
        self.spec = replace(self.spec, terms=(*self.spec.terms, camera_term(
            robot, settings, 'eye')), sources=('eye',))

    def observe(self, world, goal):
        return np.concatenate((super().observe(world, goal), world.sources['eye'].values))

    def scene(self):
        return SeenScene()
