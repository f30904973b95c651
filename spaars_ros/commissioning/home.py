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

"""Slow motion to the home position through the safety filter, from any position."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.filter import SafetyFilter

SPEED = 0.2
"""rad/s of the joint with the longest motion, or a tenth of its limit where that is less."""
NEAR = 0.01
"""rad from home that count as arrived."""
PATIENCE = 3.0
"""s without getting nearer after which the motion counts as blocked."""


class HomeMotion:
    """
    Motion of all joints on a straight line to home, as far as the filter allows.

    Call `tick` with a measurement once per period until `done`.

    :param robot: the robot file
    """

    def __init__(self, robot: Robot) -> None:
        self.blocked = ''
        """Why the arm did not get home, '' when it did."""
        self.done = False
        self.astray = False
        self._robot = robot
        self._home = np.asarray(robot.home)
        self._speed = np.minimum(SPEED, 0.1 * np.asarray(robot.limits.velocity))
        self._filter: SafetyFilter | None = None
        self._best, self._since = np.inf, 0.0

    def tick(self, position: Array, velocity: Array, now: float) -> Array:
        """
        Return the command (d,) rad/s after a measurement.

        :param position: (d,) rad
        :param velocity: (d,) rad/s as reported, NaN where it is not
        :param now: s on a steady clock
        """
        state = RobotState(0, position, np.where(np.isfinite(velocity), velocity, 0.0),
                           np.zeros(len(position)))
        if self._filter is None:
            self._filter = SafetyFilter(self._robot)
            self._filter.reset(state)
            self._since = now
        error = self._home - position
        left = float(np.abs(error).max())
        if left < self._best - NEAR / 2:
            self._best, self._since = left, now
        if now - self._since > PATIENCE and left > NEAR:
            joint = self._robot.joints[int(np.abs(error).argmax())]
            self.blocked = (f'the way home is blocked {left:.2f} rad before it ({joint}): a zone, '
                            'a limit or another link is in the way; move the arm by hand')
        if left <= NEAR or self.blocked:
            self.done = self._filter.at_rest
            return self._filter.brake().command
        # All joints arrive together, and slow down over the last second.
        longest = float((np.abs(error) / self._speed).max())
        return self._filter.apply(error / max(longest, 1.0), state).command
