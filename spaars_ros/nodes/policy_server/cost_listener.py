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

"""Subscription of the policy server to the cost monitor."""

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.qos import QOS


class CostListener:
    """
    Subscribe to cost_monitor/cost.

    :param heard: called with sequence, episode and the episode's cost (C,) so far
    :param border: counts refused messages
    """

    def __init__(self, node: Node, heard: Callable[[int, int, list[float]], None],
                 border: Border) -> None:
        # A refused message is no answer; with cost_monitor `stop`, the silence stops the robot.
        self._heard = heard
        self._reader = TopicReader('cost_monitor/cost',
                                   needs=('sequence', 'episode', 'episode_cost'))
        self.subscription = node.create_subscription(
            Float64MultiArray, 'cost_monitor/cost',
            border.guarded('cost_monitor/cost', self._on_cost), QOS['cost_monitor/cost'])

    def _on_cost(self, msg: Float64MultiArray) -> None:
        fields = self._reader.read(msg)
        self._heard(int(fields['sequence'][0]), int(fields['episode'][0]),
                    fields['episode_cost'].tolist())
