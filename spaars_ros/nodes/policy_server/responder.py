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

"""Turn each JointState, or each missed period, into one command and one step record."""

from collections.abc import Callable
import time

from rclpy.task import Future

from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.control import ControlLoop
from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import RobotState
from spaars_ros.nodes.policy_server.command_writer import CommandWriter
from spaars_ros.nodes.policy_server.logbook import Logbook
from spaars_ros.nodes.policy_server.reporter import ServerReporter
from spaars_ros.nodes.policy_server.sender import CommandSender
from spaars_ros.nodes.policy_server.step_log import StepLog
from spaars_ros.nodes.policy_server.ticker import Reset
from spaars_ros.nodes.policy_server.ticker import Ticker
from spaars_ros.robot.config import Robot
from spaars_ros.ros.sources.source_set import SourceSet
from spaars_ros.safety.monitors.monitors import Monitors
from spaars_ros.safety.monitors.timing import Slots
from spaars_ros.safety.monitors.watchdog import Order
from spaars_ros.safety.stop import Stop

EARLY = 0.9  # periods: joint_states that are closer to the last ones make no tick
SILENT = 0.25  # s without a command before a stopped server brakes on the steady clock
LATE = 1.5  # periods without a command before a stopped server brakes without joint_states
NEAR = 5_000_000_000  # ns: a reset's answer further from the newest stamp is no stamp
UNBELIEVED = ('SPIKE', 'IMPOSSIBLE_POSITION')  # stop codes of states that are not acted on


