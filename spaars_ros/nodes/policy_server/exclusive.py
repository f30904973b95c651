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

"""Check that one policy server commands the robot, and that a controller subscribes."""

import time

from rclpy.node import Node

from spaars_ros.ros.lifecycle import Refused
from spaars_ros.safety.stop import Stop


class ExclusiveCommand:
    """Check that `command` has no other publisher and at least one subscriber."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.commands = True
        """Whether commands are sent; False while a person guides the arm by hand."""
        self._topic = node.resolve_topic_name('command')

    def refuse(self, own: int, wait: float) -> None:
        """
        Raise Refused if `command` has another publisher.

        :param own: number of publishers of this node
        :param wait: s to wait for the discovery of others
        """
        end = time.monotonic() + wait
        while True:
            others = self._node.count_publishers(self._topic) - own
            if others > 0:
                raise Refused(f'{others} other publisher(s) on {self._topic}: a second policy '
                              'server on the same robot')
            if time.monotonic() >= end:
                return
            time.sleep(0.05)

    def refuse_unheard(self, wait: float) -> None:
        """
        Raise Refused if `command` has no subscriber.

        :param wait: s to wait for a controller that is starting
        """
        end = time.monotonic() + wait
        while self.commands and not self._node.count_subscribers(self._topic):
            if time.monotonic() >= end:
                raise Refused(f'nobody subscribes to {self._topic}: start the controller, or '
                              'remap command to the topic that it listens to')
            time.sleep(0.02)

    def cause(self) -> Stop | None:
        """Return a stop if `command` has a second publisher or no subscriber."""
        count = self._node.count_publishers(self._topic)
        if count > 1:
            return Stop('SECOND_SERVER', count, 1, f'publishers on {self._topic}: a second '
                        'policy server on the same robot')
        return None if self._node.count_subscribers(self._topic) or not self.commands else Stop(
            'NO_SUBSCRIBER', 0, 1, f'subscribers of {self._topic}: is the controller gone?')
