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

"""Safety filter: the last step of a joint velocity on its way to the robot."""

from collections import deque
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.cartesian import Cartesian
from spaars_ros.safety.cartesian import Rows
from spaars_ros.safety.gross import GrossCheck
from spaars_ros.safety.intervention import BARRIERS
from spaars_ros.safety.intervention import BITS
from spaars_ros.safety.intervention import Intervention
from spaars_ros.safety.intervention import PATIENCE
from spaars_ros.safety.intervention import RATES
from spaars_ros.safety.joint_limits import JointLimits
from spaars_ros.safety.last_line import LastLine
from spaars_ros.safety.qp import NearestVelocity
from spaars_ros.safety.qp import Objective
from spaars_ros.safety.scaling import scale_into
from spaars_ros.safety.scaling import TOLERANCE
from spaars_ros.safety.stop import Stop

MEMORY = 1.0
"""s of commands that are remembered; for an older state the oldest command counts repeatedly."""
FEWEST = 20
"""Minimum number of remembered commands."""

SLOWER = 0.25  # share of a command that is tried where its braking path is not free
CUTS = 4  # largest number of rows that are added for one tip speed


@dataclass(frozen=True)
class Filtered:
    """Command that may be sent, the changes made to it, and the stop to latch, if any."""

    command: Array
    """(d,) rad/s, always finite and within the limits."""
    intervention: int = 0
    """Bits of `Intervention`."""
    stop: Stop | None = None


