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

"""Publish the state of the arm as JointState, in one message or split as some robots do."""

from array import array
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.codecs import NANO

FINGERS = ('left_finger_joint', 'right_finger_joint')
"""Joints of a gripper, which no robot file names."""


def time_of(stamp_ns: int) -> Time:
    """Return a stamp in ns as a Time message; a negative one as 0."""
    seconds, nanoseconds = divmod(max(stamp_ns, 0), NANO)
    return Time(sec=seconds, nanosec=nanoseconds)


class StateWriter:
    """
    Publish states of d joints.

    :param joints: joint names, d of them
    """

    def __init__(self, publisher: 'Publisher[Any]', joints: Sequence[str]) -> None:
        self.split = 0
        """Number of joints in the first of two messages; 0 or d for one message."""
        self.gripper = False
        """Whether the joints of a gripper are published in separate messages."""
        self._publisher = publisher
        self._joints = list(joints)
        # The message is reused: a new one per state is slower.
        self._message = JointState(name=self._joints)
        nothing = np.zeros(len(FINGERS))
        self._fingers = encode_state(RobotState(0, nothing, nothing, nothing), FINGERS)

    def send(self, state: RobotState) -> None:
        """Publish a state."""
        if 0 < self.split < len(self._joints):
            for part in (slice(None, self.split), slice(self.split, None)):
                self._publisher.publish(encode_state(
                    RobotState(max(state.stamp_ns, 0), state.position[part], state.velocity[part],
                               state.effort[part]), self._joints[part]))
        else:
            msg = self._message
            msg.header.stamp = time_of(state.stamp_ns)
            msg.position = _doubles(state.position)
            msg.velocity = _doubles(state.velocity)
            msg.effort = _doubles(state.effort)
            self._publisher.publish(msg)
        if self.gripper:
            self._fingers.header.stamp = time_of(state.stamp_ns)
            self._publisher.publish(self._fingers)


def _doubles(values: Array) -> 'array[float]':
    return array('d', values.tobytes())
