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
"""The stops that a policy server latched while a benchmark measured it."""

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from spaars_ros.nodes.cost_monitor.patient_trigger import PatientTrigger
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS


class StopLog:
    """
    Hear every stop of the policy server in a node's namespace.

    :param node: in the namespace of the nodes under test
    :param go_on: whether `tend` resets a server that has stopped
    """

    def __init__(self, node: Node, *, go_on: bool = False) -> None:
        self.stops: list[str] = []
        """What was said of each, in order: a server that stands says little about its times."""
        self._stopped = False
        self._reset = PatientTrigger(node, 'policy_server/reset', insist=True,
                                     answered=lambda *_: None) if go_on else None
        node.create_subscription(DiagnosticArray, 'policy_server/status', self._on_status,
                                 QOS['policy_server/status'])

    def tend(self) -> None:
        """Ask a server that has stopped to go on, as its operator would; does not wait."""
        if self._stopped and self._reset is not None:
            self._reset.ask(len(self.stops))

    def _on_status(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            stopped = bool(values_of(status).get('code'))
            if stopped and (not self._stopped or status.message != self.stops[-1]):
                self.stops.append(status.message)
            self._stopped = stopped
