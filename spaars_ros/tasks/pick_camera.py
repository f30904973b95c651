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

"""Variant of `pick` in which only a camera shows where the cube is."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import Name
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import World
from spaars_ros.tasks.pick import LIFTED
from spaars_ros.tasks.pick import PickSettings
from spaars_ros.tasks.pick import PickTask
from spaars_ros.tasks.protocols import Operator
from spaars_ros.tasks.protocols import Scene
from spaars_ros.tasks.seen import camera_term
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term

GRIPPED = 0.006
"""m, tolerance between the width of the fingers and a cube that they hold."""


class PickCameraSettings(PickSettings):
    """Task file: put a cube that a camera sees into a bin."""

    name: Name = 'pick_camera'
    camera_place: tuple[float, float, float] = Field(
        (0.9, 0.02, 0.72), description='m, base frame, position of the simulated camera')
    camera_at: tuple[float, float, float] = Field(
        (0.5, 0.02, 0.03), description='m, base frame, point that the camera looks at')
    camera_angle: float = Field(38.0, ge=5, le=120, description='degrees, vertical field of view')


class PickCameraTask(PickTask):
    """
    Put a cube into a bin, observed by the camera `eye` and the bin's light barrier.

    Observation: tip (3) m, tip velocity (3) m/s, both in the base frame, width between the fingers
    (1) m, source `binned` (1): 1 if the cube lies in the bin and nothing holds it, camera features
    (k).
    """

    Settings = PickCameraSettings
    settings: PickCameraSettings

    def __init__(self, robot: Robot, settings: PickCameraSettings) -> None:
        """Declare the task."""
        super().__init__(robot, settings)
        self._told = PickTask(robot, settings)

        def vector(name: str, unit: str) -> Term:
            return Term(name, 3, unit, names=tuple(f'{name}.{axis}' for axis in 'xyz'))
        self.spec = TaskSpec(
            name=settings.name, horizon=settings.horizon, contact=True,
            action=self._told.spec.action, channels=self._told.spec.channels,
            terms=(vector('tip', 'm'), vector('tip_velocity', 'm/s'), Term('opening', 1, 'm'),
                   Term('binned', 1, '', 0.0, 1.0), camera_term(robot, settings, 'eye')),
            sources=('fingers', 'binned', 'eye'),
            metrics=(MetricSpec('lifted', '', 'higher', title='cube lifted', shown='%'),))
        s = self.spec.slices
        self._height, self._opening = s['tip'].stop - 1, s['opening'].start
        self._binned = s['binned'].start

    def observe(self, world: World, goal: Array | None) -> Array:
        """Return the observation (n,)."""
        tip, jacobian = world.tip_and_jacobian()
        return np.concatenate((
            tip, jacobian @ world.joints.velocity, world.sources['fingers'].values[:1],
            np.clip(world.sources['binned'].values[:1], 0.0, 1.0), world.sources['eye'].values))

    def informed(self, world: World) -> Array:
        """Return the demonstrator's input: the observation of `pick`."""
        return self._told.observe(world, None)

    def binned(self, observation: Array) -> Array:
        """Return whether (...) the cube lies in the bin and nothing holds it."""
        return np.asarray(observation[..., self._binned] > 0.5)

    def outcome(self, after: Array, world: World) -> Outcome:
        """Return SUCCESS, which ends the episode, once the cube is in the bin."""
        return Outcome.SUCCESS if self.binned(after) else Outcome.RUNNING

    def metrics(self, episode: Episode) -> Mapping[str, Metric]:
        """Return whether the fingers held an object as wide as the cube above the table."""
        states = episode.observations
        held = np.abs(states[:, self._opening] - self.settings.cube) < GRIPPED
        high = states[:, self._height] > self.settings.table + self.settings.cube / 2 + LIFTED
        return {'lifted': Metric(float((held & high).any()), '', 'higher')}

    def scene(self) -> Scene:
        """Return the scene of `pick`, with a camera and the bin's light barrier."""
        from spaars_ros.tasks.camera_scenes import PickCameraScene
        return PickCameraScene(self.robot, self.settings)

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return the demonstrator of `pick`, which knows where the cube is."""
        from spaars_ros.tasks.pick_operator import PickOperator
        return PickOperator(self._told, rng)
