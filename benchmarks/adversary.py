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

"""Adversarial commands against every limit, on a simulated arm with model errors."""

from collections.abc import Callable
import time
from typing import Any

import numpy as np

from benchmarks.erring_arm import ErringArm
from benchmarks.erring_arm import Errors
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Box
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.config import Workspace
from spaars_ros.safety.cartesian import Cartesian
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.joint_limits import JointLimits

PUSH = 1.9
"""Commanded multiple of the velocity limits; 2 would be a gross violation and a stop."""

EPISODE = 80
"""Ticks per episode."""

TACTIC = 16
"""Ticks per tactic, see `Adversary._choose`."""


def crowded(robot: Robot, **updates: Any) -> Robot:
    """Return the robot with a workspace and two keep-out zones for all of its links."""
    zones = [*robot.keep_out,
             Box(shape='box', name='shelf', centre=(0.35, 0.55, 0.35), size=(0.4, 0.2, 0.3),
                 protects='arm'),
             Sphere(shape='sphere', name='lamp', centre=(0.3, -0.35, 0.75), radius=0.1,
                    protects='arm')]
    return robot.model_copy(update={
        'keep_out': zones, **updates,
        'workspace': Workspace(low=(-0.7, -0.7, 0.05), high=(0.75, 0.7, 1.1))})


class Adversary:
    """
    Push one robot against its limits and record the smallest margins.

    :param robot: robot of the filter and the nominal model of the arm
    :param errors: model errors of the arm
    :param seed: seed of start poses, commands and noise
    :raises ConfigError: as `SafetyFilter`
    """

    def __init__(self, robot: Robot, errors: Errors, seed: int) -> None:
        self.robot = robot
        self.filter = SafetyFilter(robot, repeated=1e9)
        self._rng = np.random.default_rng(seed)
        self._arm = ErringArm(robot, errors, self._rng)
        self._ruler = Cartesian(robot, JointLimits(robot))
        self._low, self._high = np.asarray(robot.limits.position).T
        self._velocity = np.asarray(robot.limits.velocity)
        self._acceleration = np.asarray(robot.limits.acceleration)
        self._jerk = np.asarray(robot.limits.jerk)
        self.ticks = 0
        self.touched = 0
        """Ticks in which the filter intervened."""
        self.tip_speed = 0.0
        self.nearest: dict[str, float] = {}
        self.margins = {'joint_position_rad': np.inf, 'distance_m': np.inf, 'velocity': np.inf,
                        'acceleration': np.inf, 'jerk': np.inf, 'tip_speed': np.inf}

    def episode(self) -> None:
        """Run one episode from a random start; raises RuntimeError if the filter stops."""
        self._arm.reset(self._start())
        state, age = self._arm.measured()
        self.filter.reset(state)
        last, acceleration = np.zeros_like(self._low), np.zeros_like(self._low)
        push = self._choose(state)
        for tick in range(EPISODE):
            if tick % TACTIC == 0:
                push = self._choose(state)
            result = self.filter.apply(push(state), state, age)
            if result.stop is not None:
                raise RuntimeError(f'the filter stopped: {result.stop}')
            command = result.command
            change = (command - last) / self.robot.period
            self._keep('velocity', 1.0 - np.abs(command) / self._velocity)
            self._keep('acceleration', 1.0 - np.abs(change) / self._acceleration)
            self._keep('jerk', 1.0 - np.abs(change - acceleration)
                       / (self._jerk * self.robot.period))
            last, acceleration = command, change
            self._arm.step(command, self._look)
            state, age = self._arm.measured()
            self.ticks += 1
            self.touched += bool(result.intervention)

    def report(self) -> dict[str, Any]:
        """Return margins (negative: limit exceeded), ticks and counts of the filter."""
        return {'ticks': self.ticks, 'touched': self.touched / max(1, self.ticks),
                'margins': {name: float(value) for name, value in self.margins.items()},
                'nearest_m': dict(sorted(self.nearest.items(), key=lambda item: item[1])[:5]),
                'tip_speed_max': self.tip_speed, 'counts': dict(self.filter.counts)}

    def _keep(self, name: str, room: Array | float) -> None:
        # NaN compares as false; check for it, so that it does not pass as a margin.
        least = float(np.min(room))
        self.margins[name] = least if np.isnan(least) or least < self.margins[name] \
            else self.margins[name]

    def _look(self, position: Array, velocity: Array) -> None:
        self._keep('joint_position_rad', np.minimum(position - self._low, self._high - position))
        for name, gap in self._ruler.least(position).items():
            if gap < self.nearest.get(name, np.inf):
                self.nearest[name] = gap
            self._keep('distance_m', gap)
        speed = self._ruler.tip_speed(position, velocity)
        self.tip_speed = max(self.tip_speed, speed)
        if self.robot.tip_speed is not None:
            self._keep('tip_speed', 1.0 - speed / self.robot.tip_speed)

    def _start(self) -> Array:
        while True:
            position = self._rng.uniform(self._low + 0.01, self._high - 0.01)
            if min(self._ruler.least(position).values(), default=1.0) > self.robot.clearance:
                return position

    def _choose(self, state: RobotState) -> Callable[[RobotState], Array]:
        """Return a random tactic: towards joint limits, towards near obstacles, or at random."""
        most, rng = PUSH * self._velocity, self._rng
        kind = rng.integers(5)
        if kind == 0:
            sign = rng.choice([-1.0, 1.0], len(most))
            return lambda now: most * sign
        if kind == 1:
            return lambda now: rng.uniform(-most, most)
        if kind == 2:
            share = rng.uniform(0.02, 1.0)
            return lambda now: share * self._towards(now.position, int(rng.integers(3))) * most
        if kind == 3:
            sign = rng.choice([-1.0, 1.0], len(most)) * rng.uniform(0.05, 0.6)
            return lambda now: sign * most
        return lambda now: self._towards(now.position, 0) * most

    def _towards(self, position: Array, rank: int) -> Array:
        """Return the joint direction (d,) in [-1, 1] that reduces the rank-th least distance."""
        slope = self._ruler.slope(position, rank)
        return np.asarray(-slope / max(float(np.abs(slope).max()), 1e-9))


