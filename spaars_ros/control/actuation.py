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

"""Conversion of a task's action to joint velocities and channel values, through the filter."""

from dataclasses import dataclass

import numpy as np

from spaars_ros.control.channels import Channels
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.safety.filter import Filtered
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.qp import Objective
from spaars_ros.tasks.spec import AXES
from spaars_ros.tasks.spec import TaskSpec

DAMPING = 1e-4
"""Weight of joint velocities against the twist; bounds them near a singularity."""
REST = 0.3
"""Weight of an axis without a command, which should rest, against one with a command."""
LEVER = 0.3
"""m; converts an angular velocity to a linear one for the weights."""
SLOW = 0.8
"""Share of the tip speed limit near a zone that a held episode may use; the rest is for servos."""
HOMING = 0.5
"""1/s; rate at which the joints that a twist leaves free return to home."""


@dataclass(frozen=True)
class Acted:
    """The action of one tick after the filter."""

    filtered: Filtered
    action: Array
    """(a,) what was executed, normalised like the action."""
    channels: Array
    """(c,) values to publish."""
    share: float = 1.0
    """Share of the change from the last command to the action; 1 where it is not limited."""


class Actuation:
    """
    Convert actions (a,) in [-1, 1] to joint velocities through the filter, and to channel values.

    :param robot: the robot file
    :param spec: action space and channels
    :param safety_filter: the filter that every command passes
    :param kinematics: kinematics of the same robot
    :raises ConfigError: as Kinematics
    """

    def __init__(self, robot: Robot, spec: TaskSpec, safety_filter: SafetyFilter,
                 kinematics: Kinematics) -> None:
        self.width = spec.action_dim
        self.channels = Channels(spec.channels, robot.period)
        self._arm = spec.action
        self._filter, self._kinematics = safety_filter, kinematics
        self._near_speed = robot.near_speed
        if spec.action.space == 'joint_velocity':
            self.scale = robot.control.action_scale * np.asarray(robot.limits.velocity)
            """Meaning of an action of 1: rad/s per joint, or m/s and rad/s per axis."""
        else:
            speeds = dict(zip(AXES, [spec.action.linear] * 3 + [spec.action.angular] * 3))
            self._axes = np.asarray([AXES.index(axis) for axis in spec.action.axes])
            self.scale = np.asarray([speeds[axis] for axis in spec.action.axes])
            self._home = np.asarray(robot.home)
            self._velocity = np.asarray(robot.limits.velocity)
            self._weights = np.full(6, REST)
            self._weights[self._axes] = 1.0
            self._weights[3:] *= LEVER
            self._damping = DAMPING * np.eye(len(robot.joints))

    def apply(self, action: Array, state: RobotState, age: float = 0.0, *,
              ramped: bool = False, slow: bool = False) -> Acted:
        """
        Pass an action (a,) through the filter; like the filter, never raises.

        :param action: (a,) in [-1, 1], arm first, then channels
        :param state: newest measured state
        :param age: s since the state was measured
        :param ramped: start from the last command, within the acceleration limits
        :param slow: limit the tip speed to `SLOW` of the one near a zone
        """
        count, share = len(self.scale), 1.0
        if self._arm.space == 'joint_velocity':
            asked = action[:count] * self.scale
            if slow:
                asked = self._slowed(asked, state)
            if ramped:
                asked, share = self._on_the_way(asked)
            filtered = self._filter.apply(asked, state, age)
            done = filtered.command / self.scale
        else:
            jacobian = self._jacobian(state.position)
            asked, objective = self._nearest(action[:count] * self.scale, jacobian, state)
            if slow:
                asked = self._slowed(asked, state)
                objective = Objective(objective.hessian, objective.hessian @ asked)
            if ramped:
                asked, share = self._on_the_way(asked)
                objective = Objective(objective.hessian, objective.hessian @ asked)
            filtered = self._filter.apply(asked, state, age, objective)
            done = np.clip(jacobian[self._axes] @ filtered.command / self.scale, -1.0, 1.0)
        if not self.channels:
            return Acted(filtered, done, self.channels.values, share)
        if filtered.stop is not None:
            values = self.channels.stop()
        else:
            values = self.channels.take(action[count:])
        return Acted(filtered, np.concatenate((done, np.clip(action[count:], -1.0, 1.0))), values,
                     share)

    def _slowed(self, asked: Array, state: RobotState) -> Array:
        """Return joint velocities (d,) rad/s in the same direction, with a limited tip speed."""
        jacobian = self._kinematics.turn_and_jacobian(state.position)[1]
        speed = float(np.linalg.norm(jacobian[:3] @ asked))
        return asked * min(1.0, SLOW * self._near_speed / max(speed, 1e-12))

    def _on_the_way(self, asked: Array) -> tuple[Array, float]:
        """
        Return the next velocity (d,) rad/s on the straight line from the last command to `asked`.

        Also return the share of the change: 1 where the acceleration limits allow all of it at
        once.
        """
        last, step = self._filter.last, self._filter.limits.step
        change = asked - last
        if not np.isfinite(change).all():
            return asked, 1.0  # the filter rejects it
        share = min(1.0, 1.0 / max(float(np.max(np.abs(change) / step)), 1e-12))
        return last + share * change, share

    def _jacobian(self, position: Array) -> Array:
        """Return the tip's Jacobian (6, d): linear m, angular rad, in the frame of the twist."""
        turn, jacobian = self._kinematics.turn_and_jacobian(position)
        if self._arm.frame == 'tool':
            return np.concatenate((turn.T @ jacobian[:3], turn.T @ jacobian[3:]))
        return jacobian

    def _nearest(self, twist: Array, jacobian: Array, state: RobotState
                 ) -> tuple[Array, Objective]:
        """Return joint velocities (d,) rad/s that best achieve a twist, and their objective."""
        wanted = np.zeros(6)
        wanted[self._axes] = twist
        weighted = self._weights[:, None] * jacobian
        hessian = weighted.T @ weighted + self._damping
        gradient = weighted.T @ (self._weights * wanted) \
            + self._damping @ (HOMING * (self._home - state.position))
        asked = np.linalg.solve(hessian, gradient)
        # The policy did not ask for these speeds: near a singularity a twist is no gross
        # violation.
        fastest = float(np.max(np.abs(asked) / self._velocity))
        if fastest > 1.0:
            asked = asked / fastest
        return asked, Objective(hessian, gradient)
