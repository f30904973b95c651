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
"""How late and how well the arm follows its commands, which the filter's promise rests on."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from spaars_ros.config import Robot
from spaars_ros.data.schema import Array

WINDOW = 40
"""States that are compared with commands."""
LONGEST = 12
"""Control periods of lateness that are looked for."""
BACK = np.arange(0.0, LONGEST + 1.5, 0.5)
"""Control periods from a command until a state that may show it."""
CLEARER = 0.8
"""Rest that a later command may leave, of what one within `control.delay` leaves, to be believed;
1 is no difference, and the arm may as well be in time."""
POORLY = 0.2
"""Share of the commands that the arm's motion may differ by."""
MOVING = 0.01
"""Of the velocity limits, root mean square: below it nothing is said."""


@dataclass(frozen=True)
class Followed:
    """What the last commands say of the motion that was measured."""

    late: float
    """Control periods from a command until the arm moves as it says, to a half."""
    error: float
    """Root mean square of measured less commanded velocities, as a share of the commanded."""
    warning: str
    """What is wrong, '' for nothing."""


class Following:
    """
    Compare measured velocities with the commands of 1, 2 .. periods before.

    The filter looks `control.delay` periods ahead. An arm that follows later, by a slow driver or
    a lagging servo, comes closer to things than the filter reckons, and nothing else shows it.
    With velocities as shares of their limits, v measured at t and u(t) the command then, the arm
    is late by max(0, m - 1) periods T for the m in 0, 1/2, 1 .. with the least sum over the window
    of |v(t) - u(t - m T)|^2: a command has moved the arm once its period is over. Reconstructed
    here.

    :param robot: the robot file
    """

    def __init__(self, robot: Robot) -> None:
        self._period = robot.period
        self._allowed = robot.control.delay
        self._limits = np.asarray(robot.limits.velocity)
        self._unknown = np.full_like(self._limits, np.nan)
        self._commands: deque[tuple[float, Array]] = deque(maxlen=4 * (WINDOW + LONGEST))
        self._states: deque[tuple[float, Array]] = deque(maxlen=2 * WINDOW)

    def commanded(self, time: float, command: Array | None) -> None:
        """
        Note that a command (d,) rad/s stands from `time` s on.

        None is something else that moves the arm: what is measured until the next command, and
        for as long after it as is looked back, says nothing.
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
        """Return what the window says; None while it is not full or the arm hardly moves."""
        if len(self._states) < WINDOW:
            return None
        begun = np.array([time for time, _ in self._commands])
        commands = np.array([command for _, command in self._commands]) / self._limits
        times = np.array([time for time, _ in self._states])
        velocities = np.array([velocity for _, velocity in self._states]) / self._limits
        # A hair less than half periods: so far back lies the command that a state was given.
        back = times - self._period * (BACK[:, None] - 1e-3)
        places = np.searchsorted(begun, back, side='right') - 1
        asked = commands[places]  # (lateness, state, d)
        known = np.flatnonzero((places >= 0).all(axis=0)
                               & np.isfinite(asked).all(axis=(0, 2)))[-WINDOW:]
        if len(known) < WINDOW:
            return None
        asked, velocities = asked[:, known], velocities[known]
        rest = np.sqrt(((velocities - asked) ** 2).mean(axis=(1, 2)))
        # The last of equals: a command that stands fits with every moment of its period.
        best = int(np.flatnonzero(rest <= rest.min() * (1.0 + 1e-9))[-1])
        late = max(0.0, float(BACK[best]) - 1.0)
        size = float(np.sqrt((asked[best] ** 2).mean()))
        if size < MOVING:
            return None
        error = float(rest[best]) / size
        within = float(rest[BACK <= self._allowed + 1].min())
        warning = ''
        if late > self._allowed and rest[best] < CLEARER * within:
            warning = (f'the arm moves as commanded {late:g} control periods late, control.delay '
                       f'says {self._allowed}: the safety filter looks no further ahead')
        elif error > POORLY:
            warning = ('the arm moves otherwise than commanded, by more than a fifth: a load, '
                       'friction or gains that its controller does not make up for')
        return Followed(late, error, warning)
