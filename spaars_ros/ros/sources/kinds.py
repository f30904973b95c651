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

"""Registry of the kinds of sources by message type."""

from spaars_ros.robot.sources import TYPES
from spaars_ros.ros.sources import bool as bool_
from spaars_ros.ros.sources import features
from spaars_ros.ros.sources import float32
from spaars_ros.ros.sources import float64
from spaars_ros.ros.sources import float64_multi_array
from spaars_ros.ros.sources import joint_state
from spaars_ros.ros.sources import point_stamped
from spaars_ros.ros.sources import pose_stamped
from spaars_ros.ros.sources import tf_message
from spaars_ros.ros.sources import twist_stamped
from spaars_ros.ros.sources import wrench_stamped
from spaars_ros.ros.sources.kind import Kind

_KINDS = (*(module.KIND for module in (
    wrench_stamped, pose_stamped, point_stamped, twist_stamped, float64_multi_array, float32,
    float64, bool_, joint_state, tf_message)), features.IMAGE, features.COMPRESSED)
KINDS: dict[str, Kind] = {kind.type: kind for kind in _KINDS}
assert set(KINDS) == set(TYPES)
