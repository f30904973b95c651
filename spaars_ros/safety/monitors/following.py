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
"""
Monitor of the delay and the accuracy with which the arm follows its commands.

The guarantees of the safety filter depend on both.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot

WINDOW = 40
"""Number of states that are compared with commands."""
LONGEST = 12
"""Largest delay that is tried, control periods, or four more than `control.delay`."""
STEP = 0.125
"""Step between two tried delays, control periods."""
EQUAL = 1.05
"""A delay whose residual is at most this multiple of the least residual may be the true one."""
UNSURE = 1.5
"""Control periods between such delays above which none is named: the speed is constant."""
CLEARER = 0.8
"""Largest ratio of a late delay's residual to the best one within `control.delay` for a warning;
at 1 there is no difference, and the arm may as well be in time."""
POORLY = 0.35
"""Share of the commands by which the motion may differ; a lag of half a period gives 0.25."""
MOVING = 0.01
"""Share of the velocity limits, root mean square; less motion is not judged."""
SPARSE = 10
"""Largest time between two states, control periods."""


@dataclass(frozen=True)
class Followed:
    """Delay and error of the measured motion compared with the last commands."""

    least: float
    """Least delay from a command to the motion, control periods; nan: unknown."""
    most: float
    """Largest delay, which `control.delay` has to cover, control periods; nan: unknown."""
    error: float
    """Root mean square of measured less commanded velocities, as a share of the commanded."""
    warning: str
    """What is wrong, '' for nothing."""


class Following:
    """
    Compare measured velocities with the commands of the periods before.

    The filter looks `control.delay` periods ahead. An arm with a larger delay, by a slow driver or
    a lagging servo, comes closer to obstacles than the filter assumes, and no other monitor
    detects it. With velocities as shares of their limits, v measured at t and u(t) the command in
    effect at t, the delay is the m T with the least sum of |v(t) - u(t - m T)|^2 over the window.
    A command is in effect for a period. So states that come at the same place in every period
    determine m only to within a period, and both ends are kept. Reconstructed here.

    :param robot: the robot file
    """

    def __init__(self, robot: Robot) -> None:
        self._period = robot.period
        self._allowed = robot.control.delay
        self._limits = np.asarray(robot.limits.velocity)
        self._unknown = np.full_like(self._limits, np.nan)
        longest = max(LONGEST, self._allowed + 4)
        self._tried = np.arange(0.0, longest + STEP, STEP)
        self._commands: deque[tuple[float, Array]] = deque(
            maxlen=SPARSE * WINDOW + 4 * (longest + 1))
        self._states: deque[tuple[float, Array]] = deque(maxlen=2 * WINDOW)
        self._doubt = ''

    def commanded(self, time: float, command: Array | None) -> None:
        """
        Note that a command (d,) rad/s is in effect from `time` s on.

        None means that something else moves the arm. What is measured until the next command, and
        for the largest tried delay after it, is not judged.
        """
        if self._commands and time < self._commands[-1][0]:  # the clock was set back
            self._commands.clear()
            self._states.clear()
        self._commands.append((time, self._unknown if command is None else command))

    def measured(self, time: float, velocity: Array) -> None:
        """Note the velocity (d,) rad/s at `time` s, on the same clock."""
        if np.isfinite(velocity).all():
            self._states.append((time, velocity))

    def judge(self) -> Followed | None:
        """
        Return the result for the window; None while it is not full or the arm hardly moves.

        Call it once per second: it takes half a millisecond. A warning is given only if it comes
        twice in a row.
        """
        found = self._judged()
        warning = '' if found is None else found.warning
        doubt, self._doubt = self._doubt, warning[:30]
        if found is not None and warning[:30] != doubt:
            return Followed(found.least, found.most, found.error, '')
        return found

    def _judged(self) -> Followed | None:
        if len(self._states) < WINDOW:
            return None
        begun = np.array([time for time, _ in self._commands])
        commands = np.array([command for _, command in self._commands]) / self._limits
        times = np.array([time for time, _ in self._states])
        velocities = np.array([velocity for _, velocity in self._states]) / self._limits
        # Slightly before the stamp: a state shows what the arm did until then, not after.
        back = times - self._period * (self._tried[:, None] + 1e-3)
        places = np.searchsorted(begun, back, side='right') - 1
        asked = commands[places]  # (lateness, state, d)
        known = np.flatnonzero((places >= 0).all(axis=0)
                               & np.isfinite(asked).all(axis=(0, 2)))[-WINDOW:]
        if len(known) < WINDOW:
            return None
        asked, velocities = asked[:, known], velocities[known]
        rest = np.sqrt(((velocities - asked) ** 2).mean(axis=(1, 2)))
        best = int(rest.argmin())
        size = float(np.sqrt((asked[best] ** 2).mean()))
        if size < MOVING:
            return None
        error = float(rest[best]) / size
        equal = self._tried[rest <= EQUAL * rest[best] + 1e-9]
        least, most = float(equal[0]), float(equal[-1]) + STEP
        if most - least > UNSURE:
            least = most = float('nan')
        within = float(rest[self._tried <= self._allowed].min())
        warning = ''
        if least > self._allowed and rest[best] < CLEARER * within:
            end = 'or more' if equal[-1] == self._tried[-1] else f'to {most:g}'
            warning = (f'the arm moves as commanded late, {least:g} {end} control periods where '
                       f'control.delay says {self._allowed}: the safety filter looks no further '
                       'ahead')
        elif error > POORLY:
            warning = ('the arm moves otherwise than commanded, by more than a third: a load, '
                       'friction or gains that its controller does not make up for')
        return Followed(least, most, error, warning)
