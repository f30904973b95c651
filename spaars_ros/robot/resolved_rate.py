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

"""Joint velocities for a desired tip velocity: damped least squares within the joint limits."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics

Array = NDArray[np.float64]

DAMPING = 0.04
"""Damping, as a fraction of the Jacobian's Frobenius norm."""

HOMEWARD = 0.5
"""1/s; gain of the null-space motion towards home."""

STEP = 0.1
"""Greatest tip displacement per step of `solve`, as a fraction of the arm's reach."""

STEPS = 120
"""Greatest number of steps of `solve`."""

TIME = 0.05
"""s; duration of one step of `solve`, which scales its null-space motion."""


class ResolvedRate:
    """
    Resolved motion rate control (Whitney 1969) with damping (Wampler 1986) and joint limits.

    A joint that is at a limit and would move beyond it is left out; the other joints compensate.
    The result does not depend on the arm's size, since the damping is relative to its Jacobian.
    """

    def __init__(self, robot: Robot, kinematics: Kinematics) -> None:
        self.kinematics = kinematics
        self.home = np.asarray(robot.home)
        self.lower, self.upper = (np.asarray(robot.limits.position).T
                                  + robot.limits.margin * np.array([[1.0], [-1.0]]))
        self.reach = kinematics.reach(robot)[1]
        """m, upper bound of the distance between the tip and the first joint."""

    def joints(self, position: Array, tip_velocity: Array) -> Array:
        """Return joint velocities (d,) rad/s for a tip velocity (3,) m/s at positions (d,) rad."""
        _, jacobian = self.kinematics.tip_and_jacobian(position)
        homeward = HOMEWARD * (self.home - position)
        free = np.ones(len(position), dtype=bool)
        velocity = np.zeros(len(position))
        for _ in range(len(position)):
            part = jacobian * free
            damping = DAMPING * float(np.linalg.norm(part)) + 1e-9
            inverse = part.T @ np.linalg.inv(part @ part.T + damping ** 2 * np.eye(3))
            null = np.diag(free.astype(float)) - inverse @ part
            velocity = inverse @ tip_velocity + null @ homeward
            out = free & (((position <= self.lower) & (velocity < 0.0))
                          | ((position >= self.upper) & (velocity > 0.0)))
            if not out.any():
                break
            free &= ~out
        return np.where(free, velocity, 0.0)

    def stepped(self, position: Array, way: Array) -> Array:
        """Return the joint positions (d,) rad after a small tip displacement (3,) m."""
        motion = TIME * self.joints(position, way / TIME)
        return np.asarray(np.clip(position + motion, self.lower, self.upper))

    def solve(self, target: Array, position: Array, within: float) -> Array | None:
        """
        Return joint positions (d,) rad with the tip at a target, or None if none were found.

        :param target: (3,) m, base frame
        :param position: (d,) rad, initial joint positions
        :param within: m, allowed distance from the target
        """
        for _ in range(STEPS):
            error = target - self.kinematics.tip(position)
            gone = float(np.linalg.norm(error))
            if gone <= within:
                return position
            position = self.stepped(position, error * min(1.0, STEP * self.reach / gone))
        return None
