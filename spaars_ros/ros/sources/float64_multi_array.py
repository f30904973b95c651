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

"""std_msgs/msg/Float64MultiArray: data.0, data.1, ...; all values without `select`."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.kind import SourceError


def _place(field: str) -> int:
    root, _, number = field.partition('.')
    if root != 'data' or not (number.isascii() and number.isdecimal()):
        raise SourceError('WRONG_FIELD', f'{field!r} is none of data.0, data.1, ...')
    return int(number)


def read(msg: Any, fields: Sequence[str]) -> Array:
    """Return values (k,) of fields data.<n>, all for no fields; raises SourceError."""
    values = np.asarray(msg.data, dtype=np.float64)
    places = [_place(field) for field in fields]
    if places and max(places) >= len(values):
        raise SourceError('WRONG_SIZE', f'{len(values)} values, data.{max(places)} is wanted')
    return values[places] if places else values


def fill(msg: Any, fields: Sequence[str], values: Array) -> None:
    """Write values (k,) to fields data.<n>; to the first k if no fields are given."""
    places = [_place(field) for field in fields] or list(range(len(values)))
    data = np.zeros(max(places) + 1)
    data[places] = values
    msg.data = array('d', data.tobytes())


KIND = Kind('std_msgs/msg/Float64MultiArray', read, fill, stamped=False)
