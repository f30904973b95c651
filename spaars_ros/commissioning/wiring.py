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

"""Identification of each joint by a slow motion: order, sign, scale, delay, and timeout."""

from collections.abc import Generator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.filter import SafetyFilter

AMPLITUDE = 0.05
"""rad that each joint moves out and back."""
SPEED = 0.1
"""rad/s, or a tenth of the joint's limit where that is less."""
RAMP = 0.08
"""rad/s^2; slow, so that a wrong factor shows while the arm is slow."""
ODD = 0.4
"""Share of the amplitude that a wrong motion may reach before the joint is brought to rest."""
COASTS = 1.0
"""Share of the amplitude that a joint may still move, after a wrong motion, until it rests."""
MOVED = 0.003
"""rad that count as a motion."""
SCALE_ERROR = 0.15
"""Relative error of the motion's size that encoders and friction can explain."""
REST = 0.6
"""s of standing still before the first motion, and after each."""
SILENCE = 1.0
"""s without commands, to see whether the controller comes to rest without them."""
Routine = Generator[Any, tuple[Array, Array, float], None]


@dataclass
class JointResult:
    """Result of the motion of one joint."""

    joint: str
    faults: list[str] = field(default_factory=list)
    scale: float | None = None
    """Measured motion divided by commanded motion, signed."""
    delay: float | None = None
    """s from a command to its motion."""
    velocity_reported: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class _Adrift(Exception):
    """The arm does not stand still when commanded to; the check ends."""


