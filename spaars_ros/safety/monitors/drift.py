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

"""Monitor that positions agree with integrated velocities and commands, over seconds."""

from collections import deque

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.stop import Stop

SPAN = 3.0
"""s of motion that are compared."""
APART = 0.1
"""s between two kept states."""
GONE = 0.5
"""s without a state after which the comparison starts again."""
SLACK = 0.12
"""s at the velocity limit: the first part of the allowed difference of position and integral."""
SHARE = 0.15
"""Share of the integrated path: the second part, for filtered velocities and servo overshoot."""
LATEST = 12
"""Periods after which the arm has obeyed a command, or four more than `control.delay`."""
PUSHED = 0.1
"""Share of the velocity limit; faster uncommanded motion is a hand's: see `external`."""


class DriftWatch:
    """
    Compare each joint's motion with the integral of its velocities and of its commands.

    A position that drifts slowly from the truth is no spike and no mismatch within one period, and
    it violates no position limit. Over `SPAN` the change of position may differ from the integral
    of the measured velocity by `SLACK` at the velocity limit plus `SHARE` of the path. The same
    amount may add up, in one direction, of motion that neither the commands of the last periods
    nor rest explain. Faster motion is a hand's, which another monitor detects. Reconstructed here.

    :param robot: the robot file
    """

    def __init__(self, robot: Robot) -> None:
        self._joints = robot.joints
        self._period = robot.period
        self._measured = robot.velocity == 'measured'
        limits = np.asarray(robot.limits.velocity)
        self._slack, self._pushed = SLACK * limits, PUSHED * limits
        self._commands = np.zeros((max(LATEST, robot.control.delay + 4) + 1, len(robot.joints)))
        """The last row stays 0: an arm may always rest."""
        self._blind = False
        self.forget()

    def forget(self) -> None:
        """Discard all earlier states: the arm was moved by something else."""
        self._last: RobotState | None = None
        zero = np.zeros(len(self._joints))
        self._velocity, self._way, self._beyond = zero, zero, zero
        self._kept: deque[tuple[float, Array, Array, Array, Array]] = deque()

    def commanded(self, command: Array | None) -> None:
        """Note a command (d,) rad/s; None: something else is meant to move the arm."""
        self._blind = command is None
        if command is None:
            self.forget()
            return
        self._commands[1:-1] = self._commands[:-2]
        self._commands[0] = command

    def take(self, state: RobotState) -> Stop | None:
        """Return a stop for a state that other monitors accept, or None; call once per tick."""
        if self._blind:
            return None
        last, self._last = self._last, state
        time = state.stamp_ns * 1e-9
        if last is None or not 0.0 < time - last.stamp_ns * 1e-9 < GONE:
            self.forget()
            self._last = state
            self._keep(time, state.position)
            return None
        passed = time - last.stamp_ns * 1e-9
        mean = 0.5 * (last.velocity + state.velocity)
        moved = state.position - last.position
        self._velocity = self._velocity + mean * passed
        self._way = self._way + np.abs(mean) * passed
        stood = max(passed, self._period)
        asked = np.minimum(np.maximum(moved, self._commands.min(axis=0) * stood),
                           self._commands.max(axis=0) * stood)
        over = moved - asked
        self._beyond = self._beyond + np.where(np.abs(over) > self._pushed * stood, 0.0, over)
        found = self._judge(state.position)
        if time - self._kept[-1][0] >= APART:
            self._keep(time, state.position)
        return found

    def _keep(self, time: float, position: Array) -> None:
        self._kept.append((time, position, self._velocity, self._way, self._beyond))
        while time - self._kept[0][0] > SPAN:
            self._kept.popleft()

    def _judge(self, position: Array) -> Stop | None:
        _, began, velocity, way, beyond = self._kept[0]
        bound = self._slack + SHARE * (self._way - way)
        apart = position - began - (self._velocity - velocity)
        for error, what in ((apart, 'measured velocities'), (self._beyond - beyond, 'commands')):
            if what == 'measured velocities' and not self._measured:
                continue
            if (np.abs(error) > bound).any():
                joint = int((np.abs(error) / bound).argmax())
                return Stop('DRIFT', float(error[joint]), float(bound[joint]),
                            f'rad within {SPAN:g} s between the position of '
                            f'{self._joints[joint]} and what its {what} add up to: see its '
                            'encoder, its zero and its brake')
        return None
