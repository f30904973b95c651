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


"""Parameters of a controller (joints, order, interface), read before anything moves."""

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

PATIENCE = 2.0
"""s for a controller to answer; most other nodes have no such parameters."""
UNKNOWN = '_NODE_NAME_UNKNOWN_'
PARAMETERS = ('joints', 'interface_name')
"""Of ros2_control's forward_command_controller and similar controllers."""


def controller_faults(node: Node, topic: str, joints: Sequence[str], interface: str,
                      spin: Callable[[Callable[[], Any]], bool]) -> list[str]:
    """
    Return contradictions between the robot file and the controllers that subscribe to `topic`.

    Under position control a wrong order moves the arm with the first command, however small. So it
    has to be known before.

    :param node: node that asks
    :param topic: topic of the commands
    :param joints: in the robot file's order
    :param interface: command interface; a trajectory contains the names of its joints
    :param spin: handles callbacks until a condition holds, or gives up
    """
    faults = []
    end = time.monotonic() + PATIENCE
    # A subscription is known before the name of its node.
    spin(lambda: time.monotonic() > end or not any(
        info.node_name == UNKNOWN for info in node.get_subscriptions_info_by_topic(topic)))
    for info in node.get_subscriptions_info_by_topic(topic):
        name = f'{info.node_namespace.rstrip("/")}/{info.node_name}'
        values = _parameters(node, name, spin)
        theirs = list(values.get('joints', []))
        if theirs and theirs != list(joints) and interface != 'joint_trajectory':
            wrong = [f'{one} where the robot file has {other}'
                     for one, other in zip(theirs, joints) if one != other] \
                or [f'{len(theirs)} joints, the robot file {len(joints)}']
            faults.append(f'{name} takes its joints in another order than the robot file: '
                          + '; '.join(wrong[:4]))
        kind = str(values.get('interface_name', ''))
        if kind and interface.startswith('forward_') and interface != f'forward_{kind}':
            faults.append(f'{name} takes {kind}, and {interface} is sent: command_interface of '
                          'the robot file is wrong')
    return faults


def _parameters(node: Node, name: str, spin: Callable[[Callable[[], Any]], bool]
                ) -> dict[str, Any]:
    """Return the parameters of `PARAMETERS` that a node has."""
    client: Any = node.create_client(GetParameters, f'{name}/get_parameters')
    found: dict[str, Any] = {}
    end = time.monotonic() + PATIENCE
    try:
        spin(lambda: client.service_is_ready() or time.monotonic() > end)
        if not client.service_is_ready():
            return found
        # One at a time: a node that lacks one of several parameters returns none.
        futures = {parameter: client.call_async(GetParameters.Request(names=[parameter]))
                   for parameter in PARAMETERS}
        spin(lambda: all(future.done() for future in futures.values()) or time.monotonic() > end)
        for parameter, future in futures.items():
            for value in future.result().values if future.done() and future.result() else ():
                found[parameter] = list(value.string_array_value) or value.string_value
    finally:
        node.destroy_client(client)
    return found
