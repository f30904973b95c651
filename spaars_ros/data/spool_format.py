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

"""File format of the spool: fixed-size records, each with a checksum, and its readers."""

from dataclasses import dataclass
import json
import os
from pathlib import Path
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.files import write_whole
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.robot.resources import read_file

VERSION = 2
"""Version 1 (release 0.1.0) has no checksums; it is readable, and rewritten when a run resumes."""
LAYOUT = 'layout.json'
STEPS = 'steps.f64'


class SpoolError(ValueError):
    """A spool directory cannot be continued; the message names it and gives the reason."""


@dataclass(frozen=True)
class Layout:
    """
    Layout of one record in the file: its float64 values and, from version 2 on, their CRC-32.

    Little endian. The checksum takes 8 bytes, so that records stay aligned.
    """

    schema: StepSchema
    version: int = VERSION

    @property
    def stride(self) -> int:
        """Return the size of a record in bytes."""
        return 8 * (self.schema.width + (self.version > 1))

    def encode(self, row: Array) -> bytes:
        """Return the bytes of a record."""
        data = row.astype('<f8').tobytes()
        return data + zlib.crc32(data).to_bytes(8, 'little') if self.version > 1 else data

    def decode(self, data: bytes) -> tuple[Array, NDArray[np.bool_]]:
        """Return the complete records (m, width), and whether each checksum is correct (m,)."""
        count = len(data) // self.stride
        values = np.frombuffer(data, '<f8', count * self.stride // 8) \
            .reshape(count, self.stride // 8)
        rows = values[:, :self.schema.width].astype(np.float64)
        good = np.ones(count, bool)
        if self.version > 1:
            size, view = 8 * self.schema.width, memoryview(data)
            sums = np.ascontiguousarray(values[:, -1]).view('<u8')
            for i, start in enumerate(range(0, count * self.stride, self.stride)):
                good[i] = zlib.crc32(view[start:start + size]) == sums[i]
        return rows, good

    def to_json(self) -> str:
        """Return the content of the layout file; release 0.1.0 refuses it by its version."""
        return json.dumps({'spool': self.version, 'checksum': 'crc32',
                           'record': json.loads(self.schema.to_json())})

    @classmethod
    def from_json(cls, text: str) -> 'Layout':
        """Return the layout from the content of a layout file; raises ValueError."""
        try:
            content: Any = json.loads(text)
        except RecursionError:
            raise ValueError('not a spool layout') from None
        if not isinstance(content, dict):
            raise ValueError('not a spool layout')
        if 'spool' not in content:
            return cls(StepSchema.from_json(text), 1)
        if content['spool'] != VERSION or content.get('checksum') != 'crc32':
            raise ValueError(f'spool of version {str(content["spool"])[:50]}, this reads 1 and '
                             f'{VERSION}')
        return cls(StepSchema.from_json(json.dumps(content.get('record'))))

    @classmethod
    def read(cls, directory: Path) -> 'Layout':
        """Return the layout of a spool; raises SpoolError."""
        path = directory / LAYOUT
        try:
            return cls.from_json(read_file(path).decode())
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SpoolError(f'{path}: not a spool layout: {error}') from None


@dataclass(frozen=True)
class Spooled:
    """Content of a spool."""

    schema: StepSchema
    rows: Array
    """(m, width); an incomplete record at the end is left out."""
    checked: bool
    """Whether the records have checksums."""
    sound: NDArray[np.bool_]
    """(m,): the checksum is correct, every value is finite, and the sequence matches the place."""

    @property
    def damaged(self) -> list[int]:
        """Return the numbers of the records that cannot be used."""
        return [int(number) for number in np.flatnonzero(~self.sound)]


def sound(schema: StepSchema, rows: Array, good: NDArray[np.bool_], first: int = 0
          ) -> NDArray[np.bool_]:
    """Return which records (m, width) from place `first` on are usable, as in `Spooled.sound`."""
    places = first + np.arange(len(rows))
    return good & np.isfinite(rows).all(axis=1) & (schema.get(rows, 'sequence') == places)


def scan_spool(directory: str | os.PathLike[str]) -> Spooled:
    """
    Return all records of a spool, and which are sound; also of a spool that is being written.

    Records of an older version are converted to the newest layout.

    :raises SpoolError: no spool, or a spool of an unknown version
    """
    directory = Path(directory)
    layout = Layout.read(directory)
    try:
        data = read_file(directory / STEPS)
    except OSError as error:
        raise SpoolError(f'{directory}: no readable spool: {error}') from None
    rows, good = layout.decode(data)
    rows, schema = layout.schema.upgraded(rows), layout.schema.current
    return Spooled(schema, rows, layout.version > 1, sound(schema, rows, good))


def read_spool(directory: str | os.PathLike[str]) -> tuple[StepSchema, Array]:
    """
    Return schema and records (m, width) of a spool, also of one that is being written.

    Records after the last sound one are left out, since they may not be complete yet.

    :raises SpoolError: no spool, a spool of an unknown version, or a damaged record, with its
        number
    """
    found = scan_spool(directory)
    count = int(np.flatnonzero(found.sound)[-1]) + 1 if found.sound.any() else 0
    refuse_damage(directory, found.sound[:count])
    return found.schema, found.rows[:count]


def refuse_damage(directory: str | os.PathLike[str], good: NDArray[np.bool_]) -> None:
    """Raise SpoolError with the number of the first damaged record."""
    bad = np.flatnonzero(~good)
    if len(bad):
        raise SpoolError(f'{directory}: record {bad[0]} is damaged'
                         + (f', and {len(bad) - 1} more' if len(bad) > 1 else '')
                         + ': `spaars finetune --resume` takes it from the recording; to begin '
                           'anew, move the run folder away')


def write_spool(directory: Path, schema: StepSchema, rows: Array) -> None:
    """Write a new spool with records (m, width), numbered 0 to m - 1; raises OSError."""
    layout = Layout(schema)
    directory.mkdir()
    # The layout is written last: records without a layout are refused, and no run continues them.
    write_whole(directory / STEPS, b''.join(map(layout.encode, rows)))
    write_whole(directory / LAYOUT, layout.to_json().encode() + b'\n')


def renew_spool(directory: Path) -> None:
    """
    Convert a spool to the newest version of the file format and of the record format.

    The old records stay in place until the new ones are on disk. A crash between the two renames
    leaves records that do not fit the layout; the next call repairs this.

    :raises SpoolError: the layout is not readable, or a record is damaged
    :raises OSError: a file cannot be written; the old files are kept
    """
    found = Layout.read(directory)
    pending = directory / f'{STEPS}.renewed'
    if found.version == VERSION and found.schema.current == found.schema:
        if pending.exists():
            os.replace(pending, directory / STEPS)
        return
    spooled = scan_spool(directory)
    refuse_damage(directory, spooled.sound)
    layout, rows = Layout(spooled.schema), spooled.rows
    write_whole(pending, b''.join(map(layout.encode, rows)))
    write_whole(directory / LAYOUT, layout.to_json().encode() + b'\n')
    os.replace(pending, directory / STEPS)
