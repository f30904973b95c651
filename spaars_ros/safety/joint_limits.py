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

"""Velocities that keep a joint inside its position, velocity, acceleration and jerk limits."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot

SAMPLES = 3
"""Points of the braking path, without its start."""

SHARES = np.linspace(0.0, 1.0, SAMPLES + 1)[:, None]
"""Shares of the time to rest, (SAMPLES + 1, 1)."""

ENDS = SHARES[[0, -1]]

MAX_TICKS = 100
"""Number of ticks for which braking within jerk limits is followed tick by tick; after it E is the
bound."""

MAX_SAMPLES = 8
"""Maximum number of those ticks that are returned."""


class JointLimits:
    """
    Interval of velocities that each joint may take next, and the braking path.

    Reconstructed here, in discrete time. T is the control period, A and J are the limits of
    acceleration and jerk, v is the last command and a the change before it divided by T. A command
    is held for T, so the limits mean |v' - v| <= A T and |a' - a| <= J T.

    **Braking law.** a' = clip(-sign(v) min(A, kappa |v| / T), a - J T, a + J T) with
    kappa = min(1, J T / A): as hard as allowed, then proportional to the remaining speed, which
    keeps the jerk within its limit until rest. From a speed v >= 0 on that law the joint moves no
    further than E(v) = v^2 / (2 A) + c v, c = max(0, A / J - T). While a is still above -A the
    braking lags by at most W(e) = T max(0, e - J T / 2)^2 / (2 J T), e = a + A, of speed, so the
    joint moves no further than E(v + W).

    **Position.** The joint has to be able to stop inside: H z + E(z) <= room, z = v' + W(a' + A).
    With c = 0 this is z <= sqrt((A H)^2 + 2 A room) - A H. H is T plus the `timeout` of the
    controller, during which a last command remains in effect; braking by A T needs H A T less, and
    no more than T z is used up by then. `room` is the distance from the position where the joint
    will be when it obeys, the worst case of all commands that may still be on their way, less
    `margin`.

    **Velocity.** Where J T < 2 A an acceleration cannot be removed at once. So v' plus the speed
    that removing it adds, T max(0, a' - J T / 2)^2 / (2 J T), stays below the limit.

    By induction: if braking from the last command ends inside, one more tick of braking is
    allowed, so the interval always contains the braking law's next velocity. This needs an arm
    that moves as commanded, at most `delay` periods late. Where the interval is empty otherwise
    (the arm was pushed, or started too fast) only the braking law is left.

    Related work: ros2_control's JointSaturationLimiter clamps position, velocity and acceleration,
    and its soft limiter adds a velocity proportional to the room. libfranka's rate limiting bounds
    velocity, acceleration and jerk of the next command, and position only by a velocity limit that
    falls towards the ends. None of them promises a stop inside the position limits within both
    acceleration and jerk limits.

    **Limits that never bind.** A velocity above the whole range per T, an acceleration above 2 v /
    T and a jerk above 2 A / T change nothing. With numbers like 1e160, however, the room left to
    brake is lost in rounding, so larger limits are replaced by these.

    :param robot: the robot file
    :param timeout: s that a last command remains in effect; None: the robot file's
    """

    def __init__(self, robot: Robot, timeout: float | None = None) -> None:
        limits = robot.limits
        self.period = period = robot.period
        self.held = period + (robot.control.timeout if timeout is None else timeout)
        """H, s."""
        self.ends = np.array(limits.position, dtype=np.float64).T
        """(2, d) rad, the file's lower and upper limits."""
        self.lower, self.upper = self.ends + np.array([[limits.margin], [-limits.margin]])
        self.velocity = np.minimum(limits.velocity, (self.ends[1] - self.ends[0]) / period)
        self.acceleration = np.minimum(limits.acceleration, 2.0 * self.velocity / period)
        self.step = self.acceleration * period
        self.jerk_step = np.minimum(np.asarray(limits.jerk) * period, 2.0 * self.acceleration)
        self.jerk_binds = bool((self.jerk_step < 2.0 * self.acceleration).any())
        """False: any acceleration within the limit may follow any other."""
        self._decay = np.minimum(1.0, self.jerk_step / self.acceleration) / self.period
        self.settle = np.maximum(
            0.0, self.acceleration / self.jerk_step * self.period - self.period)
        """c, s."""
        self.late = np.zeros_like(self.step)
        """Largest delay of braking by the jerk limit, W(2 A), (d,) rad/s."""
        if self.jerk_binds:
            excess = np.maximum(0.0, self.acceleration * 2.0 - 0.5 * self.jerk_step)
            self.late = self.period * excess ** 2 / (2.0 * self.jerk_step)
        self._half_jerk = 0.5 * self.jerk_step
        self._rate = self.acceleration * (self.held + self.settle)
        self._rate_squared = self._rate ** 2
        self._twice = 2.0 * self.acceleration
        self.inverse_twice = 1.0 / self._twice
        """1 / (2 A), (d,) s^2/rad."""

    def reachable(self, last: Array, acceleration: Array) -> tuple[Array, Array]:
        """
        Return the least and greatest velocity (d,) rad/s that may follow `last`.

        :param last: (d,) rad/s, the last command
        :param acceleration: (d,) rad/s^2, of the last command
        """
        if not self.jerk_binds:
            return last - self.step, last + self.step
        down = np.maximum(acceleration - self.jerk_step, -self.acceleration)
        up = np.minimum(acceleration + self.jerk_step, self.acceleration)
        # Outside +-A after a reset at speed there is no interval: then only coming back is
        # allowed.
        return (last + self.period * np.minimum(down, up),
                last + self.period * np.maximum(down, up))

    def position_bounds(self, position: Array, back: Array, ahead: Array, last: Array) -> \
            tuple[Array, Array]:
        """
        Return the lowest and highest velocities (d,) rad/s that can still stop inside.

        :param position: (d,) rad, measured
        :param back: (d,) rad <= 0, largest downward motion by commands on their way
        :param ahead: (d,) rad >= 0, the same upward
        :param last: (d,) rad/s, the last command
        """
        high = self._stoppable(self.upper - position - ahead)
        low = self._stoppable(position + back - self.lower)
        if self.jerk_binds:
            return -self._before_ramp(low, -last), self._before_ramp(high, last)
        return -low, high

    def velocity_bounds(self, last: Array) -> tuple[Array, Array]:
        """
        Return low and high velocities (d,) rad/s that keep the limit as acceleration ends.

        :param last: (d,) rad/s, the last command
        """
        if not self.jerk_binds:
            return -self.velocity, self.velocity
        return -self._below_limit(-last), self._below_limit(last)

    def interval(self, low: Array, high: Array, last: Array, acceleration: Array) -> \
            tuple[Array, Array]:
        """
        Return the least and greatest velocity (d,) rad/s that keep all limits.

        :param low: (d,) rad/s, from `position_bounds`; `high` too
        :param last: (d,) rad/s, the last command
        :param acceleration: (d,) rad/s^2, of the last command
        """
        slowest, fastest = self.reachable(last, acceleration)
        least, most = self.velocity_bounds(last)
        braking = self.brake(last, acceleration)
        low = np.minimum(np.maximum(low, least), braking)
        high = np.maximum(np.minimum(high, most), braking)
        # Where they disagree the arm was pushed or started too fast: what it can do takes
        # precedence.
        return (np.minimum(np.maximum(low, slowest), fastest),
                np.minimum(np.maximum(high, slowest), fastest))

    def brake(self, last: Array, acceleration: Array) -> Array:
        """
        Return the braking law's next velocity (d,) rad/s; exactly zero at its end.

        :param last: (d,) rad/s, the last command
        :param acceleration: (d,) rad/s^2, of the last command
        """
        if not self.jerk_binds:
            return last - np.minimum(np.maximum(last, -self.step), self.step)
        speed = np.abs(last)
        wanted = -np.sign(last) * np.minimum(self.acceleration, self._decay * speed)
        change = np.clip(wanted, acceleration - self.jerk_step, acceleration + self.jerk_step)
        stops = (speed <= self.period * np.minimum(self.acceleration, self.jerk_step)) \
            & (np.abs(last + self.period * acceleration) <= self.period * self.jerk_step)
        return np.where(stops, 0.0, last + self.period * change)

    def braking(self, last: Array, acceleration: Array, most: int) -> Array:
        """
        Return the velocities (k, d) rad/s by which `brake` comes to rest, k at most `most`.

        Joint by joint in Python's floats: five times as fast as `brake` on arrays of a few joints,
        with the same result.

        :param last: (d,) rad/s, the last command
        :param acceleration: (d,) rad/s^2, of the last command
        """
        if not self.jerk_binds:
            speeds = [self.brake(last, acceleration)]
            while speeds[-1].any() and len(speeds) < most:
                speeds.append(self.brake(speeds[-1], acceleration))
            return np.array(speeds)
        joints = [_brake_joint(*values, self.period, most) for values in zip(
            last.tolist(), acceleration.tolist(), self.acceleration.tolist(),
            self.jerk_step.tolist(), self._decay.tolist())]
        after = np.zeros((max(map(len, joints)), len(joints)))
        for joint, column in enumerate(joints):
            after[:len(column), joint] = column
        return after

    def stopping(self, speed: Array) -> Array:
        """Return E(speed) (d,) rad, the longest braking distance from speeds >= 0 (d,) rad/s."""
        distance: Array = speed * (speed * self.inverse_twice + self.settle)
        return distance

    def way(self, velocity: Array, last: Array, pieces: int = 1, held: float | None = None
            ) -> tuple[Array, Array]:
        """
        Return the path when the arm moves by `velocity` for H and then brakes to rest.

        :param velocity: (d,) rad/s, after `last` (d,) rad/s
        :param last: (d,) rad/s, the last command
        :param pieces: number of points per default point, for a long path
        :param held: s that the velocity remains in effect, instead of H
        :return: offsets (k, d) rad from the start, the first zero, and the velocities (k, d) rad/s
            there
        """
        held = self.held if held is None else held
        if self.jerk_binds:
            return _divided(*self._followed(velocity, last, pieces, held), pieces)
        speed = np.abs(velocity)
        stop_time = speed / self.acceleration
        longest = float(stop_time.max())
        shares = SHARES if longest > self.period else ENDS
        if pieces > 1:
            shares = np.linspace(0.0, 1.0, SAMPLES * pieces + 1)[:, None]
        # With constant deceleration, 1 - left^2 of the path is done when the speed is left times
        # v.
        left = 1.0 - np.minimum(shares * longest / np.maximum(stop_time, 1e-9), 1.0)
        further = np.sign(velocity) * self.stopping(speed)
        offsets = held * velocity + further * (1.0 - left * left)
        return _divided(np.concatenate((np.zeros((1, len(speed))), offsets)),
                        np.concatenate((velocity[None], velocity * left)), pieces)

    def _followed(self, velocity: Array, last: Array, pieces: int, held: float
                  ) -> tuple[Array, Array]:
        """Return `way` by following the braking law, since jerk limits allow no closed form."""
        after = self.braking(velocity, (velocity - last) / self.period, MAX_TICKS)
        speeds = np.concatenate((velocity[None], after))
        steps = self.period * speeds
        steps[0] = held * velocity
        if len(after) < MAX_TICKS or not after[-1].any():
            steps = steps[:-1]
        else:
            steps[-1] = np.sign(after[-1]) * self.stopping(np.abs(after[-1]) + self.late)
            speeds = np.concatenate((speeds, np.zeros((1, len(velocity)))))
        places = np.concatenate((np.zeros((1, len(velocity))), np.cumsum(steps, axis=0)))
        every = max(1, len(places) // (MAX_SAMPLES * pieces))
        kept = [*range(0, len(places) - 1, every), len(places) - 1]
        return places[kept], speeds[kept]

    def _stoppable(self, room: Array) -> Array:
        inside = np.maximum(room, 0.0)
        speed: Array = np.sqrt(self._rate_squared + self._twice * inside) - self._rate
        return speed

    def _before_ramp(self, speed: Array, last: Array) -> Array:
        """Return the largest v' with v' + W((v' - last) / T + A) <= speed."""
        base = last - self.step + self.period * self._half_jerk
        return base + self._ramp(speed - base)

    def _below_limit(self, last: Array) -> Array:
        base = last + self.period * self._half_jerk
        return base + self._ramp(self.velocity - base)

    def _ramp(self, room: Array) -> Array:
        """Return the largest T y with T y + T max(0, y)^2 / (2 J T) <= room."""
        y = room / self.period
        positive = np.maximum(y, 0.0)
        root = np.sqrt(self.jerk_step * (self.jerk_step + 2.0 * positive)) - self.jerk_step
        return self.period * np.where(y > 0.0, root, y)


def _brake_joint(last: float, acceleration: float, limit: float, jerk_step: float, decay: float,
                 period: float, most: int) -> list[float]:
    """Return one joint's velocities (rad/s) by `JointLimits.brake` until it rests for good."""
    slowest, nearest = period * min(limit, jerk_step), period * jerk_step
    speeds = []
    for _ in range(most):
        speed = abs(last)
        if speed <= slowest and abs(last + period * acceleration) <= nearest:
            following = 0.0
        else:
            wanted = min(limit, decay * speed)
            change = min(max(-wanted if last > 0.0 else wanted, acceleration - jerk_step),
                         acceleration + jerk_step)
            following = last + period * change
        acceleration, last = (following - last) / period, following
        speeds.append(following)
        if following == 0.0 and abs(acceleration) <= jerk_step:
            break
    return speeds


def _divided(offsets: Array, velocities: Array, pieces: int) -> tuple[Array, Array]:
    """
    Divide each straight piece of a path into `pieces` pieces, with the velocity at its start.

    :param offsets: (k, d) rad
    :param velocities: (k, d) rad/s
    """
    if pieces == 1:
        return offsets, velocities
    shares = np.arange(pieces)[:, None] / pieces
    between = offsets[:-1, None] + shares * np.diff(offsets, axis=0)[:, None]
    return (np.concatenate((between.reshape(-1, offsets.shape[1]), offsets[-1:])),
            np.concatenate((np.repeat(velocities[:-1], pieces, axis=0), velocities[-1:])))
