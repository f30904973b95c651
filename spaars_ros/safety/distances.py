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

"""Distances that have to stay positive, and their gradients, from the robot's own MJCF model."""

from collections.abc import Iterator
from typing import Protocol

import mujoco
import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Zone
from spaars_ros.robot.zones import distance_and_normal
from spaars_ros.robot.zones import PREFIX
from spaars_ros.safety.world import World
from spaars_ros.safety.world import zone_name

NUDGES = [(axis, size) for size in (1e-6, -1e-6, 1e-5, -1e-5, 1e-4, -1e-4) for axis in range(3)]
"""Pairs of axis and m; see GeomToGeom.measure."""

TOUCH = 1e-6
"""m; geoms that are closer than this have no direction between them."""

FAR = 5.0
"""m; longer distances are not measured."""


class Distance(Protocol):
    """A distance as a function of the joint positions."""

    kind: str
    """KEEP_OUT, WORKSPACE or COLLISION: the filter's name for a violation."""
    name: str
    levers: Array
    """(d,) m/rad: moving joint j by x changes the distance by at most levers[j] |x|."""
    sides: Array
    """(d,) 1 where joint j moves the second of the two objects, -1 the first, 0 both or none."""
    bends: Array
    """(d, d) m/rad^2, result of `World.bends` for `apart`."""
    spins: Array
    """(d,) m/rad: how far joint j turns the surfaces of both objects about their centres,
    summed."""

    def measure(self) -> float:
        """Return the distance, m, at the present state of the world; negative inside."""

    def line(self) -> tuple[float, ...]:
        """
        Return the line of the last `measure`: a point on it, m, and its direction; 6 numbers.

        The direction is the one in which the second object moves away.
        """

    def apart(self) -> Array:
        """Return the centre of the second object relative to the first one's, (3,) m."""


class TipToZone:
    """
    Distance of the tip to a keep-out zone.

    :param world: the model, moved before each `measure`
    :param zone: a zone of the robot file
    """

    kind = 'KEEP_OUT'

    def __init__(self, world: World, zone: Zone) -> None:
        self._world, self._zone = world, zone
        self._normal = (0.0, 0.0, 1.0)
        self.name = f'tip and {zone.name}'
        self.levers = world.levers(world.tip_body, world.tip_radius)
        self.sides = np.sign(self.levers)
        self.bends, self.spins = world.bends(self.levers), np.zeros_like(self.levers)

    def measure(self) -> float:
        """Return the distance, m."""
        gap, self._normal = distance_and_normal(self._zone, *self._world.tip.tolist())
        return gap

    def line(self) -> tuple[float, ...]:
        """Return the tip, m, and the outward normal; 6 numbers."""
        return (*self._world.tip.tolist(), *self._normal)

    def apart(self) -> Array:
        """Return the tip (3,) m."""
        return self._world.tip


class TipToFace:
    """
    Distance of the tip to one face of the workspace, from inside.

    :param axis: 0, 1 or 2: axis to which the face is perpendicular
    :param value: m, coordinate of the face
    :param sign: 1 for the low face, -1 for the high one
    """

    kind = 'WORKSPACE'

    def __init__(self, world: World, axis: int, value: float, sign: float) -> None:
        self._world, self._axis, self._value, self._sign = world, axis, value, sign
        self._inward = tuple(sign if index == axis else 0.0 for index in range(3))
        self.name = f'tip and workspace {"xyz"[axis]} {"low" if sign > 0 else "high"}'
        self.levers = world.levers(world.tip_body, world.tip_radius)
        self.sides = np.sign(self.levers)
        self.bends, self.spins = world.bends(self.levers), np.zeros_like(self.levers)

    def measure(self) -> float:
        """Return the distance, m."""
        return self._sign * float(self._world.tip[self._axis] - self._value)

    def line(self) -> tuple[float, ...]:
        """Return the tip, m, and the inward normal; 6 numbers."""
        return (*self._world.tip.tolist(), *self._inward)

    def apart(self) -> Array:
        """Return the tip (3,) m."""
        return self._world.tip


