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

"""
tf2_msgs/msg/TFMessage: pose of the child frame of a source, with the fields of PoseStamped.

If the parent frame is not the frame of the source, the robot's model converts the pose, as for
every stamped message. Chains of transforms are not followed.
"""

from collections.abc import Sequence
from typing import Any

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.kind import attributes
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.pose_stamped import FIELDS
from spaars_ros.ros.sources.pose_stamped import turn_pose

_PATHS = dict(zip(FIELDS, (*(f'translation.{axis}' for axis in 'xyz'),
                           *(f'rotation.{axis}' for axis in 'xyzw'))))
_READ, _FILL = attributes('transform')


def _read(msg: Any, fields: Sequence[str]) -> Array:
    return _READ(msg, [_PATHS[field] for field in fields])


def _fill(msg: Any, fields: Sequence[str], values: Array) -> None:
    _FILL(msg, [_PATHS[field] for field in fields], values)


def transform_of(msg: Any, child: str) -> Any:
    """Return the TransformStamped of a child frame; None if the message has none."""
    return next((one for one in msg.transforms if one.child_frame_id == child), None)


KIND = Kind('tf2_msgs/msg/TFMessage', _read, _fill, FIELDS, 3, turn_pose)
