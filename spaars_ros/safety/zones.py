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

import numpy as np
from numpy.typing import NDArray

from spaars_ros.config import Box
from spaars_ros.config import Cylinder
from spaars_ros.config import Sphere
from spaars_ros.config import Zone

Array = NDArray[np.float64]


def zone_distance(zone: Zone, points: Array) -> Array:
    """
    Return the distance of each point to one zone, negative inside.

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
    """Return the distance to the nearest zone, m; infinite where there is none."""
    nearest = np.full(points.shape[:-1], np.inf)
    for zone in zones:
        nearest = np.minimum(nearest, zone_distance(zone, points))
    return nearest
