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

"""Hand guiding: a hand moves the arm in the robot's own free-drive; its motion is the action."""

import numpy as np

from spaars_ros.control.person import Wish
from spaars_ros.control.takeover import Takeover
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot

MOVES = 0.02
"""Share of the velocity limit: a faster joint is moved by a hand, a slower one only trembles."""


class Guiding:
    """
    Compute actions from measured motion, and detect start and end of the hand's motion.

    :param robot: the robot file
    :param takeover: converts joint velocities to the task's actions
    :param rest: s without motion after which a demonstration has ended; 0 for never
    """

    def __init__(self, robot: Robot, takeover: Takeover, rest: float) -> None:
        self._takeover, self._rest, self._period = takeover, rest, robot.period
        self._least = MOVES * np.asarray(robot.limits.velocity)
        self._last: RobotState | None = None
        self._moved_ns = 0
        self.moving = False
        """Whether the newest state shows motion."""
        self.fast = 0
        """Number of ticks in which the hand was faster than the task's largest action."""

    @property
    def rested(self) -> bool:
        """Return whether the arm has rested for so long that the demonstration is over."""
        return self._last is not None and self._rest > 0.0 \
            and (self._last.stamp_ns - self._moved_ns) * 1e-9 > self._rest

    def begin(self, state: RobotState) -> None:
        """Begin a demonstration."""
        self._moved_ns = state.stamp_ns

    def saw(self, state: RobotState) -> None:
        """Take a measured state."""
        last, self._last = self._last, state
        if last is None or state.stamp_ns <= last.stamp_ns:
            return
        self.moving = bool((np.abs(self._velocity(last, state)) > self._least).any())
        if self.moving:
            self._moved_ns = state.stamp_ns

    def action(self, before: RobotState, after: RobotState) -> tuple[Array, Mode]:
        """
        Return the action (a,) that led from one state to the next, and its mode.

        The mode is NONE where neither arm nor gripper moved: a pause must not be learned. Motion
        that is faster than the largest action is reduced to it in the same direction.
        """
        velocity = self._velocity(before, after)
        asked = bool(self._takeover.person.channels)
        action = self._takeover.action_of(Wish(velocity, None, 0.0), before)
        self.fast += bool(np.abs(action[:self._takeover.width]).max() > 1.0 - 1e-9)
        led = asked or bool((np.abs(velocity) > self._least).any())
        return action, Mode.HUMAN if led else Mode.NONE

    def _velocity(self, before: RobotState, after: RobotState) -> Array:
        time = max((after.stamp_ns - before.stamp_ns) * 1e-9, 0.1 * self._period)
        return np.asarray((after.position - before.position) / time)
