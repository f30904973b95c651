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

"""Variant of `insert` in which only a camera and the wrist sensor show where the hole is."""

import numpy as np
from pydantic import Field

from spaars_ros.robot.config import Name
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import World
from spaars_ros.tasks.insert import FORCE_RANGE
from spaars_ros.tasks.insert import InsertSettings
from spaars_ros.tasks.insert import InsertTask
from spaars_ros.tasks.insert import TORQUE_RANGE
from spaars_ros.tasks.protocols import Operator
from spaars_ros.tasks.protocols import Scene
from spaars_ros.tasks.seen import camera_term
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term


class InsertCameraSettings(InsertSettings):
    """Task file: put a peg into a hole that a camera sees."""

    name: Name = 'insert_camera'
    camera_place: tuple[float, float, float] = Field(
        (0.72, 0.16, 0.42), description='m, base frame, position of the simulated camera')
    camera_at: tuple[float, float, float] = Field(
        (0.5, 0.0, 0.21), description='m, base frame, point that the camera looks at')
    camera_angle: float = Field(30.0, ge=5, le=120, description='degrees, vertical field of view')


class InsertCameraTask(InsertTask):
    """
    Put a peg into a hole whose position is not measured; the height of its mouth is known.

    Observation: tip (3) m, x and y of the tool's axis (2), tip velocity (3) m/s, force (3) N and
    torque (3) N m on the peg, all in the base frame; camera features (k).
    """

    Settings = InsertCameraSettings
    settings: InsertCameraSettings

    def __init__(self, robot: Robot, settings: InsertCameraSettings) -> None:
        """Declare the task."""
        super().__init__(robot, settings)
        self._told = InsertTask(robot, settings)
        told = self._told.spec
        kept = {term.name: term for term in told.terms}
        self.spec = TaskSpec(
            name=settings.name, horizon=settings.horizon, contact=True, action=told.action,
            terms=(Term('tip', 3, 'm', names=('tip.x', 'tip.y', 'tip.z')),
                   *(kept[name] for name in ('tilt', 'tip_velocity', 'force', 'torque')),
                   camera_term(robot, settings, 'eye')),
            sources=('wrench', 'eye'), costs=told.costs, metrics=told.metrics)
        self._force, self._height = self.spec.slices['force'], self.spec.slices['tip'].stop - 1

    def observe(self, world: World, goal: Array | None) -> Array:
        """Return the observation (n,)."""
        tip, jacobian = world.tip_and_jacobian()
        _, turn = world.frame(self.robot.tip)
        wrench = world.sources['wrench'].values
        return np.concatenate((
            tip, turn[:2, 2], jacobian @ world.joints.velocity,
            np.clip(turn @ wrench[:3], -FORCE_RANGE, FORCE_RANGE),
            np.clip(turn @ wrench[3:6], -TORQUE_RANGE, TORQUE_RANGE),
            world.sources['eye'].values))

    def informed(self, world: World) -> Array:
        """Return the demonstrator's input: the observation of `insert`."""
        return self._told.observe(world, None)

    def depth(self, observation: Array) -> Array:
        """Return the depth (...) m of the tip below the mouth's height; the plate is elsewhere."""
        return np.asarray(np.maximum(
            self.settings.hole_height - observation[..., self._height], 0.0))

    def potential(self, observation: Array) -> Array:
        """Return minus the missing fraction (...) of the depth, in [-1, 0]; 0 once inserted."""
        return np.asarray(np.minimum(self.depth(observation) / self.settings.depth, 1.0) - 1.0)

    def scene(self) -> Scene:
        """Return the scene of `insert`, with a camera."""
        from spaars_ros.tasks.camera_scenes import InsertCameraScene
        return InsertCameraScene(self.robot, self.settings)

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return the demonstrator of `insert`, which knows roughly where the hole is."""
        from spaars_ros.tasks.insert_operator import InsertOperator
        return InsertOperator(self._told, rng)
