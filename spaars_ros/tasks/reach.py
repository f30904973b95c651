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

"""The task: what is observed, rewarded and costs; shared by every node, free of ROS."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import RobotState
from spaars_ros.robot.checks import check_task
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import TaskSettings
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.zones import distance

Array = NDArray[np.float64]

FINE = 0.05
"""m; beyond this the fine view of the error saturates."""

REWARD_SCALE = 0.005
"""m; the reward is logarithmic in the tip error above about this, linear below."""

HINDSIGHT_NOISE = 0.01
"""m; spread of a relabelled target about where the tip was."""

REWARD_RANGE = 0.5
"""m; tip error at which the reward is -1."""


class ReachTask:
    """
    Bring the tool tip to a target past the keep-out zones and hold it there.

    The observation holds everything that reward and cost need, in physical units, so that a
    recorded run can be scored again:
    joint positions (d) rad, joint velocities (d) rad/s, tip (3) m, tip velocity (3) m/s,
    target - tip (3) m, and the same clipped to +-5 cm (3) m for the last centimetres.
    """

    def __init__(self, robot: Robot, settings: TaskSettings) -> None:
        """Load the kinematics; raises ConfigError where model, robot file and task do not fit."""
        self.robot = robot
        self.settings = settings
        self.horizon = settings.horizon
        self.kinematics = Kinematics(robot)
        check_task(robot, settings, self.kinematics)
        d = len(robot.joints)
        self._tip = slice(2 * d, 2 * d + 3)
        self._tip_velocity = slice(2 * d + 3, 2 * d + 6)
        self._error = slice(2 * d + 6, 2 * d + 9)
        self._torque_limit = np.asarray(robot.limits.torque)
        axes = 'xyz'
        self.observation_names = (
            [f'{joint}.position' for joint in robot.joints]
            + [f'{joint}.velocity' for joint in robot.joints]
            + [f'tip.{a}' for a in axes] + [f'tip_velocity.{a}' for a in axes]
            + [f'error.{a}' for a in axes] + [f'fine_error.{a}' for a in axes])
        self.observation_dim = len(self.observation_names)
        self.constraint_names = [c.name for c in robot.constraints]
        self.constraint_limits = np.asarray([c.limit for c in robot.constraints], dtype=float)

    def observation(self, state: RobotState, goal: Array) -> Array:
        """Return the observation (n,) of a robot state with the target at goal (3,) m."""
        tip, jacobian = self.kinematics.tip_and_jacobian(state.position)
        error = goal - tip
        # Every tick runs this on cold caches, where np.clip costs more than the rest.
        fine = np.minimum(np.maximum(error, -FINE), FINE)
        return np.concatenate((state.position, state.velocity, tip, jacobian @ state.velocity,
                               error, fine))

    def sample_goal(self, rng: np.random.Generator) -> Array:
        """Return a target (3,) m, uniform in the task's box."""
        return rng.uniform(self.settings.target_low, self.settings.target_high)

    def sample_start(self, rng: np.random.Generator) -> Array:
        """Return a start (d,) rad, uniform about home, inside the position limits."""
        low, high = np.asarray(self.robot.limits.position).T
        noise = rng.uniform(-1.0, 1.0, len(self.robot.joints)) * self.settings.start_noise
        return np.clip(np.asarray(self.robot.home) + noise, low, high)

    def tip(self, observation: Array) -> Array:
        """Return the tip (..., 3) m of observations."""
        return observation[..., self._tip]

    def target(self, observation: Array) -> Array:
        """Return the target (..., 3) m of observations."""
        return observation[..., self._tip] + observation[..., self._error]

    def tip_error(self, observation: Array) -> Array:
        """Return the distance of tip and target, (...) m."""
        return np.asarray(np.linalg.norm(observation[..., self._error], axis=-1))

    def reward(self, observation: Array, action: Array, next_observation: Array) -> Array:
        """
        Return the reward (...) of transitions, in [-1.05, 0].

        -log(1 + e / 5 mm) / log(1 + 50 cm / 5 mm), which still rewards the last millimetre,
        less 0.01 of the mean squared action.
        """
        effort = 0.01 * np.mean(np.square(action), axis=-1)
        return np.asarray(self.potential(next_observation) - effort)

    def potential(self, observation: Array) -> Array:
        """
        Return the logarithmic closeness (...) to the target, in [-1, 0].

        A learner may use it for potential-based shaping, which leaves the optimal policy as it is
        (Ng, Harada and Russell 1999) and spares the critic what the state alone decides.
        """
        error = self.tip_error(observation)
        return np.asarray(-np.log1p(error / REWARD_SCALE) / np.log1p(REWARD_RANGE / REWARD_SCALE))

    def cost_terms(self, next_observation: Array, effort: Array) -> dict[str, Array]:
        """Return each cost term (...) of the state reached, 1 where it is violated, else 0."""
        clearance = distance(self.robot.keep_out, self.tip(next_observation))
        speed = np.linalg.norm(next_observation[..., self._tip_velocity], axis=-1)
        near = clearance < self.robot.near_zone
        return {
            'zone_margin': (clearance < self.robot.zone_margin).astype(float),
            'tip_speed': (near & (speed > self.robot.near_speed)).astype(float),
            'torque': (np.abs(effort) >= self._torque_limit).any(axis=-1).astype(float),
        }

    def costs(self, next_observation: Array, effort: Array) -> Array:
        """
        Return the cost (..., C) of the state reached, one column a constraint.

        What the filter did is not in the state: `intervention_costs` of safety/costs.py adds it.
        """
        terms = self.cost_terms(next_observation, effort)
        none = np.zeros(next_observation.shape[:-1])
        columns = [sum((terms[name] for name in c.terms if name in terms), none)
                   for c in self.robot.constraints]
        if not columns:
            return np.zeros((*next_observation.shape[:-1], 0))
        return np.stack([np.asarray(column) for column in columns], axis=-1)

    def hindsight(self, observation: Array, achieved: Array,
                  rng: np.random.Generator) -> Array:
        """
        Return targets (B, 3) about the achieved tips, NaN where outside the task's box.

        :param achieved: (B, n) observations of the same episodes
        """
        goals = self.tip(achieved) + rng.normal(scale=HINDSIGHT_NOISE, size=(len(achieved), 3))
        low, high = np.asarray(self.settings.target_low), np.asarray(self.settings.target_high)
        outside = np.any((goals < low) | (goals > high), axis=-1)
        goals[outside] = np.nan
        return goals

    def relabel(self, observation: Array, goal: Array) -> Array:
        """Return observations (..., n) as they would be with targets (..., 3) m."""
        relabelled = np.array(observation, dtype=np.float64)
        error = goal - self.tip(relabelled)
        relabelled[..., self._error] = error
        relabelled[..., self._error.stop:self._error.stop + 3] = np.clip(error, -FINE, FINE)
        return relabelled

    def succeeded(self, observations: Array) -> bool:
        """Return whether an episode's observations (T + 1, n) end with the target held."""
        if len(observations) <= self.horizon:
            return False
        held = self.tip_error(observations[-self.settings.hold:])
        return bool((held < self.settings.tolerance).all())

    def terminated(self, observation: Array) -> bool:
        """Return whether the episode truly ends here; reaching is held, so it never does."""
        return False
