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

"""Recordings are read: MCAP of this package or of ros2 bag, also where they are cut short."""

from collections.abc import Iterator
import logging
import os
import struct

from mcap.exceptions import McapError
from mcap.records import Channel
from mcap.records import Message
from mcap.records import Schema
from mcap.stream_reader import CRCValidationError
from mcap.stream_reader import StreamReader
import numpy as np
import zstandard

from spaars_ros.data import cdr
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema

_log = logging.getLogger(__name__)

STEP_TOPIC = 'policy_server/step'
CORRECTED = '_corrected'
"""After the topic: a record that takes the place of the recorded one of its number."""
MAGIC = b'\x89MCAP0\r\n'
_TORN = (McapError, CRCValidationError, zstandard.ZstdError, struct.error, ValueError, EOFError,
         MemoryError)


class RecorderError(ValueError):
    """A recording cannot be read or continued; the message names the file and says why."""


def read_messages(path: str | os.PathLike[str]) -> Iterator[tuple[Schema, Channel, Message]]:
    """
    Yield every whole message of an MCAP file in file order.

    A file cut short (power loss, SIGKILL, full disk) yields what is whole; the rest is logged.
    :raises RecorderError: not an MCAP file
    :raises OSError: the file cannot be read
    """
    with open(path, 'rb') as file:
        start = file.read(len(MAGIC))
        if not MAGIC.startswith(start):
            raise RecorderError(f'{path}: not an MCAP file')
        file.seek(0)
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        try:
            # No record is longer than the file, whatever a damaged length says.
            size = os.fstat(file.fileno()).st_size
            for record in StreamReader(file, validate_crcs=True, record_size_limit=size).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message) and record.channel_id in channels:
                    channel = channels[record.channel_id]
                    if channel.schema_id in schemas:
                        yield schemas[channel.schema_id], channel, record
        except _TORN as error:
            _log.warning('%s: cut short after byte %d (%s): kept every whole message', path,
                         file.tell(), type(error).__name__)


def step_schema(fields: list[tuple[str, int]], where: str) -> StepSchema:
    """Return the schema of a step message's fields; raises RecorderError naming what differs."""
    try:
        return StepSchema.of_fields(dict(fields))
    except ValueError as error:
        raise RecorderError(f'{where}: {error}') from None


def read_steps(path: str | os.PathLike[str],
               topic: str = STEP_TOPIC) -> tuple[StepSchema, Array]:
    """
    Return the schema and the step records (m, width) of a recording, in file order.

    Reads what TransitionRecorder or `ros2 bag record` wrote, in any namespace, and what is whole
    of a file cut short. Records of an older version come in the newest layout.
    :raises RecorderError: not an MCAP file, no step in it, or steps of several layouts
    """
    encoder: cdr.ArrayEncoder | None = None
    schema: StepSchema | None = None
    rows: list[Array] = []
    corrections: list[Array] = []
    for _, channel, message in read_messages(path):
        name = channel.topic.removesuffix(CORRECTED)
        if name != topic and not name.endswith('/' + topic):
            continue
        if encoder is None:
            try:
                fields, _ = cdr.decode_array(message.data)
            except ValueError as error:
                raise RecorderError(f'{path}: {channel.topic}: {error}') from None
            schema = step_schema(fields, f'{path}: {channel.topic}')
            encoder = cdr.ArrayEncoder(fields)
        if not encoder.matches(message.data):
            raise RecorderError(f'{path}: message {len(rows)} of {channel.topic} has another '
                                'layout than those before it')
        (rows if name == channel.topic else corrections).append(encoder.values(message.data))
    if schema is None or not rows:
        raise RecorderError(f'{path}: no {topic} message in it')
    places = {row[0]: place for place, row in enumerate(rows)} if corrections else {}
    for row in corrections:
        if row[0] in places:
            rows[places[row[0]]] = row
    return schema.current, schema.upgraded(np.stack(rows))
