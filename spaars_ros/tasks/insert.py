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
"""Task: put a peg into a hole with a chamfer, whose measured position is inexact, gently."""

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
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term

FINE = 0.01
"""m; limit at which the fine part of the error saturates."""
FORCE_RANGE, TORQUE_RANGE = 60.0, 3.0
"""N, N m; limits at which the observed wrench saturates."""
REWARD_SCALE, REWARD_RANGE = 0.002, 0.1
"""m; the reward is logarithmic in distances above the first value, and -1 at the second."""
BESIDE = 0.004
"""m; distance beside the measured hole within which a deep enough tip counts as inside."""


class InsertSettings(TaskSettings):
    """Task file: put a peg into a hole."""

    name: Name = 'insert'
    start_noise: float = Field(
        0.01, ge=0, le=10, description='rad, half-width of the uniform noise about the home '
        'position')
    hole_low: tuple[float, float] = Field(
        (0.47, -0.03), description='m, base frame, lowest x and y of the hole')
    hole_high: tuple[float, float] = Field(
        (0.53, 0.03), description='m, base frame, highest x and y of the hole')
    hole_height: float = Field(0.2, description='m, base frame, height of the mouth of the hole')
    depth: float = Field(
        0.012, ge=0.001, le=0.02, description='m, depth of the peg in the hole at which the task '
        'is done')
    pose_bias: float = Field(
        0.001, ge=0, le=0.1, description='m, standard deviation per axis of the error of the '
        'measured hole, constant within an episode')
    pose_noise: float = Field(
        0.0002, ge=0, le=0.1, description='m, standard deviation per axis of its noise from tick '
        'to tick')
    force_noise: float = Field(0.3, ge=0, le=100, description='N, noise of the wrist sensor')
    force_limit: float = Field(
        25.0, ge=0.1, le=10_000, description='N, contact force above which a step costs')


class InsertTask(Task):
    """
    Put a peg into a hole: the peg's tip is the tool tip, source `hole` is the hole's position.

    Observation: measured goal - tip (3) m, the same clipped to +-1 cm (3) m, x and y of the tool's
    axis (2), tip velocity (3) m/s, force (3) N and torque (3) N m on the peg; base frame. The goal
    is `depth` below the centre of the hole's mouth.
    """

    Settings = InsertSettings
    settings: InsertSettings

    def __init__(self, robot: Robot, settings: InsertSettings) -> None:
        """Declare the task."""
        super().__init__(robot, settings)

        def vector(name: str, unit: str, most: float = np.inf) -> Term:
            return Term(name, 3, unit, -most, most, tuple(f'{name}.{axis}' for axis in 'xyz'))
        self.spec = TaskSpec(
            name=settings.name, horizon=settings.horizon, contact=True,
            action=ActionSpace('twist', len(robot.joints), axes=('x', 'y', 'z', 'rx', 'ry'),
                               linear=0.1, angular=0.3),
            terms=(vector('error', 'm'), vector('fine_error', 'm', FINE),
                   Term('tilt', 2, '', -1.0, 1.0), vector('tip_velocity', 'm/s'),
                   vector('force', 'N', FORCE_RANGE), vector('torque', 'N m', TORQUE_RANGE)),
            sources=('wrench', 'hole'), costs=('contact_force',),
            metrics=(MetricSpec('depth', 'm', 'higher', shown='mm'),
                     MetricSpec('peak_force', 'N'),
                     MetricSpec('over_limit', '', title='ticks above the force limit')))
        self._error, self._force = self.spec.slices['error'], self.spec.slices['force']

    def observe(self, world: World, goal: Array | None) -> Array:
        """Return the observation (n,)."""
        tip, jacobian = world.tip_and_jacobian()
        _, turn = world.frame(self.robot.tip)
        error = world.sources['hole'].values[:3] - tip
        error[2] -= self.settings.depth
        wrench = world.sources['wrench'].values
        return np.concatenate((
            error, np.clip(error, -FINE, FINE), turn[:2, 2], jacobian @ world.joints.velocity,
            np.clip(turn @ wrench[:3], -FORCE_RANGE, FORCE_RANGE),
            np.clip(turn @ wrench[3:6], -TORQUE_RANGE, TORQUE_RANGE)))

    def reward(self, before: Array, action: Array, after: Array) -> Array:
        """Return the reward (...), in [-1.01, 0]: closeness - 0.01 mean squared action."""
        effort = 0.01 * np.mean(np.square(action), axis=-1)
        return np.asarray(np.maximum(self.potential(after), -1.0) - effort)

    def potential(self, observation: Array) -> Array:
        """Return the logarithmic closeness (...) to the goal, at most 0, see `ReachTask`."""
        error = np.linalg.norm(observation[..., self._error], axis=-1)
        return np.asarray(-np.log1p(error / REWARD_SCALE) / np.log1p(REWARD_RANGE / REWARD_SCALE))

    def force(self, observation: Array) -> Array:
        """Return the contact force (...) N of observations."""
        return np.asarray(np.linalg.norm(observation[..., self._force], axis=-1))

    def costs(self, after: Array, action: Array) -> Mapping[str, Array]:
        """Return contact_force (...): 1 if the force is above the limit, otherwise 0."""
        return {'contact_force': (self.force(after) > self.settings.force_limit).astype(float)}

    def depth(self, observation: Array) -> Array:
        """Return the measured depth (...) m of the tip below the mouth, 0 beside the hole."""
        error = observation[..., self._error]
        inside = np.linalg.norm(error[..., :2], axis=-1) < BESIDE + 3 * self.settings.pose_bias
        return np.asarray(np.where(inside, np.maximum(self.settings.depth + error[..., 2], 0), 0))

    def inserted(self, observation: Array) -> Array:
        """Return whether (...) the peg is inserted; elsewhere the plate prevents this depth."""
        return np.asarray(self.depth(observation) >= self.settings.depth)

    def outcome(self, after: Array, world: World) -> Outcome:
        """Return SUCCESS, which ends the episode, once the peg is inserted."""
        return Outcome.SUCCESS if self.inserted(after) else Outcome.RUNNING

    def judge(self, episode: Episode) -> Outcome:
        """Return SUCCESS if the peg was inserted at the end."""
        if episode.outcome is not Outcome.UNLABELLED:
            return episode.outcome
        return Outcome.SUCCESS if self.inserted(episode.observations[-1]) else Outcome.FAILURE

    def metrics(self, episode: Episode) -> Mapping[str, Metric]:
        """Return depth at the end, greatest force, and ticks above the force limit."""
        force = self.force(episode.observations)
        return {'depth': Metric(float(self.depth(episode.observations[-1])), 'm', 'higher'),
                'peak_force': Metric(float(force.max()), 'N'),
                'over_limit': Metric(float((force > self.settings.force_limit).sum()), '')}

    def scene(self) -> Scene:
        """Return the scene: peg, plate and wrist sensor."""
        from spaars_ros.tasks.insert_scene import InsertScene
        return InsertScene(self.robot, self.settings)

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return a scripted operator: aims badly, presses hard and gives up."""
        from spaars_ros.tasks.insert_operator import InsertOperator
        return InsertOperator(self, rng)

    def corrector(self, rng: np.random.Generator) -> Operator:
        """Return a scripted operator: aims at the measured hole and searches around it."""
        from spaars_ros.tasks.insert_operator import InsertOperator
        return InsertOperator(self, rng, expert=True)
