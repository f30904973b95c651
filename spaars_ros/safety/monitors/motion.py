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

"""Monitor that the measured motion is plausible."""

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.stop import Stop

MOVING = 0.05  # share of the velocity limit: a command above it has to show in the position
UNSEEN = 0.008  # rad or m of commanded motion that has to show: some counts of a coarse encoder
SETTLED = 10  # periods without a finding after which the cause is over
CREEPING = 0.005  # share of the velocity limit: faster motion contradicts a velocity of 0
WHOLE = 0.9  # share of a control period: closer states are not compared for motion
BEYOND = 0.25  # share of the position range by which an arm may be outside its limits,
BEYOND_LEAST = 0.1  # rad, at least: it was pushed, or its encoder has an offset


class MotionWatch:
    """
    Compare every joint's position with the last one, its velocity and its command.

    * IMPOSSIBLE_POSITION: outside the position limits by more than a quarter of their range. Such
      a state is never accepted, not even as the first one.
    * SPIKE: further from the last accepted position than `spike` times the velocity limit allows.
      Such a state is not accepted. A lasting step is accepted once the elapsed time allows for it,
      or after `SETTLED` consecutive states that agree with each other.
    * FROZEN: exactly the same position for `frozen` consecutive periods, while commanded to move:
      by more than `MOVING` in each period, or by `UNSEEN` in total.
    * VELOCITY_MISMATCH: for `ticks` consecutive periods, the change of position differs from the
      mean measured velocity times the elapsed time by more than `mismatch` times the velocity
      limit times the elapsed time (at least a period: stamps of a late timer lie close together).
      Or all measured velocities are exactly 0 for as long, and a position changes nevertheless.

    The latter two compare states at least `WHOLE` periods apart, however many come between; at
    rates just above the control rate these are up to two periods apart.

    :param robot: the robot file
    :param spike: multiple of the velocity limit, 0 for off
    :param frozen: periods, 0 for off
    :param mismatch: share of the velocity limit, 0 for off
    :param ticks: periods
    """

    def __init__(self, robot: Robot, *, spike: float, frozen: int, mismatch: float,
                 ticks: int) -> None:
        self._joints = robot.joints
        self._limits = [float(limit) for limit in robot.limits.velocity]
        self._period = robot.period
        self._ends = [(low - room, high + room) for low, high, room in (
            (low, high, max(BEYOND * (high - low), BEYOND_LEAST))
            for low, high in robot.limits.position)]
        self._spike = spike
        self._frozen = frozen
        self._mismatch = mismatch
        self._ticks = ticks
        self._found: Stop | None = None
        self._since = 0
        self.findings = 0
        self.forget()

    def forget(self) -> None:
        """Compare the next state with none: the arm may be moved to another place."""
        self._last: tuple[int, list[float], list[float]] | None = None
        self._before: tuple[int, list[float], list[float]] | None = None
        self._elsewhere: tuple[int, list[float]] | None = None
        self._agree = 0
        self._fresh: int | None = None
        self._still = [0] * len(self._joints)
        self._same = [0] * len(self._joints)
        self._unseen = [0.0] * len(self._joints)
        self._odd = [0] * len(self._joints)
        self._unmoved: list[float] | None = None
        self._zeros = 0

    def cause(self) -> Stop | None:
        """Return the last finding, until `SETTLED` periods passed without one."""
        return self._found

    def impossible(self, state: RobotState) -> Stop | None:
        """Return a stop where a joint is at an impossible position, else None; part of `take`."""
        for joint, (position, (low, high)) in enumerate(zip(state.position.tolist(), self._ends)):
            if not low <= position <= high:
                bound = low if position < low else high
                self.findings += 1
                self._found, self._since = Stop(
                    'IMPOSSIBLE_POSITION', position, bound, f'rad, {self._joints[joint]}, far '
                    'outside its limits: see its encoder, or limits.position in the robot file'
                    ), 0
                return self._found
        return None

    def take(self, state: RobotState, command: Array) -> Stop | None:
        """
        Judge a state with a new stamp and finite numbers; return what is wrong with it, or None.

        Plain floats are used: for seven joints they are faster than numpy calls.

        :param state: the new state
        :param command: (d,) rad/s, the last one sent
        """
        found = self.impossible(state)
        if found is not None:
            return found
        if self._last is None or state.position.tolist() != self._last[1]:
            self._fresh = state.stamp_ns
        found = self._judge(state, command)
        if self._fresh is None:
            self._fresh = state.stamp_ns
        if found is not None:
            self.findings += 1
            self._found, self._since = found, 0
        elif self._found is not None and self._before is self._last:
            self._since += 1
            if self._since >= SETTLED:
                self._found = None
        return found

    def blind(self, state: RobotState) -> float:
        """
        Return for how long the positions have been exactly the same, s.

        An arm with frozen positions may still move as commanded, so the state is older than its
        stamp by this time. At most `frozen` periods, since then it is a stop.
        """
        if self._fresh is None:
            return 0.0
        return min(max((state.stamp_ns - self._fresh) * 1e-9, 0.0), self._frozen * self._period)

    def _judge(self, state: RobotState, command: Array) -> Stop | None:
        positions, velocities = state.position.tolist(), state.velocity.tolist()
        if self._last is None or self._before is None:
            self._last = self._before = state.stamp_ns, positions, velocities
            return None
        stamp, before, _ = self._last
        dt = (state.stamp_ns - stamp) * 1e-9
        span = dt if dt > self._period else self._period
        step = self._step(positions, before, dt)
        if step is not None:
            # The state is not accepted, and the counts of the other checks wait with it.
            if not self._settled(state.stamp_ns, positions):
                joint, moved, most = step
                return Stop('SPIKE', moved, most, f'rad in {dt:g} s, {self._joints[joint]}')
            self.forget()
            self._last = self._before = state.stamp_ns, positions, velocities
            self._found = None
            return None
        self._elsewhere = None
        self._last = state.stamp_ns, positions, velocities
        stamp, before, speeds = self._before
        dt = (state.stamp_ns - stamp) * 1e-9
        # A robot may publish many states per period: between two of them there is little motion.
        if 0.0 <= dt < WHOLE * self._period:
            return None
        self._before = self._last
        span = dt if dt > self._period else self._period
        found = None
        for joint, limit in enumerate(self._limits):
            moved = positions[joint] - before[joint]
            found = self._is_frozen(joint, moved, float(command[joint]), dt) or found
            error = abs(moved - 0.5 * (velocities[joint] + speeds[joint]) * dt)
            if self._mismatch and error > self._mismatch * limit * span:
                self._odd[joint] += 1
                if self._odd[joint] >= self._ticks:
                    found = Stop('VELOCITY_MISMATCH', error / span, self._mismatch * limit,
                                 f'rad/s between position and velocity of {self._joints[joint]}')
            else:
                self._odd[joint] = 0
        return found or self._all_zero(positions, velocities)

    def _step(self, positions: list[float], before: list[float], dt: float
              ) -> tuple[int, float, float] | None:
        """Return joint, step and allowed step, rad, of a joint that moved too far in `dt` s."""
        span = dt if dt > self._period else self._period
        for joint, limit in enumerate(self._limits):
            moved = positions[joint] - before[joint]
            if self._spike and abs(moved) > self._spike * limit * span:
                return joint, moved, self._spike * limit * span
        return None

    def _settled(self, stamp: int, positions: list[float]) -> bool:
        """Return whether `SETTLED` consecutive states agree on another position."""
        other, self._elsewhere = self._elsewhere, (stamp, positions)
        agrees = other is not None and \
            self._step(positions, other[1], (stamp - other[0]) * 1e-9) is None
        self._agree = self._agree + 1 if agrees else 1
        return self._agree >= SETTLED

    def _is_frozen(self, joint: int, moved: float, command: float, dt: float) -> Stop | None:
        if moved != 0.0:
            self._still[joint], self._same[joint], self._unseen[joint] = 0, 0, 0.0
            return None
        self._same[joint] += 1
        self._unseen[joint] += command * min(dt, 2.0 * self._period)
        fast = abs(command) > MOVING * self._limits[joint]
        self._still[joint] = self._still[joint] + 1 if fast else 0
        periods = self._still[joint] if abs(self._unseen[joint]) < UNSEEN else self._same[joint]
        if not 0 < self._frozen <= periods:
            return None
        return Stop('FROZEN', periods, self._frozen, 'control periods with the same position of '
                    f'{self._joints[joint]} while it is commanded to move')

    def _all_zero(self, positions: list[float], velocities: list[float]) -> Stop | None:
        """Return a stop where positions change while every measured velocity is 0, else None."""
        if any(velocities) or not self._mismatch:
            self._unmoved = None
            return None
        if self._unmoved is None:
            self._unmoved, self._zeros = positions, 0
            return None
        self._zeros += 1
        if self._zeros < self._ticks:
            return None
        time = self._zeros * self._period
        speeds = [abs(now - then) / time for now, then in zip(positions, self._unmoved)]
        shares = [speed / limit for speed, limit in zip(speeds, self._limits)]
        joint = max(range(len(shares)), key=shares.__getitem__)
        self._unmoved, self._zeros = positions, 0
        return None if shares[joint] <= CREEPING else Stop(
            'VELOCITY_MISMATCH', speeds[joint], CREEPING * self._limits[joint],
            f'rad/s of {self._joints[joint]}, while joint_states say that no joint moves: where '
            'the robot measures no velocity, `velocity: derived` in the robot file')
