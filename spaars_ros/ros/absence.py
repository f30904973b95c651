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

"""Diagnose from the ROS graph why a topic is silent."""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy


def why_silent(node: Node, topic: str, kind: str, qos: QoSProfile) -> str:
    """
    Return why no message of a topic is received: no publisher, wrong type or wrong QoS.

    :param kind: expected message type
    :param qos: QoS profile of the subscription
    """
    name = node.resolve_topic_name(topic)
    said = []
    for one in node.get_publishers_info_by_topic(name):
        # Discovery reports a publisher before it reports the node of the publisher.
        who = 'somebody' if 'UNKNOWN' in one.node_name \
            else f'{one.node_namespace.rstrip("/")}/{one.node_name}'
        if one.topic_type != kind:
            said.append(f'{who} publishes {one.topic_type} on it')
        elif one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT \
                and qos.reliability == ReliabilityPolicy.RELIABLE:
            said.append(f'{who} publishes it best effort: `qos: sensor`')
        elif one.qos_profile.durability == DurabilityPolicy.VOLATILE \
                and qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            said.append(f'{who} does not latch it: `qos: reliable` or sensor')
        else:
            said.append(f'{who} publishes it, and sends nothing')
    return '; '.join(said) or 'nobody publishes it: start its driver, or set its `topic`'
