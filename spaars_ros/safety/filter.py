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

"""The safety filter: the last thing that a joint velocity passes on its way to the robot."""

from dataclasses import dataclass
from enum import IntFlag
import math

import numpy as np

from spaars_ros.config import Robot
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.safety.stop import Stop

TOLERANCE = 1e-9  # rad/s: rounding is no intervention
MIN_SCALE = 0.25  # below it a joint is clamped alone, or one joint at its end freezes the arm


class Intervention(IntFlag):
    """What the filter changed; a bit mask in the step record."""

    NONE = 0
    POSITION = 1
    VELOCITY = 2
    ACCELERATION = 4
    JERK = 8
    NON_FINITE = 16
    BRAKE = 32


@dataclass(frozen=True)
class Filtered:
    """What may be sent, how it differs from what was asked, and whether to latch a stop."""

    command: Array
    """(d,) rad/s, always finite and within the limits."""
    intervention: int = 0
    """Bits of `Intervention`."""
    stop: Stop | None = None


class SafetyFilter:
    """
    Keep joint velocity commands inside position, velocity and acceleration limits.

    Every tick each joint has an interval of velocities it may take:

    * velocity: `|v| <= v_max`;
    * acceleration: `|v - v_last| <= a_max T`, `v_last` being the last command (after `reset` the
      measured velocity), `T` the control period;
    * position: the joint can still stop at its limit, `T v + v^2 / (2 a_max) <= room`, with the
      room counted from where the arm will be when it obeys, one period of `v_last` further on.
      Solved for v: `sqrt((a_max T)^2 + 2 a_max room) - a_max T`. Braking as hard as allowed from
      a command within this bound ends inside the limit, with and without that delay.

    Where they disagree (the arm was pushed, or began too fast) acceleration wins: the joint brakes
    as hard as it may. A command outside is multiplied by one factor, so that its direction is
    kept; where no factor of at least `MIN_SCALE` does it, the joints are clamped one by one.

    Jerk limits are read from the robot file but not enforced by this filter.

    :param robot: the robot file
    :param gross: a command above this multiple of the velocity limit is a stop, not a scaling
    :param repeated: s of uninterrupted intervention after which the stop is latched
    """

    def __init__(self, robot: Robot, *, gross: float = 2.0, repeated: float = 3.0) -> None:
        limits = robot.limits
        self.period = robot.period
        self.lower, self.upper = np.asarray(limits.position, dtype=np.float64).T
        self.velocity = np.asarray(limits.velocity, dtype=np.float64)
        self.acceleration = np.asarray(limits.acceleration, dtype=np.float64)
        self.gross = gross
        self.repeated = max(1, round(repeated * robot.control.rate))
        self.joints = robot.joints
        self.counts = dict.fromkeys(Intervention.__members__, 0)
        self.counts.pop('NONE')
        self._gross_velocity = gross * self.velocity
        self._step = self.acceleration * self.period
        self._last = np.zeros(len(self.joints))
        self._consecutive = 0

    @property
    def last(self) -> Array:
        """Return the last command, (d,) rad/s."""
        return self._last.copy()

    @property
    def at_rest(self) -> bool:
        """Return whether the last command was zero."""
        return not self._last.any()

    def reset(self, state: RobotState) -> None:
        """Start from the measured state: the next command is near the measured velocity."""
        measured = np.where(np.isfinite(state.velocity), state.velocity, 0.0)
        self._last = np.clip(measured, -self.velocity, self.velocity)
        self._consecutive = 0

    def bounds(self, position: Array) -> tuple[Array, Array]:
        """Return the position bounds on velocity at `position` (d,) rad: low, high in rad/s."""
        ahead = self._last * self.period
        return (-self._stoppable(position + np.minimum(ahead, 0.0) - self.lower),
                self._stoppable(self.upper - position - np.maximum(ahead, 0.0)))

    def apply(self, velocity_command: Array, state: RobotState) -> Filtered:
        """
        Return what may be sent instead of `velocity_command` (d,) rad/s; raises nothing.

        Non-finite numbers, a gross or a repeated violation come back as a `Stop` together with
        the first command of the braking profile.
        """
        asked = np.asarray(velocity_command, dtype=np.float64)
        stop = self._gross(asked, state)
        if stop is not None:
            braking = self.brake()
            bits = braking.intervention
            if stop.code.startswith('NON_FINITE') or stop.code == 'WRONG_SIZE':
                bits |= self._count(Intervention.NON_FINITE)
            return Filtered(braking.command, bits, stop)
        low, high = self.bounds(state.position)
        slowest, fastest = self._last - self._step, self._last + self._step
        if np.all(asked <= np.minimum(np.minimum(high, self.velocity), fastest)) \
                and np.all(asked >= np.maximum(np.maximum(low, -self.velocity), slowest)):
            self._consecutive = 0
            self._last = asked.copy()
            return Filtered(asked.copy())
        bits = 0
        if np.any(asked > high + TOLERANCE) or np.any(asked < low - TOLERANCE):
            bits |= self._count(Intervention.POSITION)
        if np.any(np.abs(asked) > self.velocity + TOLERANCE):
            bits |= self._count(Intervention.VELOCITY)
        if np.any(np.abs(asked - self._last) > self._step + TOLERANCE):
            bits |= self._count(Intervention.ACCELERATION)
        if not bits:
            self._consecutive = 0
            self._last = asked.copy()
            return Filtered(asked.copy())
        low = np.clip(np.maximum(low, -self.velocity), slowest, fastest)
        high = np.clip(np.minimum(high, self.velocity), slowest, fastest)
        self._last = _scale_into(asked, low, high)
        self._consecutive += 1
        if self._consecutive >= self.repeated:
            stop = Stop('REPEATED_VIOLATION', self._consecutive, self.repeated,
                        'consecutive ticks with a filter intervention')
        return Filtered(self._last.copy(), bits, stop)

    def brake(self) -> Filtered:
        """Return the next command of the braking profile: to rest at `a_max`, then zero."""
        if self.at_rest:
            return Filtered(np.zeros_like(self._last), self._count(Intervention.BRAKE))
        self._last = self._last - np.clip(self._last, -self._step, self._step)
        return Filtered(self._last.copy(), self._count(Intervention.BRAKE))

    def _stoppable(self, room: Array) -> Array:
        inside = np.maximum(room, 0.0)
        speed: Array = (np.sqrt(self._step ** 2 + 2.0 * self.acceleration * inside)
                        - self._step)
        return speed

    def _gross(self, asked: Array, state: RobotState) -> Stop | None:
        """Return a stop for what scaling must not hide."""
        if asked.shape == self._last.shape \
                and math.isfinite(asked.sum() + state.position.sum() + state.velocity.sum()) \
                and not (np.abs(asked) > self._gross_velocity).any() \
                and not (np.abs(state.velocity) > self._gross_velocity).any():
            return None
        if asked.shape != self._last.shape:
            return Stop('WRONG_SIZE', asked.size, self._last.size, 'length of the command')
        for code, values in (('NON_FINITE_COMMAND', asked), ('NON_FINITE_STATE', state.position),
                             ('NON_FINITE_STATE', state.velocity)):
            finite = np.isfinite(values)
            if not finite.all():
                joint = int(np.argmin(finite))
                return Stop(code, float(values[joint]), np.inf, self.joints[joint])
        for code, values in (('GROSS_COMMAND', asked), ('GROSS_VELOCITY', state.velocity)):
            share = np.abs(values) / self.velocity
            joint = int(np.argmax(share))
            if share[joint] > self.gross:
                return Stop(code, float(values[joint]), float(self.gross * self.velocity[joint]),
                            f'rad/s, {self.joints[joint]}')
        return None

    def _count(self, bit: Intervention) -> int:
        self.counts[str(bit.name)] += 1
        return int(bit)


def _scale_into(asked: Array, low: Array, high: Array) -> Array:
    """Return `asked` times the largest factor that fits, or clamped where none does."""
    moving = np.abs(asked) > TOLERANCE
    if np.all((low[~moving] <= 0.0) & (high[~moving] >= 0.0)):
        one, two = low[moving] / asked[moving], high[moving] / asked[moving]
        least = float(np.max(np.minimum(one, two), initial=MIN_SCALE))
        most = float(np.min(np.maximum(one, two), initial=1.0))
        if least <= most:
            return np.clip(asked * most, low, high)
    return np.clip(asked, low, high)
