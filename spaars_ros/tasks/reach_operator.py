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

"""A scripted operator, like a person at a teach pendant: uses both sides, noisy, stops short."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Box
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics

if TYPE_CHECKING:
    from spaars_ros.tasks.reach import ReachTask

Array = NDArray[np.float64]

STOPS_SHORT = (0.02, 0.05)
"""m; how far from the target the operator leaves the tip."""

CLEARANCE = (0.005, 0.08)
"""m; how far from the keep-out margin the operator passes; the low end costs now and then."""

SPEED = (0.14, 0.25)
"""m/s; tip speed of an operator; the fast ones break the limit near the zone."""

ARRIVED = 0.008
"""m; the operator is content this close to where it wants to stop."""

RESTS = 10
"""Ticks after which a content operator ends the recording."""

NOISE = 0.12
"""Standard deviation of the hand's shake, in normalised action; first-order, 0.7 a tick."""


class ScriptedOperator:
    """Steers one episode: past the first keep-out zone on a side of choice, then to the target."""

    def __init__(self, robot: Robot, task: 'ReachTask', rng: np.random.Generator) -> None:
        self.robot = robot
        self.task = task
        self.rng = rng
        self.kinematics = Kinematics(robot)
        self._scale = robot.control.action_scale * np.asarray(robot.limits.velocity)
        self._home = np.asarray(robot.home)
        self._shake = np.zeros(len(self._home))

    def begin(self, observation: Array) -> None:
        """Choose side, speed, clearance and where to stop for a new episode."""
        rng = self.rng
        tip, target = self.task.tip(observation), self.task.target(observation)
        self._shake[:] = 0.0
        self._rested = 0
        self._speed = rng.uniform(*SPEED)
        side = rng.choice([-1.0, 1.0])
        self._waypoints: list[Array] = []
        if self.robot.keep_out:
            zone = self.robot.keep_out[0]
            half = zone.size[1] / 2 if isinstance(zone, Box) else zone.radius
            out = half + self.robot.zone_margin + rng.uniform(*CLEARANCE)
            beside = np.array([zone.centre[0], zone.centre[1] + side * out,
                               (tip[2] + target[2]) / 2])
            self._waypoints.append(beside + np.array([-0.04, 0.0, 0.0]))
            self._waypoints.append(beside + np.array([0.06, 0.0, 0.0]))
        last = self._waypoints[-1] if self._waypoints else tip
        along = (target - last) / max(float(np.linalg.norm(target - last)), 1e-9)
        short = rng.uniform(*STOPS_SHORT)
        aside = rng.normal(size=3)
        aside -= aside.dot(along) * along
        aside /= np.linalg.norm(aside)
        angle = rng.uniform(0.0, np.pi / 3)
        self._waypoints.append(target - short * (np.cos(angle) * along + np.sin(angle) * aside))

    def act(self, observation: Array) -> Array:
        """Return the action (d,) in [-1, 1]."""
        d = len(self._home)
        position = observation[:d]
        tip, jacobian = self.kinematics.tip_and_jacobian(position)
        while len(self._waypoints) > 1 and self._passed(tip):
            self._waypoints.pop(0)
        error = self._waypoints[0] - tip
        gone = float(np.linalg.norm(error))
        gain = 4.0 * gone if len(self._waypoints) == 1 else self._speed
        self._rested = self._rested + 1 if gone < ARRIVED and len(self._waypoints) == 1 else 0
        velocity = error / max(gone, 1e-9) * min(self._speed, gain)
        damped = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + 1e-3 * np.eye(3))
        null = np.eye(d) - damped @ jacobian
        joints = damped @ velocity + null @ (0.5 * (self._home - position))
        self._shake = 0.7 * self._shake + np.sqrt(1 - 0.7 ** 2) * NOISE * self.rng.normal(size=d)
        # The hand shakes with the effort of moving, and less when it rests.
        busy = 0.3 + 0.7 * min(1.0, gone / 0.1)
        return np.clip(joints / self._scale + busy * self._shake, -1.0, 1.0)

    @property
    def done(self) -> bool:
        """Return whether the operator has let go of the pendant."""
        return self._rested >= RESTS

    def _passed(self, tip: Array) -> bool:
        return bool(np.linalg.norm(self._waypoints[0] - tip) < 0.03
                    or tip[0] > self._waypoints[0][0])
