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

"""Signed distances from points to keep-out zones."""

from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Box
from spaars_ros.robot.config import Cylinder
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.config import Zone

PREFIX = 'spaars_keep_out_'
"""Prefix of the names of the zones' geoms in a model."""

Array = NDArray[np.float64]


def zone_distance(zone: Zone, points: Array) -> Array:
    """
    Return the signed distance of each point to one zone, negative inside.

    :param points: (..., 3) m, base frame
    :return: (...) m
    """
    offset = points - np.asarray(zone.centre)
    if isinstance(zone, Sphere):
        return np.asarray(np.linalg.norm(offset, axis=-1) - zone.radius)
    if isinstance(zone, Cylinder):
        outside = np.stack([np.hypot(offset[..., 0], offset[..., 1]) - zone.radius,
                            np.abs(offset[..., 2]) - zone.height / 2], axis=-1)
    else:
        assert isinstance(zone, Box)
        outside = np.abs(offset) - np.asarray(zone.size) / 2
    beyond = np.linalg.norm(np.maximum(outside, 0.0), axis=-1)
    return np.asarray(beyond + np.minimum(outside.max(axis=-1), 0.0))


def distance(zones: Sequence[Zone], points: Array) -> Array:
    """Return the signed distance of points (..., 3) m to the nearest zone, (...) m, or inf."""
    nearest = np.full(points.shape[:-1], np.inf)
    for zone in zones:
        nearest = np.minimum(nearest, zone_distance(zone, points))
    return nearest


def distance_and_normal(zone: Zone, x: float, y: float, z: float) -> \
        tuple[float, tuple[float, float, float]]:
    """
    Return the signed distance of one point to a zone, m, and its gradient, base frame.

    The same distance as `zone_distance`, in scalars, since the filter computes it every tick. The
    gradient has length 1. Where it is discontinuous (on an axis, at an edge), one of its limits is
    returned.
    """
    x, y, z = x - zone.centre[0], y - zone.centre[1], z - zone.centre[2]
    if isinstance(zone, Sphere):
        return _outside((x, y, z), zone.radius)
    if isinstance(zone, Cylinder):
        along = math.hypot(x, y)
        out = (along - zone.radius, abs(z) - zone.height / 2)
        gap, (radial, axial) = _corner(out)
        ux, uy = (x / along, y / along) if along > 0.0 else (1.0, 0.0)
        return gap, (radial * ux, radial * uy, math.copysign(axial, z))
    gap, parts = _corner((abs(x) - zone.size[0] / 2, abs(y) - zone.size[1] / 2,
                          abs(z) - zone.size[2] / 2))
    return gap, (math.copysign(parts[0], x), math.copysign(parts[1], y),
                 math.copysign(parts[2], z))


def _outside(offset: tuple[float, float, float], radius: float) -> \
        tuple[float, tuple[float, float, float]]:
    far = math.hypot(*offset)
    if far <= 0.0:
        return -radius, (0.0, 0.0, 1.0)
    return far - radius, (offset[0] / far, offset[1] / far, offset[2] / far)


def _corner(out: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
    """Return the distance to the corner out <= 0 and its gradient with respect to `out`."""
    beyond = [max(part, 0.0) for part in out]
    gap = math.hypot(*beyond)
    if gap > 0.0:
        return gap, tuple(part / gap for part in beyond)
    deepest = max(out)
    first = out.index(deepest)
    return deepest, tuple(float(i == first) for i in range(len(out)))