class Responder:
    """
    Send the commands of one activation, through the supervisor and its filter.

    :param reset: called when the arm is at rest and the supervisor requests a reset
    :param timed: whether a timer triggers the ticks, rather than the arrival of joint_states
    :param external: reaction to external motion of the arm: record, pause or stop
    :param now: returns the time of the node's clock in ns, for comparison with stamps
    :param sources: sources of the task, which stop the robot if their entries say so
    """

    def __init__(self, *, robot: Robot, loop: ControlLoop, supervisor: Supervisor,
                 monitors: Monitors, writer: CommandWriter, log: StepLog,
                 reporter: ServerReporter, bundle_manager: BundleManager, reset: Reset | None,
                 timed: bool, external: str, now: Callable[[], int],
                 sources: SourceSet) -> None:
        self.supervisor = supervisor
        self.monitors = monitors
        self._period = robot.period
        self._loop = loop
        self._reset = reset
        self._timed = timed
        self._now = now
        self._sources = sources
        self.sender = CommandSender(writer, monitors, supervisor, period=robot.period, now=now)
        self.logbook = Logbook(supervisor, loop, log, reporter, monitors.cost)
        self._ticker = Ticker(
            loop=loop, supervisor=supervisor, monitors=monitors, sender=self.sender,
            logbook=self.logbook, reporter=reporter, bundle_manager=bundle_manager, reset=reset,
            timed=timed, external=external, period=robot.period, now=now)
        self._malformed: Stop | None = None
        self._state: RobotState | None = None
        self._braked_at = 0.0
        self._guarded = False
        self._slots = Slots(robot.period)

    def on_state(self, state: RobotState, arrived: float) -> None:
        """Handle a measured state that arrived at `arrived`, s on the monotonic clock."""
        self._malformed = None
        order = self.monitors.stamps.take(state.stamp_ns, arrived)
        if order is Order.OLD:
            disorder = self.monitors.stamps.cause()
            if disorder is not None:
                self.trip(disorder)
            return
        jump = self.monitors.stamps.take_jump()
        if jump is not None:
            self.trip(jump)
        if order is Order.SAME:
            self._on_repeated(state, arrived)
            return
        if not self._believed(state):
            if not self._timed:
                self.sender.send(self.supervisor.brake(), state.stamp_ns, arrived)
            return
        self._go_on_after_guard(state)
        self._state = state
        stamp = self.sender.stamp
        if not self._timed and (
                (state.stamp_ns - stamp) * 1e-9 >= EARLY * self._period
                or self.sender.command is None or state.stamp_ns < stamp):
            self._ticker.tick(state, arrived)

    def _on_repeated(self, state: RobotState, arrived: float) -> None:
        """Handle a state with an unchanged stamp: repeat the answer to the known state."""
        known = self._state
        known = known if known is not None and known.stamp_ns == state.stamp_ns else None
        if known is None or not (known.position == state.position).all():
            disorder = None if known is None else self.monitors.stamps.repeat(
                self.monitors.clock.standing > 0.0)
            if disorder is not None:
                self.trip(disorder)
        if self._timed:
            return
        if self.sender.stamp == state.stamp_ns and self.sender.command is not None:
            # The answer was lost: repeat it, without a new record. It does not count as a new
            # command: after a stop the arm has to brake, however often the stamp is repeated.
            self.sender.again(None if known is None else known.position)
        elif known is not None and self.sender.command is None:
            self._ticker.tick(known, arrived)

    def on_malformed(self, stop: Stop, stamp: int) -> None:
        """
        Latch a stop for a malformed message, and brake.

        Braking commands are sent at most once per period, however many messages arrive. If their
        stamps are useless, the timer brakes.

        :param stamp: stamp of the message in ns
        """
        self._malformed = stop
        self.trip(stop)
        gap = (stamp - self.sender.stamp) * 1e-9
        if not self._timed and (self.sender.command is None
                                or EARLY * self._period <= gap <= self.monitors.stamps.max_age):
            self.sender.send(self.supervisor.brake(), stamp)

    def on_cost(self, sequence: int, episode: int, costs: list[float]) -> bool:
        """
        Handle the cost (C,) of an episode up to a step, from the cost monitor.

        :return: whether this step was published; otherwise the message is ignored
        """
        if sequence >= self._loop.records.sequence or episode > self._loop.episode:
            return False
        # A record repeated for a restarted cost monitor tells nothing about the present motion.
        # The cost of the last step of an episode arrives when the next episode has begun.
        judged = costs if episode >= self._loop.episode - 1 else []
        stop = self.monitors.cost.heard(sequence, episode, judged)
        if stop is not None:
            self.trip(stop)
        return True

    def on_period(self, begin: float, due: int) -> None:
        """
        Do what is due once per period.

        :param begin: s on the monotonic clock
        :param due: ns on the clock of the timer
        """
        now = self._now()
        cause = None
        if self.monitors.stamps.newest_ns is not None:
            cause = self.monitors.stamps.check(now, begin)
        if self.supervisor.phase is Phase.RUNNING:
            cause = cause or self.monitors.cost.cause(begin) \
                or self.monitors.learner.cause(begin) or self._sources.cause()
        if cause is not None:
            self.trip(cause)
        stopped = self.supervisor.latch.stop is not None
        if self._timed:
            missed = self._slots.missed(due)
            self._loop.records.lost_ticks += missed
            self._loop.filter.stood(missed)
            fresh = self.monitors.stamps.newest_ns not in (None, self.sender.stamp)
            if not fresh or self._state is None:
                self._keep_on(now, begin)
            elif stopped:
                # With the new state; a reset would otherwise begin from the state at the stop.
                self.sender.send(self.supervisor.answer(self._state).command, self._state.stamp_ns,
                           begin)
            else:
                self._ticker.tick(self._state, begin)
            # Braking has to be on time, too, before a reset is allowed.
            if stopped:
                self.monitors.timing.add(self.monitors.stamps.age(now, begin), 0.0)
        elif stopped and (begin - self.sender.at > LATE * self._period
                          or self.sender.at == self._braked_at):
            # No joint_states arrive, but the arm has to stop; once begun, brake in every period.
            self.sender.send(self.supervisor.brake(), at=begin)
            self._braked_at = self.sender.at

    def on_guard(self, steady: float) -> None:
        """
        Protect the arm while simulated time stands still; called about once per period.

        The arm may continue to move then. The last command is held as far as it is still safe, a
        latched stop brakes, and `clock_timeout` is a stop.

        :param steady: s on the monotonic clock
        """
        now, clock = self._now(), self.monitors.clock
        before, was_late = clock.silent, clock.late
        clock.look(now, steady)
        if clock.late:
            # Periods in which the last command was held, without the present one.
            stood = clock.silent - (before if was_late else 0.0)
            self._loop.filter.stood(round(stood / self._period) - 1)
        cause = clock.cause()
        if cause is not None:
            self.trip(cause)
        if self.supervisor.latch.stop is not None:
            if clock.late or steady - self.sender.at > SILENT:
                self._keep_on(now, steady)
                self._guarded = True
        elif clock.late and self.monitors.stamps.newest_ns is not None:
            self._keep_on(now, steady)

    def _go_on_after_guard(self, state: RobotState) -> None:
        """Brake from the measured motion if the commands of `on_guard` were not obeyed."""
        guarded, self._guarded = self._guarded, False
        if guarded and self.supervisor.latch.stop is not None and self._loop.filter.at_rest:
            self._loop.filter.reset(state)

    def on_reset_done(self, stamp_ns: int | None) -> None:
        """Continue with the first state stamped `stamp_ns` or later; None: with the next one."""
        if self.supervisor.phase is not Phase.RESETTING:
            return
        newest = self.monitors.stamps.newest_ns or 0
        if stamp_ns is None or abs(stamp_ns - newest) > NEAR:  # not a stamp
            stamp_ns = newest + 1
        self.supervisor.reset_done(stamp_ns)
        self.sender.start()
        if not self._timed and self._state is not None and self._state.stamp_ns >= stamp_ns:
            self._ticker.tick(self._state, time.monotonic())

    def trip(self, stop: Stop) -> None:
        """Latch a stop, close and record the episode, and publish the status."""
        self.logbook.trip(stop)

    def braking(self) -> 'Future[bool]':
        """Return a future, done once the command of a stop is sent or nothing has to brake."""
        if self.supervisor.state is not None:
            return self.sender.braking()
        nothing: 'Future[bool]' = Future()
        nothing.set_result(False)
        return nothing

    def resume(self, cause: Stop | None) -> Stop | None:
        """
        Clear the latched stop, unless a cause persists; return the cause or None.

        :param cause: further cause, checked by the caller
        """
        cause = self.supervisor.resume(
            self._malformed or self.monitors.cause(self._now(), time.monotonic())
            or self.logbook.cause() or self._sources.cause() or cause)
        if cause is None:
            self.monitors.resumed()
            self.sender.start()
            if self._reset is not None:
                self._reset.cancel()
            if self._loop.takeover is not None:
                self._loop.takeover.person.forget()
        self.logbook.announce()
        return cause

    def close_episode(self) -> None:
        """Close the running episode with an aborted record, and cancel a reset."""
        if self._reset is not None:
            self._reset.cancel()
        self.logbook.record(self.supervisor.abort())

    def _believed(self, state: RobotState) -> bool:
        """Return whether to act on a new state; latch a stop if it is implausible."""
        if self.supervisor.phase is Phase.RESETTING:
            self.monitors.motion.forget()
            self.monitors.drift.forget()  # the reset moves the arm, whatever was commanded
            found = self.monitors.motion.impossible(state)
        else:
            found = self.monitors.motion.take(state, self._loop.filter.last)
        if found is not None:
            self.trip(found)
        return found is None or found.code not in UNBELIEVED

    def _keep_on(self, now: int, steady: float) -> None:
        """Send the command of a period without new joint_states: brake, or hold the last one."""
        stop, phase = self.supervisor.latch.stop, self.supervisor.phase
        if self.supervisor.state is None or (stop is None and phase is Phase.RESETTING):
            return  # no state of the arm yet, or the reset service moves it
        if stop is not None or phase is not Phase.RUNNING:
            self.sender.send(self.supervisor.brake(), at=steady)
        elif self.sender.command is not None:
            self._loop.records.lost_ticks += 1
            held = self.supervisor.hold(
                self.monitors.stamps.age(now, steady) + self.monitors.clock.silent)
            self.sender.send(held.command, at=steady)
            if held.stop is not None:
                self.trip(held.stop)

