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

"""Barrier constraints on joint velocities: zones, workspace, tip speed, self-collision."""

from dataclasses import dataclass
import math

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.safety.braking_path import BrakingPath
from spaars_ros.safety.distances import TipToZone
from spaars_ros.safety.gaps import Gaps
from spaars_ros.safety.joint_limits import JointLimits

GAIN = 0.75
"""Share of the free distance that braking from the next command may use up."""

SPEED_SHARE = 0.85
"""Share of the tip speed limit that a command may use; the rest is for a servo that overshoots and
for the arm's rotation during T."""

SCREEN = 0.5
"""Share of the levers that the screening for rows uses; the check of the braking path uses all."""

MARGIN = 1e-3
"""m beyond the zones' margin, where the rows keep the tip out of that margin, too."""


@dataclass(frozen=True)
class Rows:
    """Half-spaces rows @ v >= least of allowed velocities v (d,) rad/s."""

    rows: Array
    """(m, d), scaled so that `least` is in rad/s."""
    least: Array
    """(m,) rad/s, <= 0: standing still is always allowed."""
    kinds: tuple[str, ...]
    """(m,) what each row protects: KEEP_OUT, WORKSPACE, COLLISION or TIP_SPEED."""


class Cartesian:
    """
    Control barrier functions of the robot's distances, in discrete time, with braking distance.

    h(q) is a distance (tip to zone, link to zone, tip to a face of the workspace, link to link)
    and n its gradient. T is the period plus the controller's `timeout`, during which the last
    command remains in effect. D_m is the joint motion that the last m commands may still make, for
    m = 0 .. delay; one further D is a period times the measured velocity. Reconstructed here.

    **Row.** If the arm moves by v for T and then brakes by the law of `JointLimits`, joint j moves
    by a further E_j(|v_j|). To first order in the joint motion h never falls below

        h(q) + min_m n D_m + sum_j n_j w_j v_j,   w_j = T + [n_j v_j < 0] E_j(|v_j|) / |v_j|

    (joints that increase the distance are not credited for their motion while they brake). The
    discrete-time barrier condition allows a share GAIN < 1 of the free distance to be used up:

        sum_j n_j w_j v_j >= -GAIN max(0, h(q) + min_m n D_m - clearance)

    w is computed at the command as limited joint by joint. If the row held for the last command,
    it holds for braking from it. So to first order braking always remains possible.

    **Braking path.** The row is only first order. So `BrakingPath` follows the resulting command
    to rest, with the model's real distances. A command that fails is not sent: the arm brakes
    instead, along a path that was checked and found free one tick before, with half of
    `clearance`. The other half is for tracking error and noise.

    **Far away.** Joint j changes h by at most levers_j per rad. Distances that cannot become small
    before the arm is at rest are not followed to rest. Distances measured before stay valid, less
    the bound of what the joints have moved since. Neither misses anything. Rows are made for
    distances that half of the levers make small; what this omits is found on the braking path.

    **Not promised.** The guarantee holds for an arm that moves as commanded at most `delay`
    periods late, with the model's geometry, and for obstacles that the robot file declares. Two
    constraints that together leave no free direction (a wedge) end in braking, which is safe, but
    makes no progress.

    :param robot: the robot file
    :param limits: joint limits of the same robot file, with the braking law
    :raises ConfigError: model and robot file do not fit, or links touch at home
    """

    def __init__(self, robot: Robot, limits: JointLimits) -> None:
        self._limits = limits
        self._held = limits.held
        self._gaps = Gaps(robot)
        self._path = BrakingPath(robot, limits, self._gaps)
        self._kept = self._usual = np.full(len(self._gaps.distances), robot.clearance)
        """(m,) m that the rows keep of each distance, now and by default."""
        margin = max(robot.clearance, robot.zone_margin + MARGIN)
        self._wide = np.asarray([margin if isinstance(one, TipToZone) else robot.clearance
                                 for one in self._gaps.distances]).reshape(-1)
        self._tip_speed = math.inf if robot.tip_speed is None else robot.tip_speed
        self._still = np.zeros(len(robot.joints))

    @property
    def evaluations(self) -> int:
        """Return how often a distance was measured."""
        return self._gaps.evaluations

    @property
    def failed(self) -> str:
        """Return the name of the distance that was the last cause of `blocked`."""
        return self._path.failed

    def keep_margin(self, kept: bool) -> None:
        """
        Make the rows keep the tip out of the zones' margin, too, or stop doing so.

        Inside the margin the tip may not come nearer.
        """
        self._kept = self._wide if kept else self._usual

    def rows(self, position: Array, flight: list[Array], candidate: Array) -> Rows | None:
        """
        Return the rows that may bind for velocities up to `candidate`, or None.

        :param position: (d,) rad, measured; later calls of `blocked` are about it, too
        :param flight: motions (d,) rad that the arm may still make, the last one D_delay; where
            commands alternate, others are longer
        :param candidate: (d,) rad/s, inside the joint limits
        """
        speed = np.abs(candidate)
        reach = self._held * speed + self._limits.stopping(speed + self._limits.late)
        longest = self._still
        for motion in flight:
            longest = np.maximum(longest, np.abs(motion))
        reach += longest
        self._gaps.come_to(position)
        threat = SCREEN * (self._gaps.levers @ reach)
        near = (GAIN * (self._gaps.least - self._kept) <= threat).nonzero()[0].tolist()
        fast = float(self._gaps.tip_levers @ speed) > SPEED_SHARE * self._tip_speed
        if not near and not fast:
            return None
        self._gaps.move(position)
        for index in near:
            self._gaps.measure(index)
        near = [index for index in near
                if GAIN * (self._gaps.least[index] - self._kept[index]) <= threat[index]]
        self._gaps.covered[near] = True
        found = self._barriers(near, flight, candidate, speed) if near else None
        return self.with_speed(found, candidate) if fast else found

    def blocked(self, position: Array, flight: list[Array], velocity: Array,
                last: Array) -> str:
        """Return `BrakingPath.blocked` for the position given to `rows`."""
        return self._path.blocked(position, flight, velocity, last)

    def least(self, position: Array) -> dict[str, float]:
        """Return every distance, m, by name at joint positions (d,) rad; for tests and reports."""
        self._gaps.move(position)
        return {one.name: one.measure() for one in self._gaps.distances}

    def slope(self, position: Array, rank: int) -> Array:
        """
        Return the gradient (d,) m/rad of the rank-th smallest distance, from 0; for tests.

        :param position: (d,) rad
        """
        gaps = list(self.least(position).values())
        index = int(np.argsort(gaps)[min(rank, len(gaps) - 1)])
        line = np.array([self._gaps.distances[index].line()])
        return np.asarray(self._gaps.world.gradients(line, self._gaps.sides[[index]])[0])

    def tip_speed(self, position: Array, velocity: Array) -> float:
        """Return the tip speed, m/s, at `position` (d,) rad and `velocity` (d,) rad/s."""
        self._gaps.move(position)
        return float(np.linalg.norm(self._gaps.world.tip_jacobian() @ velocity))

    def _barriers(self, near: list[int], flight: list[Array], candidate: Array,
                  speed: Array) -> Rows | None:
        """Return the rows of distances that velocities up to `speed` (d,) rad/s may violate."""
        lines = np.array([self._gaps.distances[index].line() for index in near])
        normals = self._gaps.world.gradients(lines, self._gaps.sides[near])
        further = speed * self._limits.inverse_twice + self._limits.settle
        room = self._gaps.least[near] - self._kept[near]
        if flight:
            room = room + np.minimum((normals @ np.array(flight).T).min(axis=1), 0.0)
        least = -GAIN * np.maximum(room, 0.0)
        sized = np.abs(normals)
        binding = (sized @ ((self._held + further) * speed) >= -least).nonzero()[0]
        if not len(binding):
            return None
        normals, least = normals[binding], least[binding]
        rows = normals * (self._held + np.where(normals * candidate < 0.0, further, 0.0))
        size = np.sqrt(np.maximum((rows * rows).sum(axis=1), 1e-18))
        return Rows(rows / size[:, None], least / size,
                    tuple(self._gaps.distances[near[place]].kind for place in binding.tolist()))

    def with_speed(self, found: Rows | None, velocity: Array) -> Rows | None:
        """
        Add the row |J v| <= tip_speed, linearized at `velocity` (d,) rad/s.

        Return `found` itself where the tip is slow enough. J is at the position given to `rows`.
        """
        if float(self._gaps.tip_levers @ np.abs(velocity)) <= SPEED_SHARE * self._tip_speed:
            return found
        if self._gaps.moved_to is not self._gaps.seen:
            self._gaps.move(self._gaps.seen)
        jacobian = self._gaps.world.tip_jacobian()
        tip = jacobian @ velocity
        speed = math.sqrt(tip @ tip)
        if speed <= SPEED_SHARE * self._tip_speed * (1.0 + 1e-6):
            return found
        row = -(tip @ jacobian) / speed
        size = max(math.sqrt(row @ row), 1e-9)
        row, least = row[None] / size, np.array([-SPEED_SHARE * self._tip_speed / size])
        if found is None:
            return Rows(row, least, ('TIP_SPEED',))
        return Rows(np.concatenate((found.rows, row)), np.concatenate((found.least, least)),
                    (*found.kinds, 'TIP_SPEED'))
