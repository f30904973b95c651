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

"""Scripted operator of `reach`, like a person with a teach pendant: varied, noisy, stops short."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.resolved_rate import ResolvedRate
from spaars_ros.robot.zones import distance
from spaars_ros.tasks.route import Router

if TYPE_CHECKING:
    from spaars_ros.tasks.reach import ReachTask

Array = NDArray[np.float64]

STOPS_SHORT = (2.0, 5.0)
"""
Range of the distance at which the operator stops before the target, in the task's tolerances.
"""

CLEARANCE = (0.02, 1.0)
"""
Range of the distance between path and keep-out margin, as a fraction of the robot's `near_zone`;
at the low end, the path sometimes causes costs.
"""

SPEED = (0.5, 0.9)
"""
Range of the usual speed, as a fraction of the greatest speed that the joints allow on the path.
"""

NEAR_SPEED = (0.6, 1.02)
"""
Range of the speed limit, as a fraction of the robot's `near_speed`, if there are zones; above 1 it
causes costs.
"""

IN_TIME = 0.55
"""Fraction of the episode within which the operator wants to arrive."""

ARRIVED = 0.8
"""Distance from the intended stop at which the operator is content, in tolerances."""

RESTS = 10
"""Ticks after which a content operator ends the recording."""

SLOWS = 4.0
"""1/s; speed per metre of remaining distance; at most half of the distance is covered per tick."""

NOISE = 0.12
"""
Standard deviation of the hand's shake, in normalised action; first-order noise, factor 0.7 per
tick.
"""


class ScriptedOperator:
    """Operator for one episode at a time: to the target on a path that the arm can follow."""

    def __init__(self, robot: Robot, task: 'ReachTask', rng: np.random.Generator) -> None:
        self.robot = robot
        self.task = task
        self.rng = rng
        self._control = ResolvedRate(robot, Kinematics(robot))
        self._router = Router(robot, self._control)
        self._scale = robot.control.action_scale * np.asarray(robot.limits.velocity)
        self._tolerance = task.settings.tolerance
        self._gain = min(SLOWS, 0.5 / robot.period)
        self._shake = np.zeros(len(robot.joints))
        self._waypoints: list[Array] = []
        self._failure = ''
        self._rested = 0

    def guard(self, gap: Callable[[Array], float]) -> None:
        """Keep the whole arm clear; `gap`: joint positions (d,) rad -> m to an obstacle."""
        self._router.gap = gap

    def begin(self, observation: Array) -> None:
        """Choose path, speed and stop position for a new episode, from an observation (n,)."""
        rng, robot = self.rng, self.robot
        tip, target = self.task.tip(observation), self.task.target(observation)
        position = observation[:len(self._scale)]
        self._shake[:] = 0.0
        self._rested = 0
        wanted = robot.zone_margin + robot.near_zone * rng.uniform(*CLEARANCE)
        route = self._router.find(position, target, wanted, ARRIVED * self._tolerance, rng)
        self._failure = ''
        self._waypoints = []
        if route is None:
            self._failure = 'no way to the target'
            return
        fastest = 1.0 / max(float((route.rates / self._scale).max()), 1e-9)
        self._speed = fastest * rng.uniform(*SPEED)
        if robot.keep_out:
            self._speed = min(self._speed, robot.near_speed * rng.uniform(*NEAR_SPEED))
        needed = route.length / (IN_TIME * self.task.horizon * robot.period)
        self._speed = min(max(self._speed, needed), fastest)
        before = route.points[-2] if len(route.points) > 1 else tip
        self._waypoints = [*route.points[:-1], self._stop(target, before)]
        self._from = tip

    def _stop(self, target: Array, last: Array) -> Array:
        """Return where the operator stops, (3,) m: short of the target and outside the zones."""
        rng = self.rng
        gone = float(np.linalg.norm(target - last))
        along = (target - last) / max(gone, 1e-9)
        short = min(self._tolerance * rng.uniform(*STOPS_SHORT), gone)
        aside = rng.normal(size=3)
        aside -= aside.dot(along) * along
        aside /= np.linalg.norm(aside)
        angle = rng.uniform(0.0, np.pi / 3)
        stop = target - short * (np.cos(angle) * along + np.sin(angle) * aside)
        inside = distance(self.robot.keep_out, stop) < self.robot.clearance
        return np.asarray(target - short * along if inside else stop)

    def act(self, observation: Array) -> Array:
        """Return the action (d,) in [-1, 1] for an observation (n,)."""
        d = len(self._scale)
        position = observation[:d]
        if not self._waypoints:
            return np.zeros(d)
        tip = self.task.tip(observation)
        while len(self._waypoints) > 1 and self._passed(tip):
            self._from = self._waypoints.pop(0)
        error = self._waypoints[0] - tip
        gone = float(np.linalg.norm(error))
        last = len(self._waypoints) == 1
        speed = min(self._speed, self._gain * gone) if last else self._speed
        self._rested = self._rested + 1 if last and gone < ARRIVED * self._tolerance else 0
        action = self._control.joints(position, error * (speed / max(gone, 1e-9))) / self._scale
        action /= max(1.0, float(np.abs(action).max()))
        self._shake = 0.7 * self._shake + np.sqrt(1 - 0.7 ** 2) * NOISE * self.rng.normal(size=d)
        # The hand shakes with the effort of moving, and less at rest.
        busy = 0.3 + 0.7 * min(1.0, self._gain * gone / self._speed)
        return np.clip(action + busy * self._shake, -1.0, 1.0)

    @property
    def done(self) -> bool:
        """Return whether the operator has ended the episode."""
        return self._rested >= RESTS or not self._waypoints

    @property
    def failure(self) -> str:
        """Return why the tip did not get to the intended position, '' if it did."""
        return self._failure or ('' if self.done else 'not there at the end of the episode')

    def _passed(self, tip: Array) -> bool:
        ahead = self._waypoints[0] - tip
        near = 3.0 * self.robot.period * self._speed
        return bool(np.linalg.norm(ahead) < near
                    or ahead.dot(self._waypoints[0] - self._from) < 0.0)
