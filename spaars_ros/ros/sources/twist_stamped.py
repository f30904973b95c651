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

"""geometry_msgs/msg/TwistStamped: linear (3) m/s, angular (3) rad/s."""

import numpy as np

from spaars_ros.ros.sources.kind import attributes
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.kind import name_fields

READ, FILL = attributes('twist')
# The reference point stays the same; only the axes change.
KIND = Kind('geometry_msgs/msg/TwistStamped', READ, FILL, name_fields('linear', 'angular'),
            turn=lambda values, place, rotation: np.concatenate(
                (rotation @ values[:3], rotation @ values[3:])))
