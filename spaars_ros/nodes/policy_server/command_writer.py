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

"""Publish joint velocities as messages for the controllers of ros2_control."""

import time
from typing import Any
from typing import Union

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from spaars_ros.control.channels import Channels
from spaars_ros.data.schema import Array
from spaars_ros.nodes.policy_server.channel_writer import ChannelWriter
from spaars_ros.robot.config import Robot
from spaars_ros.ros.codecs import encode_command
from spaars_ros.ros.codecs import encode_command_into
from spaars_ros.ros.codecs import encode_trajectory
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.stop import Stop

LEAD = 2.0
"""Periods at full speed: maximum lead of a position command over the measured position."""


class CommandWriter:
    """
    Publish velocity commands through the robot's command interface.

    For position interfaces, the velocity is integrated, starting at the measured position.

    :param interface: forward_velocity, forward_position or joint_trajectory
    :param channels: channels of the task, published with every command
    :param mute: send no command to the arm, because a person guides it by hand
    :param lead: maximum lead of a position command over the measured position in rad; None:
        distance at full speed in `LEAD` periods
    :raises Refused: as `ChannelWriter`
    """

    def __init__(self, node: Node, robot: Robot, interface: str,
                 channels: Channels | None = None, mute: bool = False,
                 lead: float | None = None) -> None:
        self.robot = robot
        self.interface = interface
        self.mute = mute
        kind: type[Union[Float64MultiArray, JointTrajectory]] = (
            JointTrajectory if interface == 'joint_trajectory' else Float64MultiArray)
        self.publisher: 'Publisher[Any]' = node.create_publisher(kind, 'command', QOS['command'])
        self._lower, self._upper = np.asarray(robot.limits.position).T
        self._lead = LEAD * robot.period * np.asarray(robot.limits.velocity) if lead is None \
            else np.full(len(robot.joints), lead)
        self._message = encode_command(np.zeros(len(robot.joints)), 0)
        self._target: Array | None = None
        self._channels = ChannelWriter(node, channels) if channels else None

    @property
    def publishers(self) -> 'list[Publisher[Any]]':
        """Return all publishers."""
        return [self.publisher, *(self._channels.publishers if self._channels else ())]

    def refuse_unheard(self, wait: float) -> None:
        """
        Raise Refused if a channel has no subscriber, for instance a gripper.

        :param wait: s to wait for a driver that is starting
        """
        end = time.monotonic() + wait
        while self._channels is not None and (text := self._channels.unheard()):
            if time.monotonic() >= end:
                raise Refused(text)
            time.sleep(0.02)

    def cause(self) -> Stop | None:
        """Return a stop if a channel has no subscriber any more."""
        text = self._channels.unheard() if self._channels is not None else ''
        return Stop('NO_SUBSCRIBER', 0, 1, text) if text else None

    def start(self) -> None:
        """Restart the integration at the next measured position."""
        self._target = None

    def send(self, velocity: Array, position: Array | None, stamp_ns: int) -> None:
        """
        Publish a velocity command (d,) rad/s.

        :param position: measured position (d,) rad; None if there is none, and then a position
            interface sends nothing
        :param stamp_ns: stamp in ns of the joint_states that the command answers
        """
        if self._channels is not None:
            self._channels.send()
        if self.mute:
            return
        if self.interface == 'forward_velocity':
            self._publish(velocity, stamp_ns)
            return
        if position is None:
            return
        if self._target is None:
            self._target = position
        ahead = np.clip(self._target + velocity * self.robot.period, position - self._lead,
                        position + self._lead)
        self._target = np.clip(ahead, self._lower, self._upper)
        if self.interface == 'forward_position':
            self._publish(self._target, stamp_ns)
        else:
            self.publisher.publish(encode_trajectory(
                self.robot.joints, self._target, velocity, self.robot.period, stamp_ns))

    def _publish(self, values: Array, stamp_ns: int) -> None:
        encode_command_into(self._message, values, stamp_ns)
        self.publisher.publish(self._message)
