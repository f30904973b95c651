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
"""Listener for the learner's reports, so that the arm stops without them."""

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.qos import QOS


class LearnerListener:
    """
    Subscription to learner/progress.

    :param heard: called per valid report
    :param border: counts rejected messages
    """

    def __init__(self, node: Node, heard: Callable[[], None], border: Border) -> None:
        self._heard = heard
        self._reader = TopicReader('learner/progress', needs=('received',))
        self.subscription = node.create_subscription(
            Float64MultiArray, 'learner/progress',
            border.guarded('learner/progress', self._on_progress), QOS['learner/progress'])

    def _on_progress(self, msg: Float64MultiArray) -> None:
        self._reader.read(msg)
        self._heard()
