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
from dataclasses import replace
import math

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.safety.between import look
from spaars_ros.safety.between import Place
from spaars_ros.safety.between import stays_open
from spaars_ros.safety.distances import Distance
from spaars_ros.safety.distances import distances
from spaars_ros.safety.distances import TipToZone
from spaars_ros.safety.joint_limits import JointLimits
from spaars_ros.safety.world import World

GAIN = 0.75
"""Share of the free distance that braking from the next command may use up."""

SPEED_SHARE = 0.85
"""Share of the tip speed limit that a command may use; the rest is for a servo that overshoots and
for the arm's rotation during T."""

SPEED_CHECK = 0.9
"""Share of the tip speed limit that the braking path may reach."""

SCREEN = 0.5
"""Share of the levers that the screening for rows uses; the check of the braking path uses all."""

MARGIN = 1e-3
"""m beyond the zones' margin, where the rows keep the tip out of that margin, too."""

TURN = 1.0
"""rad, sum over all joints, between two points of the braking path; a longer path is divided into
pieces and checked from every place where the arm may be by then."""

BEND = 0.5
"""Share of the clearance by which the path may shift if the arm obeys earlier."""

MOST_PIECES = 40
"""Maximum number of pieces between two points of the braking path, and of all starts together."""

APART = 0.1
"""rad, sum over all joints, between two starts of the braking path, where places at which the arm
may be when it obeys are further apart than TURN."""

THIN = 0.25
"""Share of the clearance that a distance must have between two points of the braking path."""