VARIANTS: dict[str, tuple[Errors, dict[str, Any]]] = {
    'nominal': (Errors(), {}),
    'late, rough, loaded': (Errors(payload=0.5, friction=0.5, delay=1, noise=2e-4), {'delay': 2}),
    'two ticks late': (Errors(delay=2, noise=1e-4), {'delay': 3}),
    'on a timer': (Errors(age=1.0, noise=1e-4), {}),
    'on a timer, late, rough, loaded': (
        Errors(payload=0.5, friction=0.5, delay=1, noise=2e-4, age=1.0), {'delay': 2}),
    'slow jerk': (Errors(noise=1e-4), {'jerk': 0.02}),
}
"""Name -> errors of the arm, and settings: `control.delay`, factor on the jerk limits."""


def variant(robot: Robot, settings: dict[str, Any]) -> Robot:
    """Return the `crowded` robot with the settings of a variant."""
    control = robot.control.model_copy(update={
        'delay': settings.get('delay', robot.control.delay)})
    limits = robot.limits.model_copy(update={
        'jerk': [settings.get('jerk', 1.0) * value for value in robot.limits.jerk]})
    return crowded(robot, control=control, limits=limits)


def run(robot: Robot, *, seconds: float, seed: int = 0) -> dict[str, Any]:
    """Push for `seconds` of wall time, split evenly over VARIANTS; return rows and margins."""
    rows = []
    for name, (errors, settings) in VARIANTS.items():
        adversary = Adversary(variant(robot, settings), errors, seed)
        end = time.monotonic() + seconds / len(VARIANTS)
        adversary.episode()
        while time.monotonic() < end:
            adversary.episode()
        rows.append({'variant': name, **adversary.report()})
    return {'rows': rows,
            'least_margins': {key: min(row['margins'][key] for row in rows)
                              for key in rows[0]['margins']}}
