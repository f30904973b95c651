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

"""Check of the path that the arm takes if it brakes from the next command on."""

from dataclasses import replace
import math

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.safety.between import look
from spaars_ros.safety.between import Place
from spaars_ros.safety.between import stays_open
from spaars_ros.safety.distances import Distance
from spaars_ros.safety.gaps import Gaps
from spaars_ros.safety.joint_limits import JointLimits

SPEED_CHECK = 0.9
"""Share of the tip speed limit that the braking path may reach."""

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


class BrakingPath:
    """
    Follow a command along the braking law to rest, with the model's real distances.

    At the end of the period and at a few points after it no distance may be below clearance / 2
    (or below its present value), and the tip may not be faster than SPEED_CHECK of its limit.
    Between two points a distance has to be proved positive (`stays_open`). Where the joints turn
    by more than TURN between two points, more points are checked, from every place where the arm
    may be by then.

    :param robot: the robot file
    :param limits: joint limits of the same robot file, with the braking law
    :param gaps: distances of the same robot file
    """

    def __init__(self, robot: Robot, limits: JointLimits, gaps: Gaps) -> None:
        self._limits, self._gaps = limits, gaps
        # Held time for the braking path: until the next tick, and until the controller's timeout
        # without a new command. Joints brake at different rates, so one path is no part of the
        # other.
        self._stands = (limits.period,) if limits.held == limits.period \
            else (limits.period, limits.held)
        self._clearance = robot.clearance
        self._tip_speed = math.inf if robot.tip_speed is None else robot.tip_speed
        self.failed = ''
        """Name of the distance that was the last cause of `blocked`."""

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
        near = (self._gaps.least - 0.5 * self._clearance
                <= self._gaps.levers @ steps.sum(axis=0)).nonzero()[0]
        fast = float(self._gaps.tip_levers @ np.abs(velocity)) > SPEED_CHECK * self._tip_speed
        if not len(near) and not fast:
            return ''
        if not len(near):
            return self._blocked_from(position, starts[-1], offsets, velocities)
        turns = steps.sum(axis=1).tolist()
        pieces = math.ceil(max(turns) / TURN)
        if pieces > MOST_PIECES:
            self.failed = self._gaps.distances[near[0]].name
            return self._gaps.distances[near[0]].kind
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
        bends = max(turns[:len(starts)]) * turned * float(self._gaps.levers[near].max()) \
            > BEND * self._clearance
        if bends:
            shares = np.where(self._gaps.covered[near], min(turned, 1.0), 1.0)
        else:
            near = near[~self._gaps.covered[near]]
            if not len(near):
                return ''
            shares = np.ones(len(near))
        levers = self._gaps.levers[near].T
        others = np.concatenate((np.zeros_like(starts[:1]), starts[:-1]))
        room = self._gaps.least[near] - 0.5 * self._clearance
        reached = (np.abs(others) + path) @ levers >= room
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
            nearest = self._gaps.distances[int(np.argmin(self._gaps.least))]
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
        threat = self._gaps.levers @ steps.sum(axis=0)
        if around is not None:
            threat = threat + self._gaps.levers @ around
        near = (self._gaps.least - floor <= threat).nonzero()[0]
        fast = float(self._gaps.tip_levers @ np.abs(velocities[0])) > SPEED_CHECK * self._tip_speed
        if not len(near) and not fast:
            return ''
        if not self._gaps.exact[near].all():
            self._gaps.move(position)
            for index in near[~self._gaps.exact[near]].tolist():
                self._gaps.measure(index)
            near = near[self._gaps.least[near] - floor <= threat[near]]
            if not len(near) and not fast:
                return ''
        gaps, levers = self._gaps.least[near], self._gaps.levers[near]
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
                self._gaps.move(place)
            for index in close:
                self._gaps.evaluations += 1
                one = self._gaps.distances[near[index]]
                gaps[index] = one.measure()
                if gaps[index] < floors[index]:
                    self.failed = one.name
                    return one.kind
            if fast:
                tip = self._gaps.world.tip_jacobian() @ now
                if math.sqrt(tip @ tip) > SPEED_CHECK * self._tip_speed:
                    self.failed = 'tip speed'
                    return 'TIP_SPEED'
            for index in close:
                # A distance that was already too small is judged at the points only: it has to
                # grow.
                one = self._gaps.distances[near[index]]
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
            self._gaps.move(place)
            self._gaps.evaluations += 1
            found = look(one, place)
            return replace(found, gap=found.gap - slack) if slack else found
        return stays_open(one, measure(begin), measure(end), measure, THIN * self._clearance)
