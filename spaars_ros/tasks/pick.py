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
"""Task: pick up a cube from a table and drop it into a bin, with a sparse reward."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import Name
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import Operator
from spaars_ros.tasks.protocols import Scene
from spaars_ros.tasks.spec import ActionSpace
from spaars_ros.tasks.spec import Channel
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term

FINE = 0.03
"""m; limit at which the fine part of the vector to the cube saturates."""
OPEN = 0.08
"""m between the open fingers."""
LIFTED = 0.03
"""m; height of the cube's centre above its resting height at which it counts as lifted."""


class PickSettings(TaskSettings):
    """Task file: put a cube into a bin."""

    name: Name = 'pick'
    start_noise: float = Field(
        0.02, ge=0, le=10, description='rad, half-width of the uniform noise about the home '
        'position')
    horizon: int = Field(150, ge=2, le=1_000_000, description='control ticks per episode')
    cube: float = Field(0.04, ge=0.01, le=0.07, description='m, edge length of the cube')
    cube_low: tuple[float, float] = Field(
        (0.44, -0.14), description='m, base frame, lowest x and y of the cube')
    cube_high: tuple[float, float] = Field(
        (0.56, 0.02), description='m, base frame, highest x and y of the cube')
    bin: tuple[float, float] = Field(
        (0.5, 0.18), description='m, base frame, x and y of the centre of the bin')
    bin_size: float = Field(0.12, ge=0.05, le=1, description='m, inner edge length of the bin')
    table: float = Field(0.0, description='m, base frame, height of the table')
    pose_noise: float = Field(
        0.001, ge=0, le=0.1, description='m, standard deviation per axis of the measured position '
        'of the cube')
    gripper_turn: float = Field(
        -0.785398, ge=-7, le=7, description='rad, rotation of the simulated fingers about the '
        'axis of the tool; they open along the y axis of the resulting frame')


class PickTask(Task):
    """
    Put a cube into a bin and release it; source `cube` is the cube's position.

    Observation: cube - tip (3) m, the same clipped to +-3 cm (3) m, bin - cube (3) m, tip velocity
    (3) m/s, height of the tip above the table (1) m, width between the fingers (1) m; base frame.
    """

    Settings = PickSettings
    settings: PickSettings

    def __init__(self, robot: Robot, settings: PickSettings) -> None:
        """Declare the task."""
        super().__init__(robot, settings)

        def vector(name: str, unit: str, most: float = np.inf) -> Term:
            return Term(name, 3, unit, -most, most, tuple(f'{name}.{axis}' for axis in 'xyz'))
        self.spec = TaskSpec(
            name=settings.name, horizon=settings.horizon, contact=True,
            action=ActionSpace('twist', len(robot.joints), axes=('x', 'y', 'z'), linear=0.25),
            channels=(Channel('gripper', 'open_close', rate=4.0),),
            terms=(vector('to_cube', 'm'), vector('fine_to_cube', 'm', FINE),
                   vector('cube_to_bin', 'm'), vector('tip_velocity', 'm/s'),
                   Term('height', 1, 'm'), Term('opening', 1, 'm')),
            sources=('cube', 'fingers'),
            metrics=(MetricSpec('lifted', '', 'higher', title='cube lifted', shown='%'),
                     MetricSpec('cube_to_bin', 'm', shown='mm', title='cube to bin')))
        s = self.spec.slices
        self._bin, self._opening = s['cube_to_bin'], s['opening'].start
        self._middle = np.append(settings.bin, settings.table + settings.cube / 2)

    def observe(self, world: World, goal: Array | None) -> Array:
        """Return the observation (n,)."""
        tip, jacobian = world.tip_and_jacobian()
        cube = world.sources['cube'].values[:3]
        way = cube - tip
        return np.concatenate((
            way, np.clip(way, -FINE, FINE), self._middle - cube,
            jacobian @ world.joints.velocity, (tip[2] - self.settings.table,
                                               world.sources['fingers'].values[0])))

    def binned(self, observation: Array) -> Array:
        """Return whether (...) the cube lies in the bin and the fingers are open."""
        way = np.abs(observation[..., self._bin])
        inside = (way[..., :2] < (self.settings.bin_size - self.settings.cube) / 2 + 0.01).all(-1)
        free = observation[..., self._opening] > self.settings.cube + 0.01
        return np.asarray(inside & (way[..., 2] < self.settings.cube / 2) & free)

    def reward(self, before: Array, action: Array, after: Array) -> Array:
        """Return the reward (...): -1 until the cube is in the bin, then 0."""
        return np.where(self.binned(after), 0.0, -1.0)

    def outcome(self, after: Array, world: World) -> Outcome:
        """Return SUCCESS, which ends the episode, once the cube is in the bin."""
        return Outcome.SUCCESS if self.binned(after) else Outcome.RUNNING

    def judge(self, episode: Episode) -> Outcome:
        """Return SUCCESS if the cube was in the bin at the end."""
        if episode.outcome is not Outcome.UNLABELLED:
            return episode.outcome
        return Outcome.SUCCESS if self.binned(episode.observations[-1]) else Outcome.FAILURE

    def metrics(self, episode: Episode) -> Mapping[str, Metric]:
        """Return whether the cube was lifted, and its final horizontal distance from the bin."""
        way = episode.observations[:, self._bin]
        return {'lifted': Metric(float((way[:, 2] < -LIFTED).any()), '', 'higher'),
                'cube_to_bin': Metric(float(np.linalg.norm(way[-1, :2])), 'm')}

    def scene(self) -> Scene:
        """Return the scene: fingers, cube, table and bin."""
        from spaars_ros.tasks.pick_scene import PickScene
        return PickScene(self.robot, self.settings)

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return a scripted operator: grasps beside the cube and releases it too early."""
        from spaars_ros.tasks.pick_operator import PickOperator
        return PickOperator(self, rng)
