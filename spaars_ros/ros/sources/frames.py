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

"""Frames of the robot's model, by their names in messages, and quaternions x, y, z, w."""

from collections.abc import Callable

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.ros.sources.kind import SourceError

BASE, TOOL = 'base', 'tool'
WORLDS = (BASE, 'world')
"""Names of the frame of the model's coordinates."""

Pose = tuple[Array, Array]
"""Position (3,) m and rotation (3, 3)."""


class Frames:
    """
    Poses of frames by name, at the newest joint positions.

    :param kinematics: model of the robot
    :param tip: name of the tip in the model, which is the frame `tool`
    :param position: returns joint positions (d,) rad; None before the first
    """

    def __init__(self, kinematics: Kinematics, tip: str,
                 position: Callable[[], Array | None]) -> None:
        self._kinematics = kinematics
        self._tip = tip
        self._position = position

    def name(self, frame: str) -> str:
        """Return the name of a frame in the model; `base` for the base and the world."""
        frame = frame.lstrip('/')
        return BASE if frame in WORLDS else self._tip if frame == TOOL else frame

    def check(self, frame: str) -> None:
        """Raise ConfigError if a frame is unknown; '' is accepted."""
        if frame and self.name(frame) != BASE:
            home = np.zeros(len(self._kinematics.joints))
            self._kinematics.frame(self.name(frame), home)

    def between(self, source: str, target: str) -> Pose:
        """
        Return position (3,) m and rotation (3, 3) of frame `source` in frame `target`.

        :raises SourceError: a frame is unknown, or no state was received yet
        """
        (place, turn), (at, rotation) = self._pose(source), self._pose(target)
        return rotation.T @ (place - at), rotation.T @ turn

    def _pose(self, frame: str) -> Pose:
        name = self.name(frame)
        if name == BASE:
            return np.zeros(3), np.eye(3)
        position = self._position()
        if position is None:
            raise SourceError('NO_STATE', f'frame {frame!r}: where it is is known with the first '
                              'joint_states')
        try:
            return self._kinematics.frame(name, position)
        except ConfigError:
            raise SourceError('UNKNOWN_FRAME', f'frame {frame!r} is neither base nor a site or '
                              "body of the robot's model") from None


def quaternion_product(one: Array, other: Array) -> Array:
    """Return the product (4,) of two quaternions: the rotation `other`, then `one`."""
    u, a = one[:3], one[3]
    v, b = other[:3], other[3]
    return np.append(a * v + b * u + np.cross(u, v), a * b - u @ v)


def quaternion_of(rotation: Array) -> Array:
    """Return the unit quaternion (4,) of a rotation (3, 3), with w >= 0 (Shepperd 1978)."""
    # Divide by the largest of the four, which is never near 0.
    trace = np.trace(rotation)
    four = np.append(2.0 * np.diag(rotation) - trace, trace)
    k = int(np.argmax(four))
    q = np.zeros(4)
    if k == 3:
        q[:] = (rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                rotation[1, 0] - rotation[0, 1], 1.0 + trace)
    else:
        i, j, m = k, (k + 1) % 3, (k + 2) % 3
        q[i] = 1.0 + four[k]
        q[j] = rotation[j, i] + rotation[i, j]
        q[m] = rotation[m, i] + rotation[i, m]
        q[3] = rotation[m, j] - rotation[j, m]
    q /= np.linalg.norm(q)
    return q if q[3] >= 0 else -q
