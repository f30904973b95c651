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

"""Reader of MCAP recordings of this package or of ros2 bag, also of damaged ones."""

from collections.abc import Iterator
import logging
import os
from pathlib import Path
import re

from mcap.records import Channel
from mcap.records import Message
from mcap.records import Schema
import numpy as np

from spaars_ros.data import cdr
from spaars_ros.data import labels
from spaars_ros.data.mcap_records import Damage
from spaars_ros.data.mcap_records import MAGIC
from spaars_ros.data.mcap_records import read_records
from spaars_ros.data.runs import split_runs
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema

_log = logging.getLogger(__name__)

STEP_TOPIC = 'policy_server/step'
CORRECTED = '_corrected'
"""Topic suffix of a corrected step, which replaces the recorded step of the same number."""
UNKNOWN = Channel(id=0, message_encoding='cdr', metadata={}, schema_id=0, topic='/' + STEP_TOPIC)
"""Channel of a step whose channel description was in a lost chunk."""


class RecorderError(ValueError):
    """A recording cannot be read or continued; the message names the file and the reason."""


class NoStepError(RecorderError):
    """A recording contains no step: it ended before its first complete chunk."""


def recording_files(path: str | os.PathLike[str]) -> list[Path]:
    """
    Return the MCAP files of a recording, in order: the file itself, or those of a rosbag2 folder.

    :raises RecorderError: the folder contains none
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    files = sorted(path.glob('*.mcap'), key=lambda file: [
        int(part) if part.isdigit() else part for part in re.split(r'(\d+)', file.name)])
    if not files:
        other = sorted(file.name for file in path.iterdir())[:5]
        raise RecorderError(f'{path}: no .mcap file in this folder, found {other}; record with '
                            '`ros2 bag record --storage mcap`')
    return files


def read_messages(path: str | os.PathLike[str], damage: list[Damage] | None = None
                  ) -> Iterator[tuple[Schema, Channel, Message]]:
    """
    Yield every complete message of an MCAP file, or of a rosbag2 folder, in file order.

    Damaged or truncated parts (a flipped bit, power loss, SIGKILL, full disk) are skipped up to
    the next complete chunk. They are logged if no list is given.

    :param damage: list that receives the unreadable parts, for the caller to report
    :raises RecorderError: not an MCAP file
    :raises OSError: the file cannot be read
    """
    for file in recording_files(path):
        found: list[Damage] = [] if damage is None else damage
        yield from _of_file(file, found)
        for each in found if damage is None else ():
            _log.warning('%s: %s', file, each)


def _of_file(path: Path, damage: list[Damage]) -> Iterator[tuple[Schema, Channel, Message]]:
    with open(path, 'rb') as file:
        start = file.read(len(MAGIC))
        if not MAGIC.startswith(start):
            raise RecorderError(f'{path}: not an MCAP file')
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        unknown = 0
        for record in read_records(file, damage):
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels.get(record.channel_id)
                if channel is None and _is_step(record.data):
                    channel = UNKNOWN
                if channel is UNKNOWN:
                    yield Schema(0, b'', 'ros2msg', cdr.TYPE), UNKNOWN, record
                elif channel is not None and channel.schema_id in schemas:
                    yield schemas[channel.schema_id], channel, record
                else:
                    unknown += 1
        if unknown:
            damage.append(Damage(0, 0, f'{unknown} messages of channels whose description is '
                                       'lost'))


def _is_step(data: bytes) -> bool:
    """Return whether a message has the fields of a step record."""
    try:
        step_schema(cdr.decode_array(data)[0], '')
    except ValueError:
        return False
    return True


def step_schema(fields: list[tuple[str, int]], where: str) -> StepSchema:
    """Return the schema of a step message's fields; raises RecorderError naming the difference."""
    try:
        return StepSchema.of_fields(dict(fields))
    except ValueError as error:
        raise RecorderError(f'{where}: {error}') from None


def read_runs(path: str | os.PathLike[str], topic: str = STEP_TOPIC,
              damage: list[Damage] | None = None) -> tuple[StepSchema, list[Array]]:
    """
    Return the schema and the step records of each run in a recording, each (m, width).

    Within a run, records are ordered by sequence, each once. Reads files of TransitionRecorder and
    of `ros2 bag record`, in any namespace, and the undamaged parts of a damaged file. Records of
    an older version are converted to the newest layout. A label that a person gave after the end
    of an episode is set in the episode's last record.

    :param topic: of the steps: the full name, or without the namespace if there is only one robot
    :param damage: list that receives the unreadable parts
    :raises RecorderError: not an MCAP file, no step in it, steps of several robots or layouts
    """
    encoder: cdr.ArrayEncoder | None = None
    schema: StepSchema | None = None
    rows: list[Array] = []
    corrections: list[Array] = []
    topics: list[str] = []
    said: dict[int, Outcome] = {}
    for _, channel, message in read_messages(path, damage):
        if channel.topic == label_topic(topic) or channel.topic.endswith('/' + label_topic(topic)):
            said.update(_label(message.data, f'{path}: {channel.topic}'))
        name = channel.topic.removesuffix(CORRECTED)
        if name != topic and not name.endswith('/' + topic):
            continue
        if name not in topics:
            topics.append(name)
            if len(topics) > 1:
                raise RecorderError(f'{path}: steps of several robots: {", ".join(topics)}: take '
                                    'one at a time, by its topic')
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
        raise NoStepError(f'{path}: no {topic} message in it')
    places = {row[0]: place for place, row in enumerate(rows)} if corrections else {}
    for row in corrections:
        if row[0] in places:
            rows[places[row[0]]] = row
    runs = split_runs(schema.current, schema.upgraded(np.stack(rows)))
    if said:  # they apply to the last run, the one in progress
        runs[-1] = labels.apply_labels(schema.current, runs[-1], said)
    return schema.current, runs


def label_topic(steps: str) -> str:
    """Return the topic of the labels that belongs to a topic of steps."""
    return steps.removesuffix(STEP_TOPIC) + labels.TOPIC


def _label(data: bytes, where: str) -> dict[int, Outcome]:
    try:
        fields, values = cdr.decode_array(data)
        named = dict(zip([name for name, _ in fields], values))
        return {int(named['episode']): Outcome(int(named['outcome']))}
    except (ValueError, KeyError, OverflowError) as error:
        raise RecorderError(f'{where}: not a label: {error}') from None


def read_steps(path: str | os.PathLike[str], topic: str = STEP_TOPIC,
               damage: list[Damage] | None = None) -> tuple[StepSchema, Array]:
    """
    Return the schema and the step records (m, width) of a recording of one run, by sequence.

    :param topic: see `read_runs`
    :param damage: list that receives the unreadable parts
    :raises RecorderError: as `read_runs`, and if the recording contains several runs
    """
    schema, runs = read_runs(path, topic, damage)
    if len(runs) > 1:
        raise RecorderError(f'{path}: steps of {len(runs)} runs of a policy server, of '
                            f'{", ".join(str(len(run)) for run in runs)} steps: their numbers '
                            'mean other steps in each')
    return schema, runs[0]