class SafetyFilter:
    """
    Pass a velocity that keeps the robot inside its limits, or replace it by the nearest such one.

    The steps of every tick, in this order:

    1. Reject a command that has the wrong size, is not finite or is gross: a stop, with the first
       command of braking.
    2. Joint position by braking distance, velocity, acceleration, jerk: one interval of velocities
       per joint (`JointLimits`).
    3. Keep-out zones, workspace, tip speed, self-collision: half-spaces of velocities
       (`Cartesian`).
    4. Scale a command outside these by one factor of at least `MIN_SCALE`, which keeps its
       direction. If no factor fits, take the nearest velocity inside, joint by joint or by a
       quadratic program (`NearestVelocity`). With an objective, such as a twist's, the quadratic
       program minimizes it.
    5. Follow the result along its braking path on the model. If the path is not free, try the
       velocity nearest to a quarter of the command. If that fails too, or there was no solution in
       time, brake along the last path that was free.
    6. Final check, independent of all others: a velocity that is not finite, or not within
       acceleration, velocity and position limits, is not returned. The arm brakes and a stop is
       latched.

    :param robot: the robot file
    :param gross: multiple of the velocity limits above which a command or a measured velocity is a
        stop
    :param repeated: s of intervention after which a stop is latched; `PATIENCE` times as long
        where only zones, workspace or links caused it
    :raises ConfigError: the model lacks what the robot file names, or links touch at home
    """

    def __init__(self, robot: Robot, *, gross: float = 2.0, repeated: float = 3.0) -> None:
        self.limits = limits = JointLimits(robot)
        self.period = robot.period
        self.lower, self.upper = limits.lower, limits.upper
        self.velocity, self.acceleration = limits.velocity, limits.acceleration
        self.gross = GrossCheck(robot.joints, self.velocity, gross)
        self.repeated = max(1, round(repeated * robot.control.rate))
        self.joints = robot.joints
        self.counts = dict.fromkeys(BITS, 0)
        self.cartesian = Cartesian(robot, limits) if (
            robot.keep_out or robot.workspace or robot.tip_speed or robot.self_collision) else None
        self.solver: NearestVelocity | Any = NearestVelocity(len(robot.joints))
        self._last_line = LastLine(robot.joints, limits)
        self._zero = np.zeros(len(self.joints))
        self._no_rows = Rows(np.zeros((0, len(self.joints))), np.zeros(0), ())
        self._last = self._zero
        self._last_acceleration = self._zero
        self._delay = robot.control.delay
        remembered = self._delay + max(math.ceil(MEMORY / self.period), FEWEST)
        self._flight = deque([self._zero] * remembered, maxlen=remembered)
        """Motions (d,) rad that each of the last commands makes in one period, newest first."""
        self._consecutive = 0.0

    @property
    def last(self) -> Array:
        """Return the last command, (d,) rad/s."""
        return self._last.copy()

    @property
    def at_rest(self) -> bool:
        """Return whether the last command was zero and the jerk limit allows another zero."""
        return not self._last.any() and not (
            self.limits.jerk_binds
            and (np.abs(self._last_acceleration) > self.limits.jerk_step).any())

    def keep_margin(self, kept: bool) -> None:
        """Keep the tip out of the zones' margin, too, or stop doing so; it may always leave."""
        if self.cartesian is not None:
            self.cartesian.keep_margin(kept)

    def reset(self, state: RobotState) -> None:
        """Start from the measured state: the next command is near the measured velocity."""
        measured = np.where(np.isfinite(state.velocity), state.velocity, 0.0)
        self._last = np.clip(measured, -self.velocity, self.velocity)
        self._last_acceleration = self._zero
        self._flight.extend([self._last * self.period] * len(self._flight))
        self._consecutive = 0.0

    def bounds(self, position: Array, flight: list[Array] | None = None) -> tuple[Array, Array]:
        """
        Return the position bounds on velocity at `position` (d,) rad: low and high (d,) rad/s.

        :param flight: motions (d,) rad that the arm may still make; default: those of the last
            commands, for a state of age 0
        """
        back = ahead = self._zero
        for motion in self._in_flight(0.0) if flight is None else flight:
            back, ahead = np.minimum(back, motion), np.maximum(ahead, motion)
        return self.limits.position_bounds(position, back, ahead, self._last)

    def apply(self, velocity_command: Array, state: RobotState, age: float = 0.0,
              objective: Objective | None = None) -> Filtered:
        """
        Return the command to send instead of `velocity_command` (d,) rad/s; never raises.

        A non-finite number, a gross violation or repeated violations give a `Stop`, together with
        the first command of braking where the command itself cannot be used.

        :param state: newest measured state
        :param age: s since the state was measured, during which the arm continued as commanded
        :param objective: objective that `velocity_command` minimizes; its replacement minimizes
            it, too
        """
        asked = np.asarray(velocity_command, dtype=np.float64)
        stop = self.gross.stop(asked, state)
        if stop is not None:
            braking = self.brake()
            bits = braking.intervention
            if stop.code.startswith('NON_FINITE') or stop.code == 'WRONG_SIZE':
                bits |= self._count(Intervention.NON_FINITE)
            return Filtered(braking.command, bits, stop)
        age = max(age, 0.0)
        flight = self._in_flight(age)
        if flight:
            # A servo that lags still has the speed of an earlier command.
            flight.insert(0, (self.period + min(age, self.period)) * state.velocity)
        low, high, bits = self._joint_interval(asked, state.position, flight)
        rows = None
        if self.cartesian is not None:
            candidate = np.minimum(np.maximum(asked, low), high) if bits else asked
            rows = self.cartesian.rows(state.position, flight, candidate)
            if rows is not None:
                for place in np.flatnonzero(rows.rows @ candidate < rows.least - TOLERANCE):
                    bits |= BITS[rows.kinds[place]]
        velocity: Array | None = asked.copy()
        if bits:
            velocity = self._correct(asked, low, high, rows, objective)
        if velocity is not None and self.cartesian is not None:
            blocked = self.cartesian.blocked(state.position, flight, velocity, self._last)
            if blocked:
                bits |= BITS[blocked]
                velocity = self._inside(SLOWER * candidate, low, high, rows)
                if velocity is not None and self.cartesian.blocked(
                        state.position, flight, velocity, self._last):
                    velocity = None
        if velocity is None:
            bits |= Intervention.BRAKE
            velocity = self.limits.brake(self._last, self._last_acceleration)
        elif not self._last_line.passes(velocity, self._last, state.position):
            stop = self._last_line.stop(velocity, self._last, state.position)
            braking = self.brake()
            return Filtered(braking.command, self._count(bits) | braking.intervention, stop)
        self._take(velocity)
        if not bits:
            self._consecutive = 0.0
            return Filtered(self._last.copy())
        stop = self._repeated(asked, bits)
        return Filtered(self._last.copy(), self._count(bits), stop)

    def _repeated(self, asked: Array, bits: int) -> Stop | None:
        """Count a changed tick; return a stop when there were too many consecutive ones."""
        if not bits & ~RATES:  # scaling to a reachable rate is routine, not a fault
            self._consecutive = max(0.0, self._consecutive - 1.0)
            return None
        self._consecutive += 1.0 if bits & ~(BARRIERS | RATES) else 1.0 / PATIENCE
        if self._consecutive < self.repeated - TOLERANCE:
            return None
        names = ', '.join(name.lower() for name, bit in BITS.items() if bits & bit & ~RATES)
        joint = self.joints[int(np.argmax(np.abs(asked - self._last) / self.velocity))]
        return Stop('REPEATED_VIOLATION', self._consecutive, self.repeated,
                    f'consecutive ticks at a limit ({names}), most at {joint}: move targets, home '
                    'or the limit, lower control.action_scale, or raise repeated_violation')

    def stood(self, periods: int) -> None:
        """Note that the last command remained in effect for this many additional periods."""
        for _ in range(min(periods, len(self._flight))):
            self._flight.appendleft(self._last * self.period)

    def brake(self) -> Filtered:
        """Return the next command of braking: to rest within the limits, then zero."""
        if not self.at_rest:
            self._take(self.limits.brake(self._last, self._last_acceleration))
        else:
            self._take(self._zero)
        return Filtered(self._last.copy(), self._count(Intervention.BRAKE))

    def _joint_interval(self, asked: Array, position: Array, flight: list[Array]) -> \
            tuple[Array, Array, int]:
        """Return low and high (d,) rad/s, and the bits of the limits that `asked` breaks."""
        low, high = self.bounds(position, flight)
        slowest, fastest = self.limits.reachable(self._last, self._last_acceleration)
        least, most = self.limits.velocity_bounds(self._last)
        top = np.minimum(np.minimum(high, most), fastest)
        bottom = np.maximum(np.maximum(low, least), slowest)
        if (asked <= top + TOLERANCE).all() and (asked >= bottom - TOLERANCE).all():
            return bottom, top, 0
        bits = 0
        if np.any(asked > high + TOLERANCE) or np.any(asked < low - TOLERANCE):
            bits |= Intervention.POSITION
        if np.any(asked > most + TOLERANCE) or np.any(asked < least - TOLERANCE):
            bits |= Intervention.VELOCITY
        if np.any(np.abs(asked - self._last) > self.limits.step + TOLERANCE):
            bits |= Intervention.ACCELERATION
        elif np.any(asked < slowest - TOLERANCE) or np.any(asked > fastest + TOLERANCE):
            bits |= Intervention.JERK
        bottom, top = self.limits.interval(low, high, self._last, self._last_acceleration)
        return bottom, top, int(bits)

    def _correct(self, asked: Array, low: Array, high: Array, rows: Rows | None,
                 objective: Objective | None) -> Array | None:
        """Return the allowed velocity (d,) rad/s that replaces `asked`; None if there is none."""
        if objective is not None:
            return self._programme(asked, low, high, rows, objective)
        scaled = scale_into(asked, low, high, rows)
        if scaled is not None:
            return scaled
        return self._inside(asked, low, high, rows)

    def _inside(self, asked: Array, low: Array, high: Array, rows: Rows | None) -> Array | None:
        if rows is None:
            return np.asarray(np.minimum(np.maximum(asked, low), high))
        return self._programme(asked, low, high, rows)

    def _programme(self, asked: Array, low: Array, high: Array, rows: Rows | None,
                   objective: Objective | None = None) -> Array | None:
        """Return the solver's best allowed velocity (d,) rad/s; None if it finds none in time."""
        rows, solve = self._no_rows if rows is None else rows, self.solver.solve
        velocity: Array | None = solve(asked, low, high, rows.rows, rows.least, objective)
        for _ in range(CUTS):
            # The tip speed limit is round, a row is flat: where the solution exceeds the limit,
            # add a row.
            more = rows if velocity is None or self.cartesian is None \
                or rows is self._no_rows else self.cartesian.with_speed(rows, velocity)
            if more is None or more is rows:
                break
            rows = more
            velocity = solve(asked, low, high, rows.rows, rows.least, objective)
        return velocity

    def _in_flight(self, age: float) -> list[Array]:
        """
        Return the motions (d,) rad that may still be added to a measured position.

        The last 1, 2 .. `delay` commands have not been obeyed yet. When the state was measured,
        those of `age` s more had not been obeyed either; the oldest of them counts by its
        remaining part.
        """
        motions: list[Array] = []
        left = self._delay + age / self.period
        for motion in self._flight:
            if left <= 0.0:
                return motions
            part = min(left, 1.0) * motion
            motions.append(motions[-1] + part if motions else part)
            left -= 1.0
        if left > 0.0:
            motions.append(motions[-1] + left * self._flight[-1])
        return motions

    def _take(self, velocity: Array) -> None:
        if not np.abs(velocity).max() < np.inf:
            velocity = self._zero  # braking itself gave a non-finite value: only zero is left
        self._last_acceleration = (velocity - self._last) / self.period
        self._last = velocity
        self._flight.appendleft(velocity * self.period)

    def _count(self, bits: int) -> int:
        for name, bit in BITS.items():
            if bits & bit:
                self.counts[name] += 1
        return int(bits)
