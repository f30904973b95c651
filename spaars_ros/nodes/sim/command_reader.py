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

"""Decode `command` as the controller of a robot does."""

from array import array
from collections.abc import Sequence
from typing import Union

import numpy as np
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from spaars_ros.data.schema import Array
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import decode_command


class CommandReader:
    """
    Convert commands of any command interface to joint velocities.

    :param joints: joint names, expected in a trajectory
    :param interface: forward_velocity, forward_position or joint_trajectory
    :param period: s in which a commanded position is reached
    """

    def __init__(self, joints: Sequence[str], interface: str, period: float) -> None:
        self._joints = list(joints)
        self._interface = interface
        self._period = period
        self.kind: type = JointTrajectory if interface == 'joint_trajectory' \
            else Float64MultiArray

    def velocity(self, msg: Union[Float64MultiArray, JointTrajectory], position: Array) -> Array:
        """
        Return joint velocities (d,) rad/s; raises CodecError.

        :param position: joint positions (d,) rad of the arm
        """
        if isinstance(msg, JointTrajectory):
            if list(msg.joint_names) != self._joints or not msg.points:
                raise CodecError('WRONG_JOINTS', f'{list(msg.joint_names)} with '
                                 f'{len(msg.points)} points, expected {self._joints}')
            msg = Float64MultiArray(data=array('d', msg.points[0].positions))
        values = decode_command(msg, len(self._joints))
        if self._interface == 'forward_velocity':
            return values
        return np.asarray((values - position) / self._period)
