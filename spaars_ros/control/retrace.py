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

"""Retrace the path of the episode to return to the start pose, if nothing else resets it."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.stop import Stop

PASSED = 0.05  # rad: a waypoint is passed when every joint is within this distance
ARRIVED = 0.01  # rad: the first waypoint is reached within this distance
GAIN = 2.0  # 1/s
SHARE = 0.2  # share of the velocity limits


class Retrace:
    """
    Joint velocities that retrace the positions of an episode, last position first.

    The path was free when the arm took it; nothing else is known about it.

    :param robot: the robot file
    :param path: positions (d,) rad in the order in which they were passed
    :param patience: s for the retrace, in addition to twice the duration of the path
    :param start: (d,) rad, present position if it is not the end of the path: the retrace begins
        at the path's nearest position
    """

    def __init__(self, robot: Robot, path: Sequence[Array], *, patience: float = 20.0,
                 start: Array | None = None) -> None:
        self._path = list(path)
        if start is not None and self._path:
            away = [float(np.linalg.norm(position - start)) for position in self._path]
            del self._path[int(np.argmin(away)) + 1:]
        self._speed = SHARE * np.asarray(robot.limits.velocity)
        self._patience = round(patience * robot.control.rate) + 2 * len(self._path)
        self._ticks = 0

    def command(self, state: RobotState) -> Array | None:
        """Return the velocity (d,) rad/s for a state, None on arrival."""
        self._ticks += 1
        while len(self._path) > 1 and self._distance(state) < PASSED:
            self._path.pop()
        if not self._path or (len(self._path) == 1 and self._distance(state) < ARRIVED):
            return None
        velocity = GAIN * (self._path[-1] - state.position)
        # One factor for all joints, so that the arm stays on the straight line to the waypoint.
        return np.asarray(velocity / max(1.0, float(np.max(np.abs(velocity) / self._speed))))

    @property
    def remaining(self) -> list[Array]:
        """Return the remaining path, positions (d,) rad in the order in which they were passed."""
        return list(self._path)

    def stuck(self) -> Stop | None:
        """Return a stop when the retrace takes too long, else None."""
        if self._ticks <= self._patience:
            return None
        return Stop('RETRACE_STUCK', self._ticks, self._patience, 'ticks on the way back')

    def _distance(self, state: RobotState) -> float:
        return float(np.max(np.abs(self._path[-1] - state.position)))
