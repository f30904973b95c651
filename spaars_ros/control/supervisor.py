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

"""Phases of a run: episodes, resets and the latched stop. Free of ROS."""

from dataclasses import dataclass
from enum import Enum

from spaars_ros.control.asking import Asking
from spaars_ros.control.control import ControlLoop
from spaars_ros.control.control import Tick
from spaars_ros.control.retrace import Retrace
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.filter import Filtered
from spaars_ros.safety.stop import Stop
from spaars_ros.safety.stop import StopLatch

PAUSE = 1.0
"""s without external motion after which a paused run continues."""


class Phase(Enum):
    """Phase of the run."""

    WAITING = 'waiting for joint_states'
    RUNNING = 'running'
    SETTLING = 'coming to rest'
    RETRACING = 'going back'
    RESETTING = 'waiting for the reset'
    PAUSED = 'waiting until nothing else moves the arm'
    ASKING = 'waiting for a person'
    DONE = 'budget done'


@dataclass(frozen=True)
class Answer:
    """The command for a state, and the step record made from it."""

    command: Array | None
    """(d,) rad/s; None: send nothing, the arm is at rest and about to be reset."""
    tick: Tick | None = None
    """The policy's tick, whose step record is made at the first access."""

    @property
    def record(self) -> Array | None:
        """Return the step record, None if there is none."""
        return None if self.tick is None else self.tick.record

    @property
    def earlier(self) -> Array | None:
        """Return a record that comes before it, None for none."""
        return None if self.tick is None else self.tick.earlier