class GeomToGeom:
    """
    Distance between two geoms of the model, from mj_geomDistance.

    :param one: number of the first geom
    :param other: number of the second geom
    :param kind: KEEP_OUT or COLLISION
    """

    def __init__(self, world: World, one: int, other: int, kind: str) -> None:
        model = world.model
        self.kind = kind
        self._world, self._one, self._other = world, one, other
        self._bodies = int(model.geom_bodyid[one]), int(model.geom_bodyid[other])
        self.name = f'{_geom_name(model, one)} and {_geom_name(model, other)}'
        self._gap = 0.0
        self._segment = np.zeros(6)
        # A joint that moves both geoms does not change their distance.
        levers = [world.levers(body, float(np.linalg.norm(model.geom_pos[geom])
                                           + model.geom_rbound[geom]))
                  for geom, body in zip((one, other), self._bodies)]
        self.sides = np.sign(levers[1]) - np.sign(levers[0])
        self.levers = np.where(self.sides != 0.0, levers[0] + levers[1], 0.0)
        self.bends = np.zeros((len(self.sides), len(self.sides)))
        self.spins = np.zeros(len(self.sides))
        radii = model.geom_rbound[[one, other]]
        self._bound = float(radii.sum()) if radii.all() else np.inf
        """m, sum of the radii of the bounding spheres; a plane has none."""
        for geom, body in zip((one, other), self._bodies):
            self.bends += world.bends(world.levers(
                body, float(np.linalg.norm(model.geom_pos[geom]))))
            turns = (world.levers(body, 1.0) > 0.0) & ~world.slides
            self.spins += turns * model.geom_rbound[geom]

    def measure(self) -> float:
        """Return the distance, m, at most FAR."""
        self._gap = self._ask()
        if self._is_wrong():
            # MuJoCo 3.11 returns exactly 0 for about one in a hundred pairs of distant boxes, and
            # once in many thousands their distance with the wrong sign, but neither for the same
            # pair a micrometre further apart.
            place = self._world.data.geom_xpos[self._one]
            for axis, nudge in NUDGES:
                place[axis] += nudge
                self._gap = self._ask()
                place[axis] -= nudge
                if not self._is_wrong():
                    break
        return self._gap

    def _is_wrong(self) -> bool:
        """Return whether the distance is 0, or negative where bounding spheres do not touch."""
        if self._gap > 0.0:
            return False
        return self._gap == 0.0 or float(np.linalg.norm(self.apart())) > self._bound

    def _ask(self) -> float:
        return float(mujoco.mj_geomDistance(self._world.model, self._world.data, self._one,
                                            self._other, FAR, self._segment))

    def line(self) -> tuple[float, ...]:
        """Return the first geom's nearest point, m, and the direction to the second; 6 numbers."""
        x, y, z, *end = self._segment.tolist()
        if abs(self._gap) > TOUCH:
            return (x, y, z, (end[0] - x) / self._gap, (end[1] - y) / self._gap,
                    (end[2] - z) / self._gap)
        # At contact the segment has no direction; the direction between the centres replaces it.
        centres = self._world.data.geom_xpos
        normal = centres[self._other] - centres[self._one]
        return (x, y, z, *(normal / max(float(np.linalg.norm(normal)), TOUCH)).tolist())

    def apart(self) -> Array:
        """Return the centre of the second geom relative to the first one's, (3,) m."""
        centres = self._world.data.geom_xpos
        return np.asarray(centres[self._other] - centres[self._one])


