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

"""Detection of motion that the commands do not cause: a hand, another controller."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.stop import Stop

BEYOND = 0.1
"""Share of the velocity limit by which a joint may be faster than commanded: servo, load,
noise."""
LATEST = 12
"""Periods after which the arm has obeyed a command, or four more than `control.delay`."""
CONFIRMED = 2
"""Consecutive ticks before the motion has an effect; every single tick is marked."""


class ExternalMotion:
    """
    Compare each joint's speed with the commands of the last periods, and with rest.

    A joint that is slower than commanded is held by a load or a contact, which is part of the
    effect of the policy's action. A joint that is faster, or moves the other way, is moved by
    something else.

    :param robot: the robot file
    """

    def __init__(self, robot: Robot) -> None:
        self._joints = robot.joints
        self._period = robot.period
        self._beyond = BEYOND * np.asarray(robot.limits.velocity)
        self._commands = np.zeros((max(LATEST, robot.control.delay + 4) + 1, len(robot.joints)))
        """The last row stays 0: an arm may always rest."""
        self.total = 0
        """Number of ticks with such motion."""
        self.forget()

    def forget(self) -> None:
        """Compare the next state with none: the arm may be moved to another place."""
        self._last: RobotState | None = None
        self._running = 0
        self._blind = False

    def commanded(self, command: Array | None) -> None:
        """Note a command (d,) rad/s; None: something else is meant to move the arm."""
        if command is None:
            self.forget()
            self._blind = True
            return
        self._blind = False
        self._commands[1:-1] = self._commands[:-2]
        self._commands[0] = command

    def moved(self, state: RobotState) -> Stop | None:
        """Return a stop for motion up to this state that the commands do not explain, or None."""
        if self._blind:
            return None
        last, self._last = self._last, state
        if last is None:
            return None
        # Stamps that lie close together jitter.
        time = max((state.stamp_ns - last.stamp_ns) * 1e-9, self._period)
        speed = (state.position - last.position) / time
        over = np.maximum(speed - self._commands.max(axis=0),
                          self._commands.min(axis=0) - speed) - self._beyond
        if not (over > 0.0).any():
            self._running = 0
            return None
        self.total += 1
        self._running += 1
        joint = int(over.argmax())
        return Stop('EXTERNAL_MOTION', float(speed[joint]), float(self._beyond[joint]),
                    f'rad/s of {self._joints[joint]}, further beyond its commands than this: '
                    'something else moves the arm')

    @property
    def confirmed(self) -> bool:
        """Return whether the motion has lasted long enough to have an effect."""
        return self._running >= CONFIRMED