LOST = 1e-4
"""m; below clearance / 2 a command may lose this much more, falling to 0 at clearance / 4."""


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

    **Braking path.** The row is only first order. So the resulting command is followed along the
    braking law to rest, with the model's real distances. At the end of the period and at a few
    points after it no distance may be below clearance / 2 (or below its present value), and the
    tip may not be faster than SPEED_CHECK of its limit. Between two points a distance has to be
    proved positive (`stays_open`). Where the joints turn by more than TURN between two points,
    more points are checked, from every place where the arm may be by then. A command that fails is
    not sent: the arm brakes instead, along a path that was checked and found free one tick before.
    The other half of `clearance` is for tracking error and noise.

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
        # Held time for the braking path: until the next tick, and until the controller's timeout
        # without a new command. Joints brake at different rates, so one path is no part of the
        # other.
        self._stands = (limits.period,) if limits.held == limits.period \
            else (limits.period, limits.held)
        self._clearance = robot.clearance
        self._world = World(robot)
        self._distances = distances(robot, self._world)
        d = len(robot.joints)
        count = len(self._distances)
        self._kept = self._usual = np.full(count, robot.clearance)
        """(m,) m that the rows keep of each distance, now and by default."""
        margin = max(robot.clearance, robot.zone_margin + MARGIN)
        self._wide = np.asarray([margin if isinstance(one, TipToZone) else robot.clearance
                                 for one in self._distances]).reshape(-1)
        self._levers = np.array([one.levers for one in self._distances]).reshape(-1, d)
        self._sides = np.array([one.sides for one in self._distances]).reshape(-1, d)
        self._tip_levers = self._world.levers(self._world.tip_body, self._world.tip_radius)
        self._tip_speed = math.inf if robot.tip_speed is None else robot.tip_speed
        self._gap = np.full(len(self._distances), -np.inf)
        """Lower bounds of the distances at `_seen`, m."""
        self._seen = np.asarray(robot.home, dtype=np.float64)
        self._exact = np.zeros(len(self._distances), dtype=bool)
        self._covered = np.zeros(len(self._distances), dtype=bool)
        """(m,) whether rows hold for each distance, from wherever the arm obeys."""
        self._last_place: Array | None = None
        self._still = np.zeros(d)
        self.evaluations = 0
        self.failed = ''
        """Name of the distance that was the last cause of `blocked`."""

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
        moved = np.abs(position - self._seen)
        longest = self._still
        for motion in flight:
            longest = np.maximum(longest, np.abs(motion))
        reach += longest
        self._gap -= self._levers @ moved
        self._exact[:] = self._covered[:] = False
        self._seen = position
        threat = SCREEN * (self._levers @ reach)
        near = (GAIN * (self._gap - self._kept) <= threat).nonzero()[0].tolist()
        fast = float(self._tip_levers @ speed) > SPEED_SHARE * self._tip_speed
        if not near and not fast:
            return None
        self._move(position)
        for index in near:
            self._measure(index)
        near = [index for index in near
                if GAIN * (self._gap[index] - self._kept[index]) <= threat[index]]
        self._covered[near] = True
        found = self._barriers(near, flight, candidate, speed) if near else None
        return self.with_speed(found, candidate) if fast else found

    def blocked(self, position: Array, flight: list[Array], velocity: Array,
                last: Array) -> str:
        """
        Return the kind of what blocks `velocity` (d,) rad/s and braking from it; '' for nothing.

        :param position: the same (d,) rad as given to `rows`
        :param flight: the same as given to `rows`
        :param last: (d,) rad/s, the previous command
        :return: KEEP_OUT, WORKSPACE, COLLISION, TIP_SPEED or ''
        """
        for held in self._stands:
            said = self._blocked(position, flight, velocity, last, held)
            if said:
                return said
        return ''

    def _blocked(self, position: Array, flight: list[Array], velocity: Array, last: Array,
                 held: float) -> str:
        offsets, velocities = self._limits.way(velocity, last, held=held)
        starts = np.array(flight or [np.zeros_like(velocity)])
        steps = np.abs(np.concatenate((starts, np.diff(offsets, axis=0))))
        near = (self._gap - 0.5 * self._clearance
                <= self._levers @ steps.sum(axis=0)).nonzero()[0]
        fast = float(self._tip_levers @ np.abs(velocity)) > SPEED_CHECK * self._tip_speed
        if not len(near) and not fast:
            return ''
        if not len(near):
            return self._blocked_from(position, starts[-1], offsets, velocities)
        turns = steps.sum(axis=1).tolist()
        pieces = math.ceil(max(turns) / TURN)
        if pieces > MOST_PIECES:
            self.failed = self._distances[near[0]].name
            return self._distances[near[0]].kind
        if pieces > 1:  # a long path is not a straight line
            offsets, velocities = self._limits.way(velocity, last, pieces, held)
        said = self._blocked_from(position, starts[-1], offsets, velocities)
        if not said and 2.0 * max(turns[:len(starts)]) > TURN:
            said = self._blocked_between(position, starts, offsets, velocities)
        if said:
            return said
        # Check also from every other place where the arm may be when it obeys, if a distance can
        # be reached from there. Without a row, commands that alternate may lead elsewhere than to
        # the last start. Rows hold to first order: the path shifts by no more than its rotation
        # times the levers.
        path = np.add.reduce(steps[len(starts):])
        turned = sum(turns[len(starts):])
        bends = max(turns[:len(starts)]) * turned * float(self._levers[near].max()) \
            > BEND * self._clearance
        if bends:
            shares = np.where(self._covered[near], min(turned, 1.0), 1.0)
        else:
            near = near[~self._covered[near]]
            if not len(near):
                return ''
            shares = np.ones(len(near))
        levers = self._levers[near].T
        others = np.concatenate((np.zeros_like(starts[:1]), starts[:-1]))
        reached = (np.abs(others) + path) @ levers >= self._gap[near] - 0.5 * self._clearance
        shift = (np.abs(starts[-1] - others) @ levers * reached * shares).max(axis=1)
        for start in others[shift > BEND * self._clearance]:
            said = said or self._blocked_from(position, start, offsets, velocities)
        return said

    def _blocked_between(self, position: Array, starts: Array, offsets: Array, velocities: Array
                         ) -> str:
        """
        Return the kind of what blocks the path from any place between starts far apart, or ''.

        The first start (d,) rad is another guess of the next one, which the arm reaches from its
        position; each other start is reached from the one before. An arm that obeys within a
        period, or whose state is younger than one, is on the way between two of them. Where they
        are no more than TURN apart, the starts themselves are enough.
        """
        before = np.concatenate((np.zeros_like(starts[:2]), starts[1:-1]))[:len(starts)]
        ways = starts - before
        turns = np.abs(ways).sum(axis=1)
        far = np.flatnonzero(turns > TURN).tolist()
        if not far:
            return ''
        counts = np.ceil(turns / APART)
        if counts[far].sum() > MOST_PIECES:
            nearest = self._distances[int(np.argmin(self._gap))]
            self.failed = nearest.name
            return nearest.kind
        for index in far:
            piece = ways[index] / counts[index]
            for number in range(int(counts[index])):
                said = self._blocked_from(position, before[index] + (number + 0.5) * piece,
                                          offsets, velocities, 0.5 * np.abs(piece))
                if said:
                    return said
        return ''

    def _blocked_from(self, position: Array, start: Array, offsets: Array, velocities: Array,
                      around: Array | None = None) -> str:
        """
        Return the kind of what blocks the path (k, d) rad from `start` (d,) rad, or ''.

        `start` and the path's offsets are relative to the position.

        :param around: (d,) rad, the path may begin as far from `start` as this; None: at `start`
        """
        floor = 0.5 * self._clearance
        way = position + offsets + start
        steps = np.abs(way - np.concatenate((position[None], way[:-1])))
        threat = self._levers @ steps.sum(axis=0)
        if around is not None:
            threat = threat + self._levers @ around
        near = (self._gap - floor <= threat).nonzero()[0]
        fast = float(self._tip_levers @ np.abs(velocities[0])) > SPEED_CHECK * self._tip_speed
        if not len(near) and not fast:
            return ''
        if not self._exact[near].all():
            self._move(position)
            for index in near[~self._exact[near]].tolist():
                self._measure(index)
            near = near[self._gap[near] - floor <= threat[near]]
            if not len(near) and not fast:
                return ''
        gaps, levers = self._gap[near], self._levers[near]
        floors = np.minimum(floor, gaps - LOST * np.clip(2.0 * gaps / floor - 1.0, 0.0, 1.0))
        slack = np.zeros(len(near))
        if around is not None:  # what is positive at the start less this is so around it, too
            slack = levers @ around
            floors = slack
        begin, thin = position, THIN * self._clearance
        for step, place, now in zip(steps @ levers.T, way, velocities):
            before, gaps = gaps, gaps - step
            close = (gaps < floors).nonzero()[0].tolist()
            if close or fast:
                self._move(place)
            for index in close:
                self.evaluations += 1
                one = self._distances[near[index]]
                gaps[index] = one.measure()
                if gaps[index] < floors[index]:
                    self.failed = one.name
                    return one.kind
            if fast:
                tip = self._world.tip_jacobian() @ now
                if math.sqrt(tip @ tip) > SPEED_CHECK * self._tip_speed:
                    self.failed = 'tip speed'
                    return 'TIP_SPEED'
            for index in close:
                # A distance that was already too small is judged at the points only: it has to
                # grow.
                one = self._distances[near[index]]
                if before[index] + gaps[index] - 2.0 * slack[index] < step[index] \
                        and (before[index] >= thin or around is not None) \
                        and (begin is not position or around is None) \
                        and not self._stays_open(one, begin, place, float(slack[index])):
                    self.failed = one.name
                    return one.kind
            begin = place
        return ''

    def _stays_open(self, one: Distance, begin: Array, end: Array, slack: float = 0.0) -> bool:
        """Return whether a distance is proved above `slack`, m, between positions (d,) rad."""
        def measure(place: Array) -> Place:
            self._move(place)
            self.evaluations += 1
            found = look(one, place)
            return replace(found, gap=found.gap - slack) if slack else found
        return stays_open(one, measure(begin), measure(end), measure, THIN * self._clearance)

    def least(self, position: Array) -> dict[str, float]:
        """Return every distance, m, by name at joint positions (d,) rad; for tests and reports."""
        self._move(position)
        return {one.name: one.measure() for one in self._distances}

    def slope(self, position: Array, rank: int) -> Array:
        """
        Return the gradient (d,) m/rad of the rank-th smallest distance, from 0; for tests.

        :param position: (d,) rad
        """
        gaps = list(self.least(position).values())
        index = int(np.argsort(gaps)[min(rank, len(gaps) - 1)])
        return np.asarray(self._world.gradients(np.array([self._distances[index].line()]),
                                                self._sides[[index]])[0])

    def tip_speed(self, position: Array, velocity: Array) -> float:
        """Return the tip speed, m/s, at `position` (d,) rad and `velocity` (d,) rad/s."""
        self._move(position)
        return float(np.linalg.norm(self._world.tip_jacobian() @ velocity))

    def _measure(self, index: int) -> None:
        self.evaluations += 1
        self._gap[index] = self._distances[index].measure()
        self._exact[index] = True

    def _barriers(self, near: list[int], flight: list[Array], candidate: Array,
                  speed: Array) -> Rows | None:
        """Return the rows of distances that velocities up to `speed` (d,) rad/s may violate."""
        normals = self._world.gradients(
            np.array([self._distances[index].line() for index in near]), self._sides[near])
        further = speed * self._limits.inverse_twice + self._limits.settle
        room = self._gap[near] - self._kept[near]
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
                    tuple(self._distances[near[place]].kind for place in binding.tolist()))

    def with_speed(self, found: Rows | None, velocity: Array) -> Rows | None:
        """
        Add the row |J v| <= tip_speed, linearized at `velocity` (d,) rad/s.

        Return `found` itself where the tip is slow enough. J is at the position given to `rows`.
        """
        if float(self._tip_levers @ np.abs(velocity)) <= SPEED_SHARE * self._tip_speed:
            return found
        if self._last_place is not self._seen:
            self._move(self._seen)
        jacobian = self._world.tip_jacobian()
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

    def _move(self, position: Array) -> None:
        self._world.move(position)
        self._last_place = position