class WiringCheck:
    """
    Move one joint after the other, through the safety filter, and compare the measured motion.

    Call `tick` with a measurement once per period until `done`. A motion that differs from the
    commanded one is stopped before `ODD` of the amplitude, and reversed.

    :param robot: the robot file
    """

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.results = [JointResult(name) for name in robot.joints]
        self.faults: list[str] = []
        """Faults that do not belong to a single joint."""
        self.timeout: float | None = None
        """s after which the controller came to rest without commands; None when it did not."""
        self.done = False
        self.astray = False
        self._filter = SafetyFilter(robot)
        self._zero = np.zeros(len(robot.joints))
        self._began = False
        self._measured = self._zero
        self._routine: Routine = self._all()
        next(self._routine)

    def tick(self, position: Array, velocity: Array, now: float) -> Array | None:
        """
        Return the command (d,) rad/s after a measurement; None sends nothing.

        :param position: (d,) rad
        :param velocity: (d,) rad/s as reported, NaN where it is not
        :param now: s on a steady clock
        """
        try:
            command: Array | None = self._routine.send((position, velocity, now))
        except (StopIteration, _Adrift) as end:
            self.faults += [str(end)] if isinstance(end, _Adrift) else []
            self.done = True
            command = self._zero
        return command

    @property
    def passed(self) -> bool:
        """Return whether everything agrees with the robot file."""
        return self.done and not self.faults and not any(each.faults for each in self.results)

    def _all(self) -> Routine:
        sample = yield
        self._measured = start = sample[0]
        wrong = [f'{name} is at {place:.3f} rad, outside its limits {low:g} to {high:g}'
                 for name, place, (low, high) in zip(
                     self.robot.joints, start, self.robot.limits.position)
                 if not low <= place <= high]
        if wrong:
            self.faults += [f'{text}: move the arm by hand first' for text in wrong]
            return
        log = yield from self._stand(REST, began=False)
        drift = np.abs(log[-1][1] - log[0][1])
        for result, far in zip(self.results, drift):
            if far > MOVED:
                result.faults.append(
                    f'moves by {far:.3f} rad without a command: something else drives it, or, '
                    'under position control, its sign or the order of the joints is wrong')
        if (drift > MOVED).any():
            return  # whatever moves it, commanded motions cannot be told apart from it
        for joint in range(len(self.robot.joints)):
            yield from self._try(joint)
        good = [number for number, each in enumerate(self.results) if not each.faults]
        if good:
            yield from self._fall_silent(good[0])

    def _command(self, wish: Array, sample: tuple[Array, Array, float]) -> Array:
        """Return the command (d,) rad/s that the filter passes for a wish (d,) rad/s."""
        velocity = np.where(np.isfinite(sample[1]), sample[1], 0.0)
        state = RobotState(0, sample[0], velocity, self._zero)
        if not self._began:
            self._filter.reset(state)
            self._began = True
        return self._filter.apply(wish, state).command

    def _stand(self, seconds: float, began: bool = True) -> Generator[Any, Any, list[Any]]:
        """
        Come to rest and stay; return the log of (s, position, command, velocity).

        :param seconds: s to stay
        :param began: whether anything was moved before; then an arm that does not stand ends the
            check
        """
        log = []
        sample = yield self._zero
        end, first = sample[2] + seconds, sample[0]
        far = (COASTS if began else ODD) * AMPLITUDE
        settled, place = sample[2] + 0.5 * seconds, sample[0]
        while sample[2] < end or not self._filter.at_rest:
            command = self._command(self._zero, sample)
            log.append((sample[2], sample[0], command, sample[1]))
            sample = yield command
            self.astray = self.astray and sample[2] < settled
            if sample[2] < settled:
                place = sample[0]
            adrift, away = np.abs(sample[0] - place), np.abs(sample[0] - first)
            if away.max() > far or began and adrift.max() > ODD * AMPLITUDE:
                self.astray = True
                if began:
                    joint = int(max(adrift, away, key=np.max).argmax())
                    raise _Adrift(f'{self.robot.joints[joint]} does not stay where it is when '
                                  'told to: something else drives it, or, under position control, '
                                  'its sign or the order of the joints is wrong')
                log.append((sample[2], sample[0], command, sample[1]))
                break
        return log

    def _try(self, joint: int) -> Routine:
        result = self.results[joint]
        for direction in (self._roomy(joint), -self._roomy(joint)):
            log = yield from self._go(joint, direction * AMPLITUDE)
            try:
                log += yield from self._stand(REST)
            except _Adrift:
                self._judge(joint, log)
                raise
            asked = _integral(log)[joint]
            if abs(asked) > 0.6 * AMPLITUDE or self._is_odd(joint, log, asked):
                break
            yield from self._go(joint, -asked)
        else:
            result.faults.append('cannot be moved here: a limit, a zone or another link is too '
                                 'near; move the arm to a freer pose')
            return
        self._judge(joint, log)
        yield from self._go(joint, -_integral(log)[joint])
        yield from self._stand(REST)

    def _roomy(self, joint: int) -> float:
        """Return the direction, 1 or -1, in which the joint has more room."""
        low, high = self.robot.limits.position[joint]
        return 1.0 if self._measured[joint] < (low + high) / 2 else -1.0

    def _go(self, joint: int, distance: float) -> Generator[Any, Any, list[Any]]:
        """Move a joint by a commanded distance, rad, unless a wrong motion is seen."""
        top = min(SPEED, 0.1 * self.robot.limits.velocity[joint])
        log: list[Any] = []
        sample = yield self._zero
        begin, speed = sample[2], 0.0
        longest = abs(distance) / top + 2 * top / RAMP + 1.0
        while sample[2] - begin < longest:
            self._measured = sample[0]
            gone = _integral(log)[joint] if log else 0.0
            left = (distance - gone) * np.sign(distance)
            self.astray = self._is_odd(joint, log, gone)
            if left <= 0.25 * top * self.robot.period or self.astray:
                break
            speed = min(speed + RAMP * self.robot.period, top, np.sqrt(2 * RAMP * left) + 1e-3,
                        left / self.robot.period)
            wish = self._zero.copy()
            wish[joint] = np.sign(distance) * speed
            command = self._command(wish, sample)
            log.append((sample[2], sample[0], command, sample[1]))
            sample = yield command
        log.append((sample[2], sample[0], self._zero, sample[1]))
        return log

    def _is_odd(self, joint: int, log: list[Any], asked: float) -> bool:
        """Return whether the motion differs from the commanded one, `asked` rad."""
        if len(log) < 2:
            return False
        moved = log[-1][1] - log[0][1]
        others = np.delete(np.abs(moved), joint)
        allowed = ODD * AMPLITUDE
        return bool((others > allowed).any() or moved[joint] * np.sign(asked or 1.0) < -allowed
                    or abs(moved[joint]) > 1.5 * abs(asked) + allowed)

    def _judge(self, joint: int, log: list[Any]) -> None:
        """Derive the joint's result from the log of its outward motion."""
        result, names = self.results[joint], self.robot.joints
        asked, moved = _integral(log)[joint], log[-1][1] - log[0][1]
        others = [number for number in np.flatnonzero(np.abs(moved) > 0.2 * AMPLITUDE)
                  if number != joint]
        for other in others:
            result.faults.append(
                f'its command moves {names[other]} by {moved[other]:+.3f} rad: the controller '
                "has its joints in another order than the robot file's")
        if abs(moved[joint]) < MOVED:
            if not others:
                result.faults.append(f'does not move when told to by {asked:+.3f} rad: is the '
                                     'controller active, and are its joint_states live?')
            return
        result.scale = float(moved[joint] / asked)
        if result.scale < 0.0:
            result.faults.append(f'moves against its command ({asked:+.3f} rad asked, '
                                 f'{moved[joint]:+.3f} measured): its sign is wrong')
        if abs(abs(result.scale) - 1.0) > SCALE_ERROR:
            result.faults.append(f'moves {abs(result.scale):.2f} times as far as commanded: unit '
                                 'or factor is wrong')
        result.delay = self._lag(joint, log, result.scale)
        allowed = (self.robot.control.delay + 1) * self.robot.period
        if result.delay > allowed + 1e-9:
            result.faults.append(f'follows its command {result.delay:.2f} s late; control.delay '
                                 f'of the robot file allows {allowed:.2f} s')
        reported = np.array([each[3][joint] for each in log])
        if not np.isfinite(reported).all():
            result.velocity_reported = False
            result.faults.append('joint_states has no velocity for it')
        else:
            peak = np.abs([each[2][joint] for each in log]).max() * abs(result.scale)
            result.velocity_reported = bool(np.abs(reported).max() > 0.4 * peak)
            if not result.velocity_reported:
                result.faults.append('moves while joint_states reports a velocity of '
                                     f'{np.abs(reported).max():.3f} rad/s')

    def _lag(self, joint: int, log: list[Any], scale: float) -> float:
        """Return the shift, s, for which the integral of the commands fits the motion best."""
        times = np.array([each[0] for each in log])
        command = np.array([each[2][joint] for each in log])
        asked = np.concatenate([[0.0], np.cumsum(command[:-1] * np.diff(times))])
        moved = np.array([each[1][joint] for each in log]) - log[0][1][joint]
        shifts = np.arange(0.0, 0.6, 0.25 * self.robot.period)
        errors = [float(np.sum((moved - scale * np.interp(
            times - shift, times, asked, left=0.0)) ** 2)) for shift in shifts]
        return float(shifts[int(np.argmin(errors))])

    def _fall_silent(self, joint: int) -> Routine:
        """Stop sending while the joint moves slowly; see whether the controller stops it."""
        speed = min(0.5 * SPEED, 0.1 * self.robot.limits.velocity[joint])
        wish = self._zero.copy()
        wish[joint] = self._roomy(joint) * speed
        sample = yield self._zero
        end, start = sample[2] + speed / RAMP + 0.3, sample[0]
        while sample[2] < end:
            sample = yield self._command(wish, sample)
        begin, log = sample[2], []
        while sample[2] < begin + SILENCE:
            self._filter.stood(1)
            log.append((sample[2] - begin, sample[0][joint]))
            sample = yield None
        times, places = np.array(log).T
        late = times > 0.6 * SILENCE
        creep = abs(places[late][-1] - places[late][0]) / max(np.ptp(times[late]), 1e-6)
        if creep < 0.2 * speed:
            still = np.abs(places - places[-1]) > 0.1 * speed * self.robot.period
            self.timeout = float(times[still][-1]) if still.any() else 0.0
        yield from self._stand(REST)
        self._measured = sample[0]
        yield from self._go(joint, float(start[joint] - sample[0][joint]))
        yield from self._stand(REST)


def _integral(log: list[Any]) -> Array:
    """Return the commanded motion (d,) rad of a log of (s, position, command, velocity)."""
    times = np.array([each[0] for each in log])
    commands = np.array([each[2] for each in log])
    return np.asarray(np.diff(times) @ commands[:-1]) if len(log) > 1 else 0.0 * commands[0]
