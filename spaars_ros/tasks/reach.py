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

"""Task: move the tool tip to a target past the keep-out zones and hold it there."""

from collections.abc import Mapping
from typing import Optional

import numpy as np
from pydantic import Field
from pydantic import model_validator

from spaars_ros.data.schema import Outcome
from spaars_ros.robot.checks import check_targets
from spaars_ros.robot.config import Name
from spaars_ros.robot.config import Point
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.targets import default_targets
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import Operator
from spaars_ros.tasks.spec import ActionSpace
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term
from spaars_ros.tasks.zone_costs import zone_costs
from spaars_ros.tasks.zone_costs import ZONE_TERMS

FINE = 0.05
"""m; limit at which the fine part of the error saturates."""

REWARD_SCALE = 0.005
"""m; the reward is logarithmic in tip errors above about this value, and linear below."""

HINDSIGHT_NOISE = 0.01
"""m; standard deviation of a relabelled target around the achieved tip position."""

REWARD_RANGE = 0.5
"""m; tip error at which the reward is -1."""


class ReachSettings(TaskSettings):
    """Task file: reach a random target past the keep-out zones and hold it."""

    name: Name = 'reach'
    target_low: Optional[Point] = Field(
        None, description='m, base frame, lowest corner of the targets, -100 to 100; none: '
        '`targets` of the robot file')
    target_high: Optional[Point] = Field(
        None, description='m, base frame, highest corner of the targets, -100 to 100; none: '
        '`targets` of the robot file')
    tolerance: float = Field(
        0.010, ge=0.000001, le=100, description='m, largest tip error at which the target is '
        'reached')
    hold: int = Field(
        10, ge=1, le=1_000_000, description='ticks at the end of the episode for which the tip '
        'has to be within tolerance')

    @model_validator(mode='after')
    def _has_targets(self) -> 'ReachSettings':
        if (self.target_low is None) != (self.target_high is None):
            raise ValueError('target_low and target_high: give both, or none')
        for axis, low, high in zip('xyz', self.target_low or (), self.target_high or ()):
            if not low <= high:
                raise ValueError(f'target_low {axis}: {low} is above target_high, {high}')
        if self.hold > self.horizon:
            raise ValueError(f'hold: {self.hold} ticks are more than horizon, {self.horizon}')
        return self


