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

"""Publisher of a real arm's robot_description and link poses for viewers."""

from collections.abc import Callable
import os
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState

from spaars_ros.interrupts import Interrupts
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.robot_description import RobotDescription

PATIENCE = 10.0
"""s without a position of every joint before a hint is printed."""
LARGEST = 1e6
"""rad; larger values are not accepted as positions."""


class Describer:
    """
    Collector of joint_states, complete or in parts, that forwards complete arm states.

    :param joints: joint names of the robot file
    :param send: called with joint positions (d,) in rad, in the order of `joints`, and the stamp
        in ns
    """

    def __init__(self, joints: list[str], send: Callable[[np.ndarray, int], None]) -> None:
        self._joints, self._send = joints, send
        self._values: dict[str, float] = {}
        self.began = time.monotonic()
        self.sent = 0
        """Number of states that were forwarded."""

    def hear(self, message: JointState) -> None:
        """Take a message; ignore joints of other arms and values that are not finite."""
        self._values.update((name, float(value))
                            for name, value in zip(message.name, message.position)
                            if name in self._joints and abs(value) < LARGEST)
        if len(self._values) == len(self._joints):
            stamp = message.header.stamp
            self._send(np.array([self._values[name] for name in self._joints]),
                       stamp.sec * NANO + stamp.nanosec)
            self.sent += 1

    def missing(self) -> list[str]:
        """Return the joints of which no position has been received."""
        return [name for name in self._joints if name not in self._values]


def describe(namespace: str, *, robot: str, joint_states: str, say: Callable[[str], None],
             interrupts: Interrupts) -> None:
    """
    Publish robot_description, link poses and (with tf2_msgs) /tf until interrupted.

    :param robot: robot file, or the name of a shipped one
    :param joint_states: topic of the joint states
    :param say: prints a line for the operator
    :raises ConfigError: the robot file cannot be used
    """
    arm = load_robot(robot)
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--disable-external-lib-logs'], context=context)
    node = rclpy.create_node(f'describer_{os.getpid()}', namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        description = RobotDescription(node, arm)
        heard = Describer(arm.joints, description.send)
        node.create_subscription(JointState, joint_states, heard.hear, QOS['joint_states'])
        say(f'{arm.name}: robot_description, link_poses'
            + (' and /tf' if description.has_tf else '; /tf needs the package tf2_msgs'))
        asked = False
        with interrupts.deferred():
            while not interrupts.requested:
                executor.spin_once(timeout_sec=0.1)
                if not asked and heard.missing() and time.monotonic() - heard.began > PATIENCE:
                    asked = True
                    say(f'nothing heard of {", ".join(heard.missing())} on {joint_states}: give '
                        '--joint-states, --namespace or --domain')
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.shutdown(context=context)
