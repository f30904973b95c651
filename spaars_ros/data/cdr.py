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

"""CDR encoding of std_msgs/msg/Float64MultiArray, with the layout encoded only once."""

from collections.abc import Sequence
import struct

import numpy as np

from spaars_ros.data.schema import Array

TYPE = 'std_msgs/msg/Float64MultiArray'

DEFINITION = """\
std_msgs/MultiArrayLayout layout
float64[] data
================================================================================
MSG: std_msgs/MultiArrayLayout
std_msgs/MultiArrayDimension[] dim
uint32 data_offset
================================================================================
MSG: std_msgs/MultiArrayDimension
string label
uint32 size
uint32 stride
"""
"""Message definition for the schema record of an MCAP file (encoding ros2msg)."""

_HEADER = b'\x00\x01\x00\x00'  # CDR, little endian


def _align(offset: int, size: int) -> int:
    return -offset % size


class ArrayEncoder:
    """
    Encode arrays of one fixed layout; about 2 us per message.

    The message has one layout.dim per field: label = name, size = width, stride = offset.

    :param fields: (name, width) of each field, in order
    """

    def __init__(self, fields: Sequence[tuple[str, int]]) -> None:
        body = bytearray(struct.pack('<I', len(fields)))
        offset = 0
        for name, width in fields:
            label = name.encode() + b'\0'
            body += b'\0' * _align(len(body), 4)
            body += struct.pack('<I', len(label)) + label
            body += b'\0' * _align(len(body), 4) + struct.pack('<II', width, offset)
            offset += width
        body += struct.pack('<II', 0, offset)
        if offset:
            body += b'\0' * _align(len(body), 8)
        self.width = offset
        self._prefix = _HEADER + bytes(body)

    def encode(self, values: Array) -> bytes:
        """Return the encoded message of values (width,); raises ValueError for another width."""
        if values.shape != (self.width,):
            raise ValueError(f'{values.shape} values for a layout of {self.width}')
        return self._prefix + np.ascontiguousarray(values, dtype='<f8').tobytes()

    def matches(self, message: bytes) -> bool:
        """Return whether a message has exactly this layout."""
        return len(message) == len(self._prefix) + 8 * self.width and \
            message.startswith(self._prefix)

    def values(self, message: bytes) -> Array:
        """Return the data (width,) of a message for which `matches` is true."""
        return np.frombuffer(message, dtype='<f8', offset=len(self._prefix))


def decode_array(message: bytes) -> tuple[list[tuple[str, int]], Array]:
    """
    Return the fields (name, width) and the data of an encoded Float64MultiArray.

    :raises ValueError: the message is truncated, its encoding is not little-endian CDR, or the
        widths do not add up to the number of values
    """
    if message[:4] != _HEADER:
        raise ValueError(f'encapsulation {message[:4]!r} is not little-endian CDR')
    body = message[4:]
    place = 0
    try:
        (count,) = struct.unpack_from('<I', body, place)
        place += 4
        fields = []
        for _ in range(count):
            place += _align(place, 4)
            (length,) = struct.unpack_from('<I', body, place)
            label = body[place + 4:place + 3 + length].decode()
            place += 4 + length
            place += _align(place, 4)
            fields.append((label, struct.unpack_from('<II', body, place)[0]))
            place += 8
        place += 4
        (size,) = struct.unpack_from('<I', body, place)
        place += 4
        if size:
            place += _align(place, 8)
        if sum(width for _, width in fields) != size:
            raise ValueError(f'{size} values for fields {fields}')
        return fields, np.frombuffer(body, dtype='<f8', count=size, offset=place)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f'not a Float64MultiArray: {error}') from None