class ReachTask(Task):
    """
    Reach a target with the tool tip, past the keep-out zones, and hold it.

    Observation: joint positions (d) rad, joint velocities (d) rad/s, tip (3) m, tip velocity (3)
    m/s, target - tip (3) m, and the same clipped to +-5 cm (3) m for the last centimetres; base
    frame.
    """

    Settings = ReachSettings
    settings: ReachSettings

    def __init__(self, robot: Robot, settings: ReachSettings) -> None:
        """Declare the task; raises ConfigError if no target can be reached."""
        super().__init__(robot, settings)
        self.low, self.high = self._targets(robot, settings)
        d = len(robot.joints)

        def vector(name: str, unit: str, low: float = -np.inf, high: float = np.inf) -> Term:
            return Term(name, 3, unit, low, high, tuple(f'{name}.{axis}' for axis in 'xyz'))
        self.spec = TaskSpec(
            name=settings.name, action=ActionSpace(joints=d), horizon=settings.horizon,
            terms=(Term('position', d, 'rad', names=tuple(f'{j}.position' for j in robot.joints)),
                   Term('velocity', d, 'rad/s',
                        names=tuple(f'{j}.velocity' for j in robot.joints)),
                   vector('tip', 'm'), vector('tip_velocity', 'm/s'), vector('error', 'm'),
                   vector('fine_error', 'm', -FINE, FINE)),
            costs=ZONE_TERMS,
            metrics=(MetricSpec('tip_error', 'm', 'lower', shown='mm', flat=True),))
        self._tip, self._tip_velocity, self._error, self._fine = (
            self.spec.slices[name] for name in ('tip', 'tip_velocity', 'error', 'fine_error'))

    @staticmethod
    def _targets(robot: Robot, settings: ReachSettings) -> tuple[Array, Array]:
        """Return low and high corner (3,) m of the box of targets, base frame."""
        kinematics = Kinematics(robot)
        if settings.target_low is not None and settings.target_high is not None:
            low, high = np.asarray(settings.target_low), np.asarray(settings.target_high)
        elif robot.targets is not None:
            low, high = np.asarray(robot.targets.low), np.asarray(robot.targets.high)
        else:
            return default_targets(robot, kinematics)
        check_targets(robot, low.tolist(), high.tolist(), kinematics, settings.name)
        return low, high

    def observe(self, world: World, goal: Array | None) -> Array:
        """Return the observation (n,) with the target at `goal` (3,) m, base frame."""
        assert goal is not None
        state = world.joints
        tip, jacobian = world.tip_and_jacobian()
        error = goal - tip
        # This runs every tick with cold caches; np.clip would cost more than all the rest.
        fine = np.minimum(np.maximum(error, -FINE), FINE)
        return np.concatenate((state.position, state.velocity, tip, jacobian @ state.velocity,
                               error, fine))

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Return a target (3,) m, uniform in the task's box."""
        return rng.uniform(self.low, self.high)

    def tip(self, observation: Array) -> Array:
        """Return the tip (..., 3) m of observations."""
        return observation[..., self._tip]

    def target(self, observation: Array) -> Array:
        """Return the target (..., 3) m of observations."""
        return observation[..., self._tip] + observation[..., self._error]

    def tip_error(self, observation: Array) -> Array:
        """Return the distance between tip and target, (...) m."""
        return np.asarray(np.linalg.norm(observation[..., self._error], axis=-1))

    def reward(self, before: Array, action: Array, after: Array) -> Array:
        """
        Return the reward (...) of transitions: at most 0, about -1 at a tip error of 50 cm.

        -log(1 + e / 5 mm) / log(1 + 50 cm / 5 mm), which still rewards the last millimetre, minus
        0.01 times the mean squared action.
        """
        effort = 0.01 * np.mean(np.square(action), axis=-1)
        return np.asarray(self.potential(after) - effort)

    def potential(self, observation: Array) -> Array:
        """
        Return the logarithmic closeness (...): 0 at the target, -1 at a tip error of 50 cm.

        A learner may use it for potential-based shaping. This does not change the optimal policy
        (Ng, Harada and Russell 1999), and the critic need not learn what depends on the state
        alone.
        """
        error = self.tip_error(observation)
        return np.asarray(-np.log1p(error / REWARD_SCALE) / np.log1p(REWARD_RANGE / REWARD_SCALE))

    def costs(self, after: Array, action: Array) -> Mapping[str, Array]:
        """Return the cost terms of the zones, see `zone_costs`."""
        return zone_costs(self.robot, self.tip(after), after[..., self._tip_velocity])

    def hindsight(self, observation: Array, achieved: Array,
                  rng: np.random.Generator) -> Array:
        """
        Return targets (B, 3) m near the achieved tips, NaN if outside the task's box.

        :param achieved: (B, n) observations of the same episodes
        """
        goals = self.tip(achieved) + rng.normal(scale=HINDSIGHT_NOISE, size=(len(achieved), 3))
        outside = np.any((goals < self.low) | (goals > self.high), axis=-1)
        goals[outside] = np.nan
        return goals

    def relabel(self, observation: Array, goal: Array) -> Array:
        """Return observations (..., n) as they would be with targets (..., 3) m."""
        relabelled = np.array(observation, dtype=np.float64)
        error = goal - self.tip(relabelled)
        relabelled[..., self._error] = error
        relabelled[..., self._fine] = np.clip(error, -FINE, FINE)
        return relabelled

    def succeeded(self, observations: Array) -> bool:
        """Return whether an episode's observations (T + 1, n) end with the target held."""
        if len(observations) <= self.horizon:
            return False
        held = self.tip_error(observations[-self.settings.hold:])
        return bool((held < self.settings.tolerance).all())

    def judge(self, episode: Episode) -> Outcome:
        """Return SUCCESS if the target is held at the end of an episode of full length."""
        if episode.outcome is not Outcome.UNLABELLED:
            return episode.outcome
        return Outcome.SUCCESS if self.succeeded(episode.observations) else Outcome.FAILURE

    def metrics(self, episode: Episode) -> Mapping[str, Metric]:
        """Return the tip error at the end, m."""
        return {'tip_error': Metric(float(self.tip_error(episode.observations[-1])), 'm')}

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return a scripted operator: uses both sides of a zone, shakes, and stops short."""
        from spaars_ros.tasks.reach_operator import ScriptedOperator
        return ScriptedOperator(self.robot, self, rng)
