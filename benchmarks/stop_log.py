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
"""Record the stops that a policy server latched during a benchmark."""

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from spaars_ros.nodes.cost_monitor.patient_trigger import PatientTrigger
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS


class StopLog:
    """
    Record every stop of the policy server in the namespace of a node.

    :param node: node in the namespace of the nodes under test
    :param go_on: whether `tend` resets a stopped server
    """

    def __init__(self, node: Node, *, go_on: bool = False) -> None:
        self.stops: list[str] = []
        """Status message of each stop, in order; the times of a stopped server mean little."""
        self._stopped = False
        self._reset = PatientTrigger(node, 'policy_server/reset', insist=True,
                                     answered=lambda *_: None) if go_on else None
        node.create_subscription(DiagnosticArray, 'policy_server/status', self._on_status,
                                 QOS['policy_server/status'])

    def tend(self) -> None:
        """Request a reset of a stopped server, as its operator would; do not wait."""
        if self._stopped and self._reset is not None:
            self._reset.ask(len(self.stops))

    def _on_status(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            stopped = bool(values_of(status).get('code'))
            if stopped and (not self._stopped or status.message != self.stops[-1]):
                self.stops.append(status.message)
            self._stopped = stopped
