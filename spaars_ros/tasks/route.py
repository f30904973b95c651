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

"""Paths of the tool tip to a target, around zones, that the arm can follow."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Robot
from spaars_ros.robot.resolved_rate import ResolvedRate
from spaars_ros.robot.zones import distance

Array = NDArray[np.float64]
Gap = Callable[[Array], float]
"""Joint positions (d,) rad -> distance in m to the nearest forbidden contact."""

SAMPLES = 24
"""Number of points checked along each segment of a path."""

DIRECTIONS = 12
"""Number of directions around the straight path in which detours are tried."""

WIDTHS = 0.04 * np.arange(1, 61)
"""Sideways distances of the detours, in lengths of the straight path."""

TASTE = 0.1
"""Relative extra length at which a path is chosen 1 / e times as often."""

STEPS = 60
"""Number of steps per path when checking that the arm can follow it."""

TRIES = 24
"""Greatest number of paths that are checked with the arm."""


@dataclass(frozen=True)
class Route:
    """A path that the arm can follow."""

    points: Array
    """(k, 3) m, base frame, without the start; the last point is the target."""
    length: float
    """m."""
    rates: Array
    """(d,) rad per metre of path: 90th percentile of each joint's motion."""


class Router:
    """
    Search for paths of the tip: straight, or around zones on a randomly chosen side.

    :param gap: distance of the whole arm to zones and itself; None: only the tip is kept clear
    """

    def __init__(self, robot: Robot, control: ResolvedRate, gap: Gap | None = None) -> None:
        self.robot = robot
        self.control = control
        self.gap = gap

    def find(self, position: Array, target: Array, wanted: float, within: float,
             rng: np.random.Generator) -> Route | None:
        """
        Return a path from joint positions (d,) rad to a target (3,) m; None if none was found.

        :param wanted: m, distance from zones, as far as start and target allow it
        :param within: m, allowed distance of the tip from the target
        """
        start = self.control.kinematics.tip(position)
        ends = distance(self.robot.keep_out, np.stack([start, target]))
        need = max(self.robot.clearance, min(wanted, float(ends.min())))
        tried = 0
        for points in self._ways(start, target, need, rng):
            route = self._followed(position, start, points, within)
            tried += 1
            if route is not None or tried >= TRIES:
                return route
        return None

    def _ways(self, start: Array, target: Array, need: float,
              rng: np.random.Generator) -> Iterator[Array]:
        """Yield paths (k, 3) m on which the tip is free; shorter ones tend to come first."""
        straight = target - start
        far = max(float(np.linalg.norm(straight)), 1e-9)
        shares = np.linspace(0.0, 1.0, 2 * SAMPLES)
        blocked = np.flatnonzero(np.logical_not(
            self._free(start + shares[:, None] * straight, need)))
        if not len(blocked):
            yield target[None]
        ends = (shares[blocked[[0, -1]]] if len(blocked) else np.array([0.35, 0.65]))
        ends = np.clip(ends + np.array([-0.05, 0.05]), 0.02, 0.98)
        along = straight / far
        across = np.linalg.svd(along[None])[2][1:]
        found: list[tuple[float, Array]] = []
        for turn in 2.0 * np.pi * (np.arange(DIRECTIONS) + rng.uniform()) / DIRECTIONS:
            aside = np.cos(turn) * across[0] + np.sin(turn) * across[1]
            for width in WIDTHS:
                via = start + ends[:, None] * straight + width * far * aside
                points = np.concatenate((via, target[None]))
                if self._free(_sampled(start, points), need).all():
                    found.append((_length(start, points), points))
                    if len(blocked):
                        break
        if found:
            lengths = np.array([length for length, _ in found])
            # Gumbel trick: the order of draws without replacement.
            keys = -lengths / (TASTE * lengths.min()) + rng.gumbel(size=len(found))
            for index in np.argsort(-keys):
                yield found[index][1]

    def _free(self, points: Array, need: float) -> Array:
        """Return for each point (n, 3) m whether the tip is allowed there, (n,)."""
        free = distance(self.robot.keep_out, points) >= need - 1e-9
        if self.robot.workspace is not None:
            low = np.asarray(self.robot.workspace.low) + self.robot.clearance
            high = np.asarray(self.robot.workspace.high) - self.robot.clearance
            free &= ((points >= low) & (points <= high)).all(axis=-1)
        return np.asarray(free)

    def _followed(self, position: Array, start: Array, points: Array,
                  within: float) -> Route | None:
        """Return the path if the arm follows it without contact and arrives, otherwise None."""
        length = _length(start, points)
        if length <= within:
            return Route(points, length, np.zeros(len(position)))
        step = length / STEPS
        tip, rates = start, []
        for number, point in enumerate(points):
            near = within if number == len(points) - 1 else step
            for _ in range(2 * STEPS):
                error = point - tip
                gone = float(np.linalg.norm(error))
                if gone <= near:
                    break
                before = position
                position = self.control.stepped(position, error * min(1.0, step / gone))
                rates.append(np.abs(position - before) / step)
                tip = self.control.kinematics.tip(position)
                if self.gap is not None and len(rates) % 3 == 0 \
                        and self.gap(position) < self.robot.clearance:
                    return None
            else:
                return None
        return Route(points, length, np.percentile(np.asarray(rates), 90, axis=0))


def _sampled(start: Array, points: Array) -> Array:
    corners = np.concatenate((start[None], points))
    shares = np.linspace(0.0, 1.0, SAMPLES)[:, None]
    return np.concatenate([one + shares * (other - one)
                           for one, other in zip(corners, corners[1:])])


def _length(start: Array, points: Array) -> float:
    corners = np.concatenate((start[None], points))
    return float(np.linalg.norm(np.diff(corners, axis=0), axis=-1).sum())
