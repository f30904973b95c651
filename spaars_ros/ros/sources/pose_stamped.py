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

"""geometry_msgs/msg/PoseStamped: position (3) m, orientation (4) as a quaternion x, y, z, w."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.frames import quaternion_of
from spaars_ros.ros.sources.frames import quaternion_product
from spaars_ros.ros.sources.kind import attributes
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.kind import name_fields

FIELDS = (*name_fields('position'), *(f'orientation.{axis}' for axis in 'xyzw'))


def turn_pose(values: Array, place: Array, rotation: Array) -> Array:
    """Return a pose (7,) (m, quaternion x, y, z, w) in the other frame."""
    return np.concatenate((rotation @ values[:3] + place,
                           quaternion_product(quaternion_of(rotation), values[3:])))


READ, FILL = attributes('pose')
KIND = Kind('geometry_msgs/msg/PoseStamped', READ, FILL, FIELDS, 3, turn_pose)
