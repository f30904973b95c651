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

"""sensor_msgs/msg/Image and CompressedImage as bytes, without ROS."""

from dataclasses import dataclass
import struct

from spaars_ros.vision.images import decompress
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import Pixels
from spaars_ros.vision.images import pixels_of

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
NANO = 1_000_000_000
DEFINITION = """\
std_msgs/Header header
string format
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
"""Message definition of CompressedImage for an MCAP file (schema encoding ros2msg)."""
_HEADER = b'\x00\x01\x00\x00'  # CDR, little endian


@dataclass(frozen=True)
class Frame:
    """An image of a recording, still packed."""

    topic: str
    stamp_ns: int
    type: str
    data: bytes
    """Bytes of the message."""

    def pixels(self) -> Pixels:
        """Return the image (h, w, 3); raise ImageError."""
        reader = _Reader(self.data)
        reader.stamp(), reader.text()
        if self.type == COMPRESSED:
            reader.text()
            return decompress(reader.rest())
        height, width = reader.number(), reader.number()
        encoding = reader.text()
        reader.byte()
        return pixels_of(encoding, width, height, reader.number(), reader.rest())


def compressed_message(data: bytes, stamp_ns: int, frame_id: str) -> bytes:
    """Return a CompressedImage message with JPEG data."""
    seconds, nanoseconds = divmod(stamp_ns, NANO)
    body = bytearray(struct.pack('<iI', seconds, nanoseconds))
    for text in (frame_id, 'jpeg'):
        body += b'\0' * (-len(body) % 4)
        raw = text.encode() + b'\0'
        body += struct.pack('<I', len(raw)) + raw
    body += b'\0' * (-len(body) % 4)
    return _HEADER + bytes(body) + struct.pack('<I', len(data)) + data


def frame_of(topic: str, kind: str, data: bytes) -> Frame:
    """Return the frame of a message's bytes; raise ImageError for a truncated message."""
    return Frame(topic, _Reader(data).stamp(), kind, data)


class _Reader:
    """Read the fields of a message in sequence."""

    def __init__(self, data: bytes) -> None:
        self._body, self._place = memoryview(data)[4:], 0
        if data[:4] != _HEADER:
            raise ImageError('UNREADABLE', 'a message that is not little-endian CDR')

    def number(self) -> int:
        self._place += -self._place % 4
        try:
            value: int = struct.unpack_from('<I', self._body, self._place)[0]
        except struct.error:
            raise ImageError('UNREADABLE', 'a message that is cut off') from None
        self._place += 4
        return value

    def byte(self) -> None:
        self._place += 1

    def stamp(self) -> int:
        return self.number() * NANO + self.number()

    def text(self) -> str:
        length = self.number()
        raw = bytes(self._body[self._place:self._place + length])
        self._place += length
        return raw.rstrip(b'\0').decode(errors='replace')

    def rest(self) -> memoryview:
        length = self.number()
        if self._place + length > len(self._body):
            raise ImageError('UNREADABLE', 'a message that is cut off')
        return self._body[self._place:self._place + length]
