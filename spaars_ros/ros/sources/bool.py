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

"""std_msgs/msg/Bool: data, 0 or 1."""

from collections.abc import Sequence
from typing import Any

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.kind import attributes
from spaars_ros.ros.sources.kind import Kind

READ, _ = attributes('')


def _fill(msg: Any, fields: Sequence[str], values: Array) -> None:
    msg.data = bool(values[0] >= 0.5)


KIND = Kind('std_msgs/msg/Bool', READ, _fill, ('data',), stamped=False)
