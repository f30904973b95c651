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


"""Latch stops, and record each step and each end of an episode."""

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
    Latch stops, close episodes and record steps.

    :param cost: monitor that waits for the cost of each step
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
        """Latch a stop, close and record the episode, and publish the status."""
        self.record(self._supervisor.trip(stop))
        self.announce()

    def record(self, record: Array | None) -> None:
        """Publish and spool a record (width,), if any; latch a stop if the disk is too slow."""
        if record is None:
            return
        self._last = record
        self._cost.stepped(self._loop.records.sequence - 1, time.monotonic())
        cause = self._log.add(record)
        if cause is not None:
            self.trip(cause)

    def cause(self) -> Stop | None:
        """Return a stop while the disk is too slow, which prevents a reset."""
        return self._log.cause()

    def probe(self) -> None:
        """
        Publish the last record again while the robot is stopped and the cost monitor is silent.

        A restarted cost monitor never received the step whose cost is missing, and a stopped
        robot makes no new one. A reset would therefore wait forever. Readers that have the
        record already ignore it.
        """
        if self._supervisor.latch.stop is not None and self._last is not None \
                and self._cost.cause(time.monotonic()) is not None:
            self._log.publish(self._last)

    def announce(self) -> None:
        """Publish the status if it has changed."""
        phase = self._supervisor.phase
        self._reporter.announce(
            phase, self._supervisor.asking.wanted if phase is Phase.ASKING else '')
