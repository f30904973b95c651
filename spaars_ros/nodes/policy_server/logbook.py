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


"""Stops that are latched, and the records that every step and every end of an episode makes."""

import time

from spaars_ros.control.control import ControlLoop
from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import Array
from spaars_ros.nodes.policy_server.reporter import ServerReporter
from spaars_ros.nodes.policy_server.step_log import StepLog
from spaars_ros.safety.monitors.cost_watch import CostWatch
from spaars_ros.safety.stop import Stop


class Logbook:
    """
    Latch stops, close episodes, and write down what each step was.

    :param cost: waits for the cost of each step
    """

    def __init__(self, supervisor: Supervisor, loop: ControlLoop, log: StepLog,
                 reporter: ServerReporter, cost: CostWatch) -> None:
        self._supervisor = supervisor
        self._loop = loop
        self._log = log
        self._reporter = reporter
        self._cost = cost
        self._last: Array | None = None

    def trip(self, stop: Stop) -> None:
        """Latch a stop, close the episode, say so."""
        self.record(self._supervisor.trip(stop))
        self.announce()

    def record(self, record: Array | None) -> None:
        """Publish and keep a record (width,), if there is one; trips where the disk is behind."""
        if record is None:
            return
        self._last = record
        self._cost.stepped(self._loop.sequence - 1, time.monotonic())
        cause = self._log.add(record)
        if cause is not None:
            self.trip(cause)

    def cause(self) -> Stop | None:
        """Return what speaks against going on after a stop: a disk that is behind."""
        return self._log.cause()

    def probe(self) -> None:
        """
        Publish the last record again while the cost monitor's silence keeps the robot stopped.

        A cost monitor that was started anew never saw the step that is waited for, and no other
        comes while the robot stands, whatever the stop was for: a reset waits for the answer. Who
        has the record already ignores it.
        """
        if self._supervisor.latch.stop is not None and self._last is not None \
                and self._cost.cause(time.monotonic()) is not None:
            self._log.publish(self._last)

    def announce(self) -> None:
        """Publish the status if it changed."""
        phase = self._supervisor.phase
        self._reporter.announce(
            phase, self._supervisor.asking.wanted if phase is Phase.ASKING else '')
