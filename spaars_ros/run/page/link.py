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

"""ROS node of the page: subscriptions, service calls, parameters and takeover commands."""

from collections.abc import Callable
from collections.abc import Sequence
import os
import threading
import time
from typing import Any

from geometry_msgs.msg import TwistStamped
import numpy as np
from rcl_interfaces.msg import ParameterType
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import HistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import JointState
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension
from std_srvs.srv import Trigger

from spaars_ros.data.schema import Array
from spaars_ros.ros.diagnostics import printable
from spaars_ros.ros.qos import QOS
from spaars_ros.run.operator import learner_of

STEPS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1000,
                   reliability=ReliabilityPolicy.BEST_EFFORT)
"""QoS of the step records: best effort, so that no publisher waits for a page that hangs."""
SERVICES = ('estop', 'reset', 'rollback', 'label_success', 'label_failure', 'label_discard',
            'label_ready')
"""Services of the policy server that the page calls."""
PATIENCE = 5.0
"""s for a service to respond."""
BUTTONS = 8
DEAD_MAN = 4
"""Index of the dead man's button, as in the default parameters of the policy server."""

Answer = Callable[[bool, str], None]


def told(value: Any) -> str:
    """Return the text of a parameter's value for the page."""
    return f'{value:g}' if isinstance(value, float) else str(value).lower()


class Link:
    """
    ROS node, spun by a separate thread; calls from other threads never block.

    :param namespace: namespace of the run
    """

    def __init__(self, namespace: str) -> None:
        self._context = rclpy.Context()
        rclpy.init(args=['--ros-args', '--disable-external-lib-logs'], context=self._context)
        self.node: Node = rclpy.create_node(f'page_{os.getpid()}', namespace=namespace,
                                            context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.place = namespace.strip('/')
        self._clients: dict[str, Any] = {
            name: self.node.create_client(Trigger, f'policy_server/{name}')
            for name in SERVICES}
        self._parameters: dict[str, Any] = {
            name: AsyncParameterClient(self.node, name)
            for name in ('policy_server', 'cost_monitor', 'learner')}
        self._twist = self.node.create_publisher(TwistStamped, 'teleop/twist',
                                                 QOS['teleop/twist'])
        self._velocity = self.node.create_publisher(
            Float64MultiArray, 'teleop/joint_velocity', QOS['teleop/joint_velocity'])
        self._joy = self.node.create_publisher(Joy, 'joy', QOS['joy'])
        self._joints: Sequence[str] = ()
        self.position: Array | None = None
        """Newest joint positions (d,) in rad, None before the first joint state."""
        self.heard = 0.0
        """Time at which they were received, s on the monotonic clock."""
        self._ending = False
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def start(self) -> None:
        """Start to spin the node."""
        self._thread.start()

    def _spin(self) -> None:
        while not self._ending:
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """Stop spinning and destroy the node."""
        self._ending = True
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    # Listening

    def listen_to_joints(self, names: Sequence[str], topic: str) -> None:
        """Subscribe to the positions of joints; partial messages are merged."""
        self._joints = names
        values: dict[str, float] = {}

        def hear(msg: JointState) -> None:
            values.update((name, float(value)) for name, value in zip(msg.name, msg.position)
                          if name in self._joints and abs(value) < 1e6)
            if len(values) == len(self._joints):
                self.position = np.array([values[name] for name in self._joints])
                self.heard = time.monotonic()
        self.node.create_subscription(JointState, topic, hear, QOS['joint_states'])

    # Asking

    def trigger(self, service: str, answer: Answer) -> None:
        """Call a service of the policy server; `answer` gets success and message."""
        client = self._clients[service]
        if not client.service_is_ready():
            answer(False, f'{self.server} does not answer')
            return
        future = client.call_async(Trigger.Request())
        self._after(future, lambda: answer(bool(future.result().success),
                                           printable(future.result().message)), answer)

    def read(self, node: str, names: Sequence[str],
             take: Callable[[dict[str, Any]], None]) -> None:
        """Request parameters of a node; `take` gets name -> value of those that are set."""
        client = self._client_of(node)
        if client is None:
            return
        future = client.get_parameters(list(names))

        def done() -> None:
            values = future.result().values
            take({name: rclpy.parameter.parameter_value_to_python(value)
                  for name, value in zip(names, values)
                  if value.type != ParameterType.PARAMETER_NOT_SET})
        self._after(future, done, lambda good, text: None)

    def write(self, node: str, name: str, value: Any, answer: Answer) -> None:
        """Set a parameter of a node; `answer` gets success and message."""
        client = self._client_of(node)
        if client is None:
            answer(False, f'{node} does not answer')
            return
        future = client.set_parameters([Parameter(name, value=value)])

        def done() -> None:
            result = future.result().results[0]
            answer(bool(result.successful),
                   printable(result.reason) or f'{name} is set to {told(value)}')
        self._after(future, done, answer)

    def _client_of(self, node: str) -> Any:
        """Return the parameter client of a node, None while its services are not available."""
        if node == 'learner' and not self._parameters[node].services_are_ready():
            # The learner of a fleet is in another namespace.
            name = learner_of(self.node)
            if name and name not in self._parameters:
                self._parameters[name] = AsyncParameterClient(self.node, name)
            node = name or node
        client = self._parameters[node]
        return client if client.services_are_ready() else None

    def _after(self, future: Any, done: Callable[[], None], answer: Answer) -> None:
        """Call `done` when a future is done, or `answer` with a failure after `PATIENCE` s."""
        def none_came() -> None:
            if not future.done():
                answer(False, f'no answer within {PATIENCE:g} s')
        late = threading.Timer(PATIENCE, none_came)
        late.daemon = True
        late.start()

        def came(_: Any) -> None:
            late.cancel()
            done()
        future.add_done_callback(came)

    @property
    def server(self) -> str:
        """Return the full name of the policy server."""
        return f'/{self.place}/policy_server' if self.place else '/policy_server'

    # Driving

    def drive(self, *, twist: Array | None = None, velocity: Array | None = None) -> None:
        """
        Publish a held dead man's switch and a command; without a command, a released switch.

        :param twist: twist (6,) in m/s and rad/s, base frame
        :param velocity: joint velocities (d,) in rad/s
        """
        stamp: Any = self.node.get_clock().now().to_msg()
        held = twist is not None or velocity is not None
        joy = Joy(axes=[0.0] * 6, buttons=[int(held and number == DEAD_MAN)
                                           for number in range(BUTTONS)])
        joy.header.stamp, joy.header.frame_id = stamp, 'page'
        self._joy.publish(joy)
        if twist is not None:
            msg = TwistStamped()
            msg.header.stamp, msg.header.frame_id = stamp, 'base'
            linear, angular = msg.twist.linear, msg.twist.angular
            (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z) = twist.tolist()
            self._twist.publish(msg)
        if velocity is not None:
            array = Float64MultiArray(data=velocity.tolist())
            array.layout.dim = [MultiArrayDimension(label='velocity', size=len(velocity),
                                                    stride=len(velocity))]
            self._velocity.publish(array)