def distances(robot: Robot, world: World) -> list[Distance]:
    """
    Return all distances that the robot file requires to stay positive.

    :raises ConfigError: links that are not in collision_ignore are too close at the home position,
        or collision_ignore names an unknown body or geom
    """
    found: list[Distance] = [TipToZone(world, zone) for zone in robot.keep_out
                             if zone.protects == 'tip']
    if robot.workspace is not None:
        for axis in range(3):
            found.append(TipToFace(world, axis, robot.workspace.low[axis], 1.0))
            found.append(TipToFace(world, axis, robot.workspace.high[axis], -1.0))
    links = _link_geoms(world)
    for zone in robot.keep_out:
        if zone.protects == 'arm':
            index = mujoco.mj_name2id(world.model, mujoco.mjtObj.mjOBJ_GEOM, zone_name(zone))
            found += [GeomToGeom(world, index, geom, 'KEEP_OUT') for geom in links]
    pairs = [GeomToGeom(world, one, other, 'COLLISION')
             for one, other in _pairs(robot, world, links)] if robot.self_collision else []
    pairs = [pair for pair in pairs if pair.levers.any()]
    world.move(np.asarray(robot.home))
    inside = [each.name for each in found if isinstance(each, GeomToGeom)
              and each.measure() < robot.clearance]
    if inside:
        raise ConfigError(f'{robot.source}: keep_out: at home closer than clearance: '
                          f'{"; ".join(inside)}: move home or the zone, or let it protect the tip')
    touching = [pair.name for pair in pairs if pair.measure() < robot.clearance]
    if touching:
        raise ConfigError(f'{robot.source}: self_collision: at home closer than clearance: '
                          f'{"; ".join(touching)}: name them in collision_ignore')
    return [*found, *(pair for pair in pairs)]


def _link_geoms(world: World) -> list[int]:
    """Return the geoms of moving links: of each those that collide, or all if none does."""
    model = world.model
    zones = {index for index in range(model.ngeom)
             if model.geom(index).name.startswith(PREFIX)}
    moving = [index for index in range(model.ngeom)
              if index not in zones and world.levers(int(model.geom_bodyid[index]), 1.0).any()]
    colliding = {index for index in moving
                 if model.geom_contype[index] or model.geom_conaffinity[index]}
    have = {int(model.geom_bodyid[index]) for index in colliding}
    return [index for index in moving
            if index in colliding or int(model.geom_bodyid[index]) not in have]


def _pairs(robot: Robot, world: World, links: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of geoms of links that are not neighbours; the fixed base is a link."""
    model = world.model
    collide = any(model.geom_contype[index] for index in links)
    root = int(model.body_rootid[world.tip_body])
    base = [index for index in range(model.ngeom)
            if model.body_rootid[model.geom_bodyid[index]] == root and model.geom_bodyid[index] > 0
            and not world.levers(int(model.geom_bodyid[index]), 1.0).any()
            and (model.geom_contype[index] or not collide)]
    ignored = [frozenset(_geoms_of(robot, model, name) for name in pair)
               for pair in robot.collision_ignore]
    everything = [*base, *links]
    for place, one in enumerate(everything):
        for other in everything[place + 1:]:
            two = [int(model.body_weldid[model.geom_bodyid[geom]]) for geom in (one, other)]
            parents = [int(model.body_weldid[model.body_parentid[link]]) for link in two]
            if two[0] == two[1] or two[0] == parents[1] or two[1] == parents[0]:
                continue
            if not any(_ignores(pair, one, other) for pair in ignored):
                yield one, other


def _ignores(pair: frozenset[frozenset[int]], one: int, other: int) -> bool:
    sides = [*pair, *pair][:2]
    return (one in sides[0] and other in sides[1]) or (other in sides[0] and one in sides[1])


def _geoms_of(robot: Robot, model: mujoco.MjModel, name: str) -> frozenset[int]:
    geom = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, name)
    if geom >= 0:
        return frozenset({geom})
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
    if body < 0:
        raise ConfigError(f'{robot.source}: collision_ignore: the model has no body or geom '
                          f'{name!r}')
    return frozenset(int(geom) for geom in np.flatnonzero(model.geom_bodyid == body))


def _geom_name(model: mujoco.MjModel, geom: int) -> str:
    name = str(model.geom(geom).name).removeprefix(PREFIX)
    return name or f'{model.body(int(model.geom_bodyid[geom])).name}[{geom}]'
