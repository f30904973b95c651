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

"""Labels of ended episodes: stored in the run folder and published for the learner."""

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.labels import encode_labels
from spaars_ros.data.labels import FILE
from spaars_ros.data.labels import TOPIC
from spaars_ros.data.schema import Outcome
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.fields import LAYOUTS
from spaars_ros.ros.qos import QOS


class LabelKeeper:
    """
    Publish labels (latched) and store them.

    :param known: episode -> label of earlier ones, which are published at once
    :param put: writes a file, given name and content; must not block
    """

    def __init__(self, node: Node, known: dict[int, Outcome],
                 put: Callable[[str, bytes], None]) -> None:
        self._put = put
        self._codec = ArrayCodec(LAYOUTS[TOPIC].sized())
        self.publisher = node.create_publisher(Float64MultiArray, TOPIC, QOS[TOPIC])
        for episode in known:
            self._publish(episode, known[episode])

    def changed(self, labels: dict[int, Outcome], episode: int) -> None:
        """Store all labels and publish the new one of `episode`."""
        self._put(FILE, encode_labels(labels))
        self._publish(episode, labels[episode])

    def _publish(self, episode: int, outcome: Outcome) -> None:
        self.publisher.publish(self._codec.encode_fields(episode=episode, outcome=int(outcome)))
