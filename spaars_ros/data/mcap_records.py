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

"""Records of an MCAP file, chunk by chunk; damaged parts are skipped and reported."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
import os
import struct
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel
from mcap.records import Chunk
from mcap.records import Footer
from mcap.records import McapRecord
from mcap.records import Message
from mcap.records import Schema
from mcap.stream_reader import breakup_chunk
import zstandard

MAGIC = b'\x89MCAP0\r\n'
HEAD = struct.Struct('<BQ')
"""Opcode and length that precede every record."""
CHUNK_HEAD = 32
"""bytes of a chunk's content before the name of its compression."""
BLOCK = 1 << 20
"""bytes per block when searching for the next chunk."""
BROKEN = (McapError, zstandard.ZstdError, struct.error, ValueError, EOFError, MemoryError,
          OverflowError)
KNOWN = frozenset(int(opcode) for opcode in Opcode)


@dataclass(frozen=True)
class Damage:
    """Range of bytes of a file that could not be read."""

    first: int
    end: int
    why: str

    def __str__(self) -> str:
        """Return the bytes that cannot be read, and why."""
        return f'bytes {self.first} to {self.end} cannot be read ({self.why})'


def read_records(file: BinaryIO, damage: list[Damage]) -> Iterator[McapRecord]:
    """
    Yield schemas, channels and messages in file order, from every complete chunk.

    Each chunk has a checksum. After a chunk with a wrong checksum or a wrong length, the next
    chunk is searched for. In a file without a summary, a truncated end counts as damage, too.

    :param file: seekable; the records begin after its magic bytes
    :param damage: list that receives the unreadable parts
    """
    size = file.seek(0, os.SEEK_END)
    yield from _summary(file, size)
    place = len(MAGIC)
    while place < size:
        opcode, content, end = _record(file, place, size)
        if content is None:
            following = _next_chunk(file, place + 1, size)
            damage.append(Damage(place, following, 'cut short' if following == size
                                 else 'no record begins there'))
            place = following
            continue
        try:
            yield from _parse(opcode, content)
        except BROKEN as error:
            if not _begins(file, end, size):
                end = _next_chunk(file, place + 1, size)
            damage.append(Damage(place, end, type(error).__name__))
        if opcode == Opcode.FOOTER:
            return
        place = end


def _record(file: BinaryIO, place: int, size: int) -> tuple[int, bytes | None, int]:
    """Return opcode, content and end of the record at an offset; content None: no record there."""
    file.seek(place)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return 0, None, size
    opcode, length = HEAD.unpack(head)
    end = place + HEAD.size + length
    if opcode not in KNOWN or end > size:
        return opcode, None, size
    return opcode, file.read(length), end


def _begins(file: BinaryIO, place: int, size: int) -> bool:
    """Return whether an offset is the start of a record or the end of the file."""
    if place >= size:
        return place == size
    file.seek(place)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return False
    opcode, length = HEAD.unpack(head)
    return opcode in KNOWN and place + HEAD.size + length <= size


def _parse(opcode: int, content: bytes) -> Iterator[McapRecord]:
    stream = ReadDataStream(BytesIO(content))
    if opcode == Opcode.CHUNK:
        yield from breakup_chunk(Chunk.read(stream), validate_crc=True)
    elif opcode == Opcode.SCHEMA:
        yield Schema.read(stream)
    elif opcode == Opcode.CHANNEL:
        yield Channel.read(stream)
    elif opcode == Opcode.MESSAGE:
        yield Message.read(stream, len(content))


def _next_chunk(file: BinaryIO, start: int, size: int) -> int:
    """Return the offset of the next chunk with a consistent header, `size` if there is none."""
    before = HEAD.size + CHUNK_HEAD - 4
    needles = [struct.pack('<I', len(name)) + name for name in (b'zstd', b'lz4')]
    place = start
    while place < size:
        file.seek(place)
        block = file.read(BLOCK + 64)
        found = sorted(at + place - before for needle in needles for at in _all(block, needle))
        for candidate in found:
            if candidate >= start and _is_chunk(file, candidate, size):
                return candidate
        place += BLOCK
    return size


def _all(block: bytes, needle: bytes) -> Iterator[int]:
    at = block.find(needle)
    while at >= 0:
        yield at
        at = block.find(needle, at + 1)


def _is_chunk(file: BinaryIO, place: int, size: int) -> bool:
    """Return whether the lengths in the header of a chunk at an offset agree with each other."""
    file.seek(place)
    head = file.read(HEAD.size + CHUNK_HEAD + 64)
    if len(head) < HEAD.size + CHUNK_HEAD:
        return False
    opcode, length = HEAD.unpack_from(head)
    if opcode != Opcode.CHUNK or place + HEAD.size + length > size:
        return False
    (name,) = struct.unpack_from('<I', head, HEAD.size + CHUNK_HEAD - 4)
    if name > 16:
        return False
    (data,) = struct.unpack_from('<Q', head, HEAD.size + CHUNK_HEAD + name)
    return bool(CHUNK_HEAD + name + 8 + data == length)


def _summary(file: BinaryIO, size: int) -> Iterator[McapRecord]:
    """Yield schemas and channels from a finished file's summary: the first chunk may be lost."""
    tail = HEAD.size + 20
    place = size - len(MAGIC) - tail
    if place < len(MAGIC):
        return
    opcode, content, _ = _record(file, place, size)
    if opcode != Opcode.FOOTER or content is None:
        return
    found: list[McapRecord] = []
    try:
        place = Footer.read(ReadDataStream(BytesIO(content))).summary_start
        while 0 < place < size:
            opcode, content, place = _record(file, place, size)
            if content is None or opcode == Opcode.FOOTER:
                break
            if opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                found += _parse(opcode, content)
    except BROKEN:
        pass
    yield from found
