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

"""Diagnose missing joint_states: the expected topic, and its publishers."""

import time

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import ReliabilityPolicy

from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.stop import Stop

PATIENCE = 1.0
"""s without joint_states before it is reported."""
KIND = 'sensor_msgs/msg/JointState'


class StateSilence:
    """
    Find in the ROS graph why no state was received since activation.

    :param limit: s after which it is a stop; 0 for never
    """

    def __init__(self, node: Node, reader: JointStateReader, limit: float) -> None:
        self._node = node
        self._reader = reader
        self._limit = limit
        self._topic = node.resolve_topic_name('joint_states')
        self._since = time.monotonic()

    def text(self) -> str:
        """Return the reason as text; '' for the first second."""
        if time.monotonic() - self._since < PATIENCE:
            return ''
        return f'no joint_states on {self._topic} ({KIND}, best effort): {self._found()}'

    def cause(self) -> Stop | None:
        """Return a stop if the limit has passed."""
        waited = time.monotonic() - self._since
        return None if not 0.0 < self._limit < waited else Stop(
            'NO_JOINT_STATES', waited, self._limit, f's without joint_states on {self._topic}: '
            f'{self._found()}')

    def _found(self) -> str:
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        if not publishers:
            return 'nobody publishes it; start the driver or its joint_state_broadcaster, or ' \
                   'remap joint_states'
        if self._reader.heard:
            wanted = self._reader.behind or self._reader.joints
            return (f'{len(publishers)} publisher(s), whose messages lack {", ".join(wanted)}; '
                    f'they have {", ".join(self._reader.heard)}')
        said = []
        for one in publishers:
            if one.topic_type != KIND:
                problem = f'of type {one.topic_type}, which is another'
            elif one.qos_profile.durability < QOS['joint_states'].durability or (
                    one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
                    and QOS['joint_states'].reliability == ReliabilityPolicy.RELIABLE):
                problem = 'with a quality of service that does not fit'
            else:
                durable = one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
                problem = (f'{one.qos_profile.reliability.name.lower()}'
                           f'{", transient local" if durable else ""}, which sends nothing')
            said.append(f'{one.node_namespace.rstrip("/")}/{one.node_name} publishes it {problem}')
        return '; '.join(said)
