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

"""Publish the values of the task's channels with every command."""

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64

from spaars_ros.control.channels import Channels
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.ros.qos import QOS

KIND = 'std_msgs/msg/Float64'


class ChannelWriter:
    """
    Publish the value of each channel on its topic.

    :raises Refused: the message type of a channel is not `KIND`
    """

    def __init__(self, node: Node, channels: Channels) -> None:
        self._channels = channels
        self.publishers: 'list[Publisher[Any]]' = []
        for spec in channels.specs:
            if spec.type != KIND:
                raise Refused(f'channel {spec.name!r} has the type {spec.type!r}: {KIND} is what '
                              'is published')
            self.publishers.append(node.create_publisher(
                Float64, spec.topic or spec.name, QOS['command']))

    def unheard(self) -> str:
        """Return an error text for a channel without subscribers; '' if there is none."""
        for publisher, spec in zip(self.publishers, self._channels.specs):
            if not publisher.get_subscription_count():
                return (f'nobody subscribes to {publisher.topic_name}, channel {spec.name!r}: '
                        f'start its driver, or remap {spec.topic or spec.name} to the topic that '
                        'it listens to')
        return ''

    def send(self) -> None:
        """Publish the current values of the channels."""
        for publisher, value in zip(self.publishers, self._channels.values.tolist()):
            publisher.publish(Float64(data=value))
