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


"""One control tick: send the command first, then do everything else."""

from collections.abc import Callable
import time
from typing import Protocol

from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.control import ControlLoop
from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import RobotState
from spaars_ros.nodes.policy_server.logbook import Logbook
from spaars_ros.nodes.policy_server.reporter import ServerReporter
from spaars_ros.nodes.policy_server.sender import CommandSender
from spaars_ros.safety.monitors.monitors import Monitors
from spaars_ros.safety.stop import Stop


class Reset(Protocol):
    """Interface of the service that moves the arm to its start pose."""

    def call(self) -> None:
        """Request a reset."""

    def cancel(self) -> None:
        """Stop waiting for the reset."""


class Ticker:
    """
    Answer a state with a command, and record the step.

    :param reset: called when the arm is at rest and the supervisor requests a reset
    :param timed: whether a timer triggers the ticks, rather than the arrival of joint_states
    :param external: reaction to external motion of the arm: record, pause or stop
    :param period: control period in s
    :param now: returns the time of the node's clock in ns
    """

    def __init__(self, *, loop: ControlLoop, supervisor: Supervisor, monitors: Monitors,
                 sender: CommandSender, logbook: Logbook, reporter: ServerReporter,
                 bundle_manager: BundleManager, reset: Reset | None, timed: bool, external: str,
                 period: float, now: Callable[[], int]) -> None:
        self._loop = loop
        self._supervisor = supervisor
        self._monitors = monitors
        self._sender = sender
        self._logbook = logbook
        self._reporter = reporter
        self._bundle_manager = bundle_manager
        self._reset = reset
        self._timed = timed
        self._external = external
        self._period = period
        self._now = now

    def tick(self, state: RobotState, begin: float) -> None:
        """Answer a state; the tick begins at `begin`, s on the monotonic clock."""
        self._bundle_manager.before_tick()
        if not self._timed and self._sender.stamp:
            missed = max(0, round((state.stamp_ns - self._sender.stamp) * 1e-9 / self._period) - 1)
            self._loop.filter.stood(missed)
            if self._supervisor.phase is Phase.RUNNING:
                self._loop.records.lost_ticks += missed
        now = self._now()
        age = max(self._monitors.stamps.age(now, begin), 0.0)
        astray = self._monitors.astray.measured(state)
        if astray is not None:  # before the command: this stop must not wait a period
            self._logbook.trip(astray)
        answer = self._supervisor.answer(state, age + self._monitors.motion.blind(state))
        self._sender.send(answer.command, state.stamp_ns, begin)
        # The command is sent: the rest does not delay it.
        end = time.monotonic() if answer.command is None else self._sender.at
        stop = None if answer.tick is None else answer.tick.stop
        if stop is not None and stop.code == 'INFERENCE':
            self._bundle_manager.fail()
        odd = self._monitors.moved(self._monitors.time(now, begin) - age, state)
        moved = self._monitors.external.moved(state)
        age = self._monitors.stamps.age(self._now(), end)
        self._loop.records.latency = end - begin
        self._reporter.loop_statistics.add(end, end - begin)
        self._logbook.record(answer.earlier)
        record = answer.record
        if moved is not None and record is not None:
            self._loop.records.schema.set(record, 'external_motion', 1.0)
        self._logbook.record(record)
        self._bundle_manager.after_tick()
        if self._supervisor.take_reset_request() and self._reset is not None:
            self._reset.call()
        self._logbook.announce()
        if odd is not None:
            self._logbook.trip(odd)
        if moved is not None and self._monitors.external.confirmed \
                and self._supervisor.latch.stop is None:
            self._on_external(moved)
        slow = self._monitors.timing.add(age, time.monotonic() - begin)
        if slow is not None:
            self._logbook.trip(slow)

    def _on_external(self, moved: Stop) -> None:
        """React to external motion of the arm according to the parameter."""
        if self._external == 'stop':
            self._logbook.trip(moved)
        elif self._external == 'pause':
            self._logbook.record(self._supervisor.pause())
            self._logbook.announce()
