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

"""Node of a simulated operator, who takes over through the same topics as a real one."""

from collections.abc import Callable
import os
import time
from typing import Any

from geometry_msgs.msg import TwistStamped
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.interrupts import Interrupts
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.qos import QOS
from spaars_ros.run.teleop import COUNT
from spaars_ros.run.teleop import DEAD_MAN
from spaars_ros.run.teleop import RATE
from spaars_ros.sim.person import as_command
from spaars_ros.sim.person import SimulatedPerson
from spaars_ros.tasks.base import Task

GONE = 0.5
"""s without a record after which the dead man's switch is released."""
RELEASES = 3
"""Number of messages with the released switch that are sent at the end."""


class PersonNode:
    """
    Node that reads the records of a run and takes over as `SimulatedPerson` decides.

    It does not command channels: a real operator closes the gripper with a button.
    """

    def __init__(self, namespace: str, task: Task, seed: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(args=['--ros-args', '--disable-external-lib-logs'], context=self._context)
        self.node: Any = rclpy.create_node(f'person_{os.getpid()}', namespace=namespace,
                                           context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._task = task
        self.person = SimulatedPerson(task, np.random.default_rng(seed))
        self._reader = StepReader(observation=task.observation_dim)
        self._newest, self._episode, self._heard = -1, -1, -np.inf
        self._asked: Array | None = None
        self._sent = 0.0
        self._border = Border(self.node.get_logger())
        self._twist = self.node.create_publisher(TwistStamped, 'teleop/twist',
                                                 QOS['teleop/twist'])
        self._velocity = self.node.create_publisher(
            Float64MultiArray, 'teleop/joint_velocity', QOS['teleop/joint_velocity'])
        self._joy = self.node.create_publisher(Joy, 'joy', QOS['joy'])
        self.node.create_subscription(
            Float64MultiArray, 'policy_server/step',
            self._border.guarded('policy_server/step', self._hear), QOS['policy_server/step'])

    def _hear(self, message: Float64MultiArray) -> None:
        schema, row = self._reader.read(message)
        sequence = int(schema.get(row, 'sequence'))
        if sequence <= self._newest:
            return  # resent for a learner that missed it
        self._newest, self._heard = sequence, time.monotonic()
        episode = int(schema.get(row, 'episode'))
        if episode != self._episode:
            self._episode = episode
            self.person.begin()
        if schema.get(row, 'flag') != Flag.RUNNING:
            self._asked = None
            self.person.begin()
        else:
            self._asked = self.person.see(row[schema.fields['observation']])
        self._send()

    def spin(self) -> None:
        """Handle messages and publish the present request at `RATE`."""
        self._executor.spin_once(timeout_sec=1.0 / RATE)
        now = time.monotonic()
        if now - self._heard > GONE:
            self._asked = None
        if now - self._sent >= 1.0 / RATE:
            self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        stamp = self.node.get_clock().now().to_msg()
        joy = Joy(axes=[0.0] * 6, buttons=[int(place == DEAD_MAN and self._asked is not None)
                                           for place in range(COUNT)])
        joy.header.stamp, joy.header.frame_id = stamp, 'simulated person'
        self._joy.publish(joy)
        if self._asked is None:
            return
        asked = as_command(self._task, self._asked)
        if asked.frame is None:
            array = Float64MultiArray(data=asked.values.tolist())
            array.layout.dim = [MultiArrayDimension(label='velocity', size=len(asked.values),
                                                    stride=len(asked.values))]
            self._velocity.publish(array)
            return
        msg = TwistStamped()
        msg.header.stamp, msg.header.frame_id = stamp, asked.frame
        linear, angular = msg.twist.linear, msg.twist.angular
        (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z) = asked.values.tolist()
        self._twist.publish(msg)

    def close(self) -> None:
        """Release the switch and destroy the node."""
        self._asked = None
        for _ in range(RELEASES):
            self._send()
            time.sleep(0.03)
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


def simulate(namespace: str, task: Task, seed: int, *, say: Callable[[str], Any],
             interrupts: Interrupts) -> None:
    """
    Take over where the policy fails, until interrupted.

    :raises ConfigError: the task has no simulated operator
    """
    node = PersonNode(namespace, task, seed)
    try:
        say(f'a simulated person watches {task.name}, and takes over where there is no progress')
        told = 0
        with interrupts.deferred():
            while not interrupts.requested:
                node.spin()
                if node.person.takeovers != told:
                    told = node.person.takeovers
                    say(f'takeover {told}')
    finally:
        node.close()
