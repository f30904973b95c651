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

"""Drive the simulated actuators beside the arm from the topics of the channels."""

from collections.abc import Callable
from functools import partial
import math
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Float64

from spaars_ros.ros.qos import QOS
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.tasks.spec import Channel

Guard = Callable[[str, Callable[[Any], None]], Callable[[Any], None]]


class ChannelReader:
    """
    Subscribe to the topic of each channel; a value that is not finite is ignored.

    Values are clipped to the range of the channel.

    :param guard: `Border.guarded` of the node
    """

    def __init__(self, node: Node, arm: DrivenArm, channels: tuple[Channel, ...],
                 guard: Guard) -> None:
        self._arm = arm
        self._values: dict[str, float] = {}
        self.subscriptions: list[Any] = [
            node.create_subscription(
                Float64, channel.topic or channel.name,
                guard(channel.topic or channel.name, partial(self._take, channel)),
                QOS['command'])
            for channel in channels]

    def _take(self, channel: Channel, msg: Float64) -> None:
        if math.isfinite(msg.data):
            self._values[channel.name] = min(max(msg.data, channel.low), channel.high)
            self._arm.send(self._values)
