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

"""Publish what a viewer needs to draw the arm: robot_description and the poses of the links."""

from importlib.util import find_spec
import time
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from std_msgs.msg import String

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.links import Links
from spaars_ros.robot.links import Transform
from spaars_ros.robot.urdf import description_of
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.qos import QOS

PERIOD = 0.1
"""s of wall time between two publications of the poses."""


class RobotDescription:
    """
    Publisher of robot_description (latched) and, while there are subscribers, of link poses.

    The poses are published on /tf if tf2_msgs is installed, and on `link_poses` with one
    geometry_msgs/TransformStamped per link, which needs no further package. Foxglove reads both.
    The frames are the bodies of the model, `base` and `tip`, prefixed with the namespace.

    :param robot: robot to describe
    """

    def __init__(self, node: Node, robot: Robot) -> None:
        kinematics = Kinematics(robot)
        self._links = Links(kinematics)
        space = node.get_namespace().strip('/')
        self._prefix = f'{space}/' if space else ''
        self._text = String(data=description_of(robot, kinematics))
        description = node.create_publisher(String, 'robot_description',
                                            QOS['robot_description'])
        description.publish(self._text)
        self._poses = node.create_publisher(TransformStamped, 'link_poses', QOS['link_poses'])
        self._tf: Any = None
        if find_spec('tf2_msgs') is not None:
            from tf2_msgs.msg import TFMessage
            self._tf = node.create_publisher(TFMessage, '/tf', QOS['/tf'])
        self.made: list[Any] = [description, self._poses, *([self._tf] if self._tf else [])]
        """Publishers that were created."""
        self._sent = 0.0

    @property
    def has_tf(self) -> bool:
        """Return whether /tf is published, that is, tf2_msgs is installed."""
        return self._tf is not None

    def send(self, position: Array, stamp_ns: int) -> None:
        """Publish the link poses at joint positions (d,) rad, if due and subscribed to."""
        now = time.monotonic()
        if now - self._sent < PERIOD:
            return
        self._sent = now
        poses = self._poses.get_subscription_count() > 0
        tf = self._tf is not None and self._tf.get_subscription_count() > 0
        if not poses and not tf:
            return
        messages = [self._message(each, stamp_ns) for each in self._links.at(position)]
        if poses:
            for message in messages:
                self._poses.publish(message)
        if tf:
            from tf2_msgs.msg import TFMessage
            self._tf.publish(TFMessage(transforms=messages))

    def _message(self, one: Transform, stamp_ns: int) -> TransformStamped:
        message = TransformStamped()
        seconds, rest = divmod(max(stamp_ns, 0), NANO)
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, rest
        message.header.frame_id = self._prefix + one.parent
        message.child_frame_id = self._prefix + one.child
        where, turn = message.transform.translation, message.transform.rotation
        where.x, where.y, where.z = one.position.tolist()
        turn.w, turn.x, turn.y, turn.z = one.turn.tolist()
        return message