class Supervisor:
    """
    Decide for every new state whether the policy acts, the arm brakes, or retraces its path.

    :param robot: the robot file
    :param loop: the control loop, whose filter every command passes
    :param latch: holds the stop; while it holds one, the arm brakes and stays still
    :param episodes: number of the episode after the last one, 0 for no end
    :param service: whether a service resets the arm; otherwise it retraces its path
    :param asking: what a person has to do before an episode begins
    """

    def __init__(self, robot: Robot, loop: ControlLoop, latch: StopLatch, *, episodes: int,
                 service: bool, asking: Asking | None = None) -> None:
        self.robot = robot
        self.loop = loop
        self.latch = latch
        self.episodes = episodes
        self.service = service
        self.asking = asking or Asking()
        self.phase = Phase.WAITING if not self._budget_done() else Phase.DONE
        self._state: RobotState | None = None
        self._path: list[Array] = []
        self._retrace: Retrace | None = None
        self._resumed = False
        self._reset_stamp: int | None = None
        self._reset_wanted = False
        self._paused_until = 0

    @property
    def state(self) -> RobotState | None:
        """Return the newest state."""
        return self._state

    def answer(self, state: RobotState, age: float = 0.0) -> Answer:
        """
        Return what to send for a state with a new stamp; never raises on invalid numbers.

        :param state: the new state
        :param age: s since it was measured
        """
        guiding = self.loop.guiding
        if guiding is None:
            return self._answer(state, age)
        guiding.saw(state)
        return Answer(None, self._answer(state, age).tick)  # no command is ever sent

    def _answer(self, state: RobotState, age: float) -> Answer:
        first = self._state is None
        self._state = state
        if first:
            self.loop.filter.reset(state)
        if self.latch.stop is not None or self.phase is Phase.DONE:
            return Answer(self.brake())
        if self.phase is Phase.RESETTING:
            if self._reset_stamp is None or state.stamp_ns < self._reset_stamp:
                return Answer(None)
            return self._start(state, age)
        elif self.phase is Phase.PAUSED:
            if state.stamp_ns < self._paused_until:
                return Answer(self.brake())
            self.loop.filter.reset(state)
            self.phase, self._resumed = Phase.SETTLING, True
            return self._settle()
        elif self.phase in (Phase.WAITING, Phase.ASKING):
            return self._start(state, age)
        elif self.phase is Phase.SETTLING:
            return self._settle()
        elif self.phase is Phase.RETRACING:
            return self._go_back(state, age)
        return self._tick(state, age)

    def brake(self) -> Array:
        """Return the next braking command (d,) rad/s; on a stop channels act as they declare."""
        if self.latch.stop is not None:
            self.loop.actuation.channels.stop()
        return self.loop.filter.brake().command

    def hold(self, age: float) -> Filtered:
        """
        Return the last command (d,) rad/s again, filtered for a state that is not new.

        :param age: s since the newest state was measured
        """
        assert self._state is not None
        return self.loop.filter.apply(self.loop.filter.last, self._state, age)

    def trip(self, stop: Stop) -> Array | None:
        """Latch a stop; return the record that closes the running episode, None if none runs."""
        self.latch.trip(stop)
        return self.abort()

    def abort(self) -> Array | None:
        """Close the running episode; return its record, None if none runs."""
        if self.phase is not Phase.RUNNING or self._state is None:
            return None
        record = self.loop.abort(self._state)
        self._end()
        return record

    def pause(self) -> Array | None:
        """Close the running episode, and rest until nothing moves the arm; return its record."""
        record = self.abort()
        if self.phase in (Phase.SETTLING, Phase.RETRACING, Phase.PAUSED) \
                and self._state is not None:
            self.phase = Phase.PAUSED
            self._paused_until = self._state.stamp_ns + round(PAUSE * 1e9)
        return record

    def take_reset_request(self) -> bool:
        """Return True once when the arm is at rest and the reset service has to be called."""
        wanted, self._reset_wanted = self._reset_wanted, False
        return wanted

    def reset_done(self, stamp_ns: int) -> None:
        """Begin the next episode with the first state stamped `stamp_ns` or later."""
        self._reset_stamp = stamp_ns

    def resume(self, persisting: Stop | None) -> Stop | None:
        """
        Clear the latch, unless a cause is `persisting`; the arm is reset before the next episode.

        :return: the cause that keeps the latch, None when it is cleared
        """
        cause = self.latch.reset(lambda: persisting)
        if cause is None and self._state is not None:
            # Start from the measured state: the arm may have been moved by hand meanwhile.
            self.loop.filter.reset(self._state)
            if self.phase not in (Phase.WAITING, Phase.DONE):
                self.phase = Phase.SETTLING
                self._resumed = True
        return cause

    def _budget_done(self) -> bool:
        return bool(self.episodes) and self.loop.episode + 1 >= self.episodes

    def _start(self, state: RobotState, age: float) -> Answer:
        """Begin an episode, once a person has done what it requires."""
        if self.phase is not Phase.ASKING:
            if self.phase is not Phase.WAITING:  # there was an episode before
                self.asking.ask()
            self.loop.filter.reset(state)
        if not self.asking.wanted:
            self._begin(state)
            return self._tick(state, age)
        self.phase = Phase.ASKING
        overdue = self.asking.overdue()
        if overdue is not None:
            self.latch.trip(overdue)
        return Answer(self.brake())

    def _begin(self, state: RobotState) -> None:
        self.asking.begun()
        self.loop.begin(state)
        self.phase = Phase.RUNNING
        # The very first position stays the first one, or the start would drift from reset to
        # reset.
        self._path = self._path[:1] or [state.position]
        self._retrace = None
        self._resumed = False
        self._reset_stamp = None

    def _tick(self, state: RobotState, age: float) -> Answer:
        self._path.append(state.position)
        tick = self.loop.tick(state, age)
        if tick.stop is not None:
            self.latch.trip(tick.stop)
        if tick.ended:
            self._end()
            if tick.stop is None and self.phase is Phase.SETTLING:
                self._at_rest()
        return Answer(tick.command, tick)

    def _end(self) -> None:
        self.phase = Phase.DONE if self._budget_done() else Phase.SETTLING

    def _settle(self) -> Answer:
        command = self.brake()
        self._at_rest()
        return Answer(command)

    def _at_rest(self) -> None:
        """Continue with the reset once the command is zero."""
        if not self.loop.filter.at_rest:
            return
        if self.loop.guiding is not None:
            self.phase = Phase.ASKING  # the person who guided the arm also guides it back
            self.asking.ask()
        elif self.service:
            self.phase = Phase.RESETTING
            self._reset_stamp = None
            self._reset_wanted = True
        else:
            self.phase = Phase.RETRACING
            # A retrace that a stop interrupted continues from there, not from the episode's end.
            # An arm that was moved by hand joins the path at its nearest position.
            path = self._path if self._retrace is None else self._retrace.remaining
            start = self._state.position if self._resumed and self._state is not None else None
            self._retrace, self._resumed = Retrace(self.robot, path, start=start), False

    def _go_back(self, state: RobotState, age: float) -> Answer:
        assert self._retrace is not None
        wanted = self._retrace.command(state)
        if wanted is None:
            command = self.brake()
            if self.loop.filter.at_rest:
                return self._start(state, age)
            return Answer(command)
        filtered = self.loop.filter.apply(wanted, state, age)
        stop = filtered.stop or self._retrace.stuck()
        if stop is not None:
            self.latch.trip(stop)
        return Answer(filtered.command)
