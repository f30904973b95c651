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

"""Which command answers a joint_states, or a period without one."""

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

EARLY = 0.9  # of a period: joint_states that come sooner make no tick
SILENT = 0.25  # s without a command after which a stopped server brakes on the steady clock
LATE = 1.5  # periods without an answer after which a stopped server brakes by itself
NEAR = 5_000_000_000  # ns: a number that a reset answers may be so far from the newest stamp
UNBELIEVED = ('SPIKE', 'IMPOSSIBLE_POSITION')  # findings about a state that is not acted on


class Responder:
    """
    Send the commands of one activation, through the supervisor and its filter.

    :param reset: called when the arm is at rest and the supervisor wants a reset
    :param timed: whether a timer makes the ticks, rather than the arrival of joint_states
    :param external: what follows when something else moves the arm: record, pause or stop
    :param now: returns ns on the node's clock, which the stamps are compared with
    :param sources: of the task, which stop the robot where their entries say so
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
        """Take a measured state that arrived at `arrived` s on the monotonic clock."""
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
        """Take a state with the newest stamp: only what is known already is answered, again."""
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
            # The answer was lost: the same again, no new record. Not as a new command: one that
            # a stop left moving has to brake however often its stamp is repeated.
            self.sender.again(None if known is None else known.position)
        elif known is not None and self.sender.command is None:
            self._ticker.tick(known, arrived)

    def on_malformed(self, stop: Stop, stamp: int) -> None:
        """
        Stop for a message that cannot be read.

        Brakes at most once a period, however many come in one. Where their stamps say nothing
        about the time, the timer brakes.
        """
        self._malformed = stop
        self.trip(stop)
        gap = (stamp - self.sender.stamp) * 1e-9
        if not self._timed and (self.sender.command is None
                                or EARLY * self._period <= gap <= self.monitors.stamps.max_age):
            self.sender.send(self.supervisor.brake(), stamp)

    def on_cost(self, sequence: int, episode: int, costs: list[float]) -> bool:
        """
        Take the cost (C,) of an episode up to a step, as the cost monitor counts it.

        :return: whether such a step was published; what speaks of another says nothing
        """
        if sequence >= self._loop.sequence or episode > self._loop.episode:
            return False
        # One that was sent again, to a monitor that is new, says nothing about what moves now. The
        # cost of an episode's last step comes when the next one has begun.
        judged = costs if episode >= self._loop.episode - 1 else []
        stop = self.monitors.cost.heard(sequence, episode, judged)
        if stop is not None:
            self.trip(stop)
        return True

    def on_period(self, begin: float, due: int) -> None:
        """
        Do what is due once a period.

        :param begin: s on the monotonic clock
        :param due: ns on the timer's clock
        """
        now = self._now()
        cause = None
        if self.monitors.stamps.newest_ns is not None:
            cause = self.monitors.stamps.check(now, begin)
        if self.supervisor.phase is Phase.RUNNING:
            cause = cause or self.monitors.cost.cause(begin) or self._sources.cause()
        if cause is not None:
            self.trip(cause)
        stopped = self.supervisor.latch.stop is not None
        if self._timed:
            missed = self._slots.missed(due)
            self._loop.lost_ticks += missed
            self._loop.filter.stood(missed)
            fresh = self.monitors.stamps.newest_ns not in (None, self.sender.stamp)
            if not fresh or self._state is None:
                self._keep_on(now, begin)
            elif stopped:
                # With the state, or a reset would begin from the one that the stop found.
                self.sender.send(self.supervisor.answer(self._state).command, self._state.stamp_ns,
                           begin)
            else:
                self._ticker.tick(self._state, begin)
            # Also the braking is answered in time, before a reset is allowed.
            if stopped:
                self.monitors.timing.add(self.monitors.stamps.age(now, begin), 0.0)
        elif stopped and (begin - self.sender.at > LATE * self._period
                          or self.sender.at == self._braked_at):
            # Nobody asks any more, but the arm has to stop; once begun, on every tick.
            self.sender.send(self.supervisor.brake(), at=begin)
            self._braked_at = self.sender.at

    def on_guard(self, steady: float) -> None:
        """
        Do what the clock of the ticks cannot be trusted with; about once a period.

        Where that clock stands, the arm may move on: the last command is held as far as it is
        safe by now, a stop brakes, and after `clock_timeout` it is one.

        :param steady: s on the monotonic clock
        """
        now, clock = self._now(), self.monitors.clock
        before, was_late = clock.silent, clock.late
        clock.look(now, steady)
        if clock.late:
            # Periods in which the last command stood, besides the one that is answered now.
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
        """Brake from the measured motion where the guard's commands reached nobody."""
        guarded, self._guarded = self._guarded, False
        if guarded and self.supervisor.latch.stop is not None and self._loop.filter.at_rest:
            self._loop.filter.reset(state)

    def on_reset_done(self, stamp_ns: int | None) -> None:
        """Go on with the first state stamped `stamp_ns` or later; None: with the next one."""
        if self.supervisor.phase is not Phase.RESETTING:
            return
        newest = self.monitors.stamps.newest_ns or 0
        if stamp_ns is None or abs(stamp_ns - newest) > NEAR:  # then it is no stamp
            stamp_ns = newest + 1
        self.supervisor.reset_done(stamp_ns)
        self.sender.start()
        if not self._timed and self._state is not None and self._state.stamp_ns >= stamp_ns:
            self._ticker.tick(self._state, time.monotonic())

    def trip(self, stop: Stop) -> None:
        """Latch a stop, close the episode, say so."""
        self.logbook.trip(stop)

    def braking(self) -> 'Future[bool]':
        """Return what is done once a stop's command is out, or there is nothing to brake."""
        if self.supervisor.state is not None:
            return self.sender.braking()
        nothing: 'Future[bool]' = Future()
        nothing.set_result(False)
        return nothing

    def resume(self, cause: Stop | None) -> Stop | None:
        """
        Clear the latch, unless a cause persists; returns that.

        :param cause: what else speaks against it
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
        """Close the running episode with an aborted record, and wait for no reset."""
        if self._reset is not None:
            self._reset.cancel()
        self.logbook.record(self.supervisor.abort())

    def _believed(self, state: RobotState) -> bool:
        """Return whether a new state may be acted on; trips where it is odd."""
        if self.supervisor.phase is Phase.RESETTING:
            self.monitors.motion.forget()
            self.monitors.drift.forget()  # whatever was sent meanwhile, the arm is put elsewhere
            found = self.monitors.motion.impossible(state)
        else:
            found = self.monitors.motion.take(state, self._loop.filter.last)
        if found is not None:
            self.trip(found)
        return found is None or found.code not in UNBELIEVED

    def _keep_on(self, now: int, steady: float) -> None:
        """Send what a period of the timer needs that has no new joint_states to answer."""
        stop, phase = self.supervisor.latch.stop, self.supervisor.phase
        if self.supervisor.state is None or (stop is None and phase is Phase.RESETTING):
            return  # nothing is known about the arm yet, or the reset service drives it
        if stop is not None or phase is not Phase.RUNNING:
            self.sender.send(self.supervisor.brake(), at=steady)
        elif self.sender.command is not None:
            self._loop.lost_ticks += 1
            held = self.supervisor.hold(
                self.monitors.stamps.age(now, steady) + self.monitors.clock.silent)
            self.sender.send(held.command, at=steady)
            if held.stop is not None:
                self.trip(held.stop)

