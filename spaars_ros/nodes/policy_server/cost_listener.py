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

"""What the policy server hears of the cost monitor."""

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.qos import QOS


class CostListener:
    """
    Subscribe cost_monitor/cost.

    :param heard: is told sequence, episode and cost (C,) of the episode so far
    """

    def __init__(self, node: Node, heard: Callable[[int, int, list[float]], None]) -> None:
        self.malformed = 0
        self._logger = node.get_logger()
        self._heard = heard
        self._codec: ArrayCodec | None = None
        self.subscription = node.create_subscription(
            Float64MultiArray, 'cost_monitor/cost', self._on_cost, QOS['cost_monitor/cost'])

    def _on_cost(self, msg: Float64MultiArray) -> None:
        try:
            self._codec = self._codec or ArrayCodec.of_message(msg)
            row = self._codec.row(msg)
            places = self._codec.fields
            sequence, episode = (int(row[places[name]][0]) for name in ('sequence', 'episode'))
            self._heard(sequence, episode, row[places['episode_cost']].tolist())
        except (CodecError, KeyError) as error:
            # Not an answer: where it matters, the silence stops the robot.
            self.malformed += 1
            self._codec = None
            self._logger.error(f'cost_monitor/cost ignored: {error}', throttle_duration_sec=5.0)
