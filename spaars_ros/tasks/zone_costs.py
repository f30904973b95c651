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

"""Cost terms of the robot file's zones, for every task that observes the tool tip."""

import numpy as np

from spaars_ros.robot.config import Robot
from spaars_ros.robot.zones import distance
from spaars_ros.tasks.base import Array

ZONE_TERMS = ('zone_margin', 'tip_speed')
"""Closer to a zone than the margin; faster than allowed near a zone."""


def zone_costs(robot: Robot, tip: Array, tip_velocity: Array) -> dict[str, Array]:
    """
    Return each of `ZONE_TERMS` (...): 1 where it is violated, otherwise 0.

    :param tip: (..., 3) m, base frame
    :param tip_velocity: (..., 3) m/s, base frame
    """
    clearance = distance(robot.keep_out, tip)
    speed = np.linalg.norm(tip_velocity, axis=-1)
    near = clearance < robot.near_zone
    return {'zone_margin': (clearance < robot.zone_margin).astype(float),
            'tip_speed': (near & (speed > robot.near_speed)).astype(float)}
