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

"""geometry_msgs/msg/WrenchStamped: force (3) N, torque (3) N m."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.kind import attributes
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.kind import name_fields


def _turn(values: Array, place: Array, rotation: Array) -> Array:
    """Rotate a wrench (6,), and move the reference point of the torque to the other origin."""
    force = rotation @ values[:3]
    return np.concatenate((force, rotation @ values[3:] + np.cross(place, force)))


READ, FILL = attributes('wrench')
KIND = Kind('geometry_msgs/msg/WrenchStamped', READ, FILL, name_fields('force', 'torque'),
            turn=_turn)
