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
sensor_msgs/msg/JointState: position.<joint>, velocity.<joint>, effort.<joint>.

Several publishers may each publish some of the joints. Their messages are merged into one sample
with the oldest stamp.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.kind import SourceError

PARTS = ('position', 'velocity', 'effort')


def _split(field: str) -> tuple[str, str]:
    part, _, joint = field.partition('.')
    if part not in PARTS or not joint:
        raise SourceError('WRONG_FIELD', f'{field!r} is no position.<joint>, velocity.<joint> or '
                          'effort.<joint>')
    return part, joint


def _read(msg: Any, fields: Sequence[str]) -> Array:
    names = list(msg.name)
    found = np.full(len(fields), np.nan)
    for place, field in enumerate(fields):
        part, joint = _split(field)
        if joint not in names:
            continue  # it comes from another publisher
        values = getattr(msg, part)
        if len(values) != len(names):
            raise SourceError('WRONG_SIZE', f'{part} has {len(values)} values for {len(names)} '
                              'joints')
        value = float(values[names.index(joint)])
        if not np.isfinite(value):
            raise SourceError('NOT_FINITE', f'{field} is {value}')
        found[place] = value
    return found


def _fill(msg: Any, fields: Sequence[str], values: Array) -> None:
    split = [_split(field) for field in fields]
    names = list(dict.fromkeys(joint for _, joint in split))
    msg.name = names
    for part in dict.fromkeys(part for part, _ in split):
        data = np.zeros(len(names))
        for (which, joint), value in zip(split, values):
            if which == part:
                data[names.index(joint)] = value
        setattr(msg, part, array('d', data.tobytes()))


KIND = Kind('sensor_msgs/msg/JointState', _read, _fill, parts=True)
