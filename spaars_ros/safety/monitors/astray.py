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

"""Check that an arm that does not move as commanded can still stop before its limits."""

from collections import deque
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.safety.cartesian import Cartesian
from spaars_ros.safety.joint_limits import JointLimits
from spaars_ros.safety.stop import Stop

BEYOND = 0.01
"""Share of the velocity limit by which a joint may be faster than commanded: noise, settling."""
SHARE = 0.3
"""Share of its own speed by which it has to be faster; a small overshoot is no fault."""
OBEYED = 2
"""Periods, plus `control.delay`, in which a command takes effect."""
NEXT = 3
"""Periods, plus `control.delay`, until a stop decided on the next state is obeyed."""


class Astray:
    """
    Detect an arm that is about to leave its limits without being commanded to.

    The filter lets the arm approach a limit as fast as it can brake. This holds for an arm that
    moves as commanded. If the wires are swapped, the gains are wrong or somebody pushes the arm,
    the other monitors may need seconds of motion to detect it. So this monitor stops the arm at
    once, whatever the reason, if two conditions hold: a joint's measured velocity is outside all
    commands that can be in effect; and the measured motion, continued until a stop would be obeyed
    and then braked by the law of `JointLimits`, ends outside a position limit, or comes nearer to
    a zone than the robot file's `clearance`, which is there for what does not move as commanded.
    Away from limits it does nothing. Reconstructed here.

    :param robot: the robot file
    :raises ConfigError: as `Cartesian`
    """

    def __init__(self, robot: Robot) -> None:
        self._joints = robot.joints
        self._limits = limits = JointLimits(robot, timeout=0.0)
        self._beyond = BEYOND * np.asarray(robot.limits.velocity)
        self._clearance = robot.clearance
        self._ahead = robot.period * (robot.control.delay + NEXT)
        self._commands: deque[Array] = deque(maxlen=robot.control.delay + OBEYED)
        self._span: tuple[Array, Array] | None = None
        """Least and greatest (d,) rad/s of the commands that can be in effect; None until all are
        known."""
        self._cartesian = Cartesian(robot, limits) if (
            robot.keep_out or robot.workspace or robot.self_collision) else None

    def commanded(self, command: Array | None) -> None:
        """Note a command (d,) rad/s; None: something else is meant to move the arm."""
        if command is None:
            self._commands.clear()
            self._span = None
            return
        self._commands.append(command)
        if len(self._commands) == self._commands.maxlen:
            commands = np.array(self._commands)
            self._span = commands.min(axis=0), commands.max(axis=0)

    def measured(self, state: RobotState) -> Stop | None:
        """Return a stop if the arm would leave its limits unless it is stopped now, else None."""
        if self._span is None:
            return None
        velocity, (least, most) = state.velocity, self._span
        over = np.maximum(velocity - most, least - velocity)
        if not (over > self._beyond).any():
            return None
        astray: Any = (over > self._beyond) & (over > SHARE * np.abs(velocity))
        if not astray.any():
            return None
        offsets, _ = self._limits.way(velocity, velocity)
        # Joints that obey are assumed to be commanded only where it is free.
        way = state.position + (offsets + self._ahead * velocity)
        return self._past_limits(state, way[-1], astray) or self._into_something(state, way)

    def _past_limits(self, state: RobotState, end: Array, astray: Array) -> Stop | None:
        low, high = self._limits.ends
        past = np.where(astray, np.maximum(end - high, low - end), -np.inf)
        joint = int(past.argmax())
        outwards = np.where(end > high, state.velocity, -state.velocity)[joint]
        if past[joint] <= 0.0 or outwards <= 0.0:
            return None
        return self._stop(state, joint, f'past its position limit by {past[joint]:.3f} rad')

    def _into_something(self, state: RobotState, way: Array) -> Stop | None:
        if self._cartesian is None:
            return None
        now = self._cartesian.least(state.position)
        least = {name: min(gap, now[name] + 1.0) for name, gap in now.items()}
        for place in way[1:]:
            for name, gap in self._cartesian.least(place).items():
                least[name] = min(least[name], gap)
        for name, gap in least.items():
            if gap < self._clearance and gap < now[name] - 1e-4:
                joint = int(np.abs(state.velocity / self._limits.velocity).argmax())
                where = f'{-gap:.3f} m into' if gap < 0.0 else f'within {gap:.3f} m of'
                return self._stop(state, joint, f'{where} {name}')
        return None

    def _stop(self, state: RobotState, joint: int, where: str) -> Stop:
        return Stop('ASTRAY', float(state.velocity[joint]), float(self._beyond[joint]),
                    f'rad/s of {self._joints[joint]}, not as commanded, and would go {where}: '
                    'its wiring, its controller or a hand; spaars check tells which')
