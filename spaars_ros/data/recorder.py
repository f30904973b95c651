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

"""Recorder of a run: every step in one MCAP file that ROS 2 tools can read."""

from collections.abc import Collection
from collections.abc import Mapping
import errno
import logging
import os
from pathlib import Path
import time
from typing import Any

from mcap.writer import Writer
import numpy as np

from spaars_ros.data import cdr
from spaars_ros.data.files import lost
from spaars_ros.data.files import name_aside
from spaars_ros.data.files import open_inside
from spaars_ros.data.files import sync_folder
from spaars_ros.data.mcap_records import Damage
from spaars_ros.data.recording import CORRECTED
from spaars_ros.data.recording import read_messages
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.recording import step_schema
from spaars_ros.data.recording import STEP_TOPIC
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema

_log = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""bytes of messages per chunk, before it is compressed and written."""
RETRY = 0.25
"""s between write attempts while the disk refuses."""


class _Sink:
    """Append-only file for the MCAP writer; it keeps data that the disk refuses, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: str | None = None
        self.lost = ''
        self._fd = open_inside(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._pending = bytearray()
        self._written = 0
        self._retry_at = 0.0

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def tell(self) -> int:
        return self._written + len(self._pending)

    def flush(self) -> None:
        """Do nothing when the MCAP writer flushes: the recorder decides when to `drain`."""

    def drain(self, now: bool = False) -> bool:
        """Write pending data unless a retry is not due yet; return whether all is written."""
        if self._pending and self.error and not now and time.monotonic() < self._retry_at:
            return False
        try:
            if self._pending and not self.lost:
                self.lost = lost(self._fd, self.path, self._written)
            if self.lost:
                raise OSError(errno.ESTALE, self.lost)
            while self._pending:
                count = os.pwrite(self._fd, self._pending, self._written)
                self._written += count
                del self._pending[:count]
            self.error = None
        except OSError as error:
            if self.error is None:
                _log.error('%s: %s; messages stay in memory', self.path, error.strerror)
            self.error = f'{self.path}: {error.strerror}'
            self._retry_at = time.monotonic() + RETRY
        return not self._pending

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class TransitionRecorder:
    """
    Write step records and other named values to an MCAP file, profile ros2.

    Topics become absolute. Every message is a Float64MultiArray with one layout.dim per field. Use
    the recorder from one thread only.

    Messages reach the file one chunk at a time, or on `flush`. Data that the disk refuses stay in
    memory, in order, and are written as soon as the disk accepts them. The file is thus always the
    beginning of a valid MCAP file. Opening an existing file keeps every complete message in it and
    continues; a damaged file is kept beside it under another name. If the file is removed,
    replaced or truncated by another program, `lost` says so and the recorder writes no more.

    Log times do not jump back by more than 1 s: a run resumed on a clock that restarts at 0 plays
    back in order. Publish times are the stamps themselves.

    :param without: numbers of steps of an existing file that the policy server did not write; they
        are left out, and the old file is kept under another name
    :raises RecorderError: the file is not an MCAP file, or holds steps of another schema
    :raises OSError: the file cannot be created
    """

    def __init__(self, path: str | os.PathLike[str], schema: StepSchema,
                 without: Collection[int] = ()) -> None:
        self.path = Path(path)
        self._without = frozenset(without)
        self.schema = schema
        self.count = 0
        """Number of step records in the file or waiting to be written."""
        self.next_sequence = 0
        """First sequence number that is not recorded: where to continue after a restart."""
        self.damage: list[str] = []
        """
        One line per unreadable part of an old file, and one with the name under which it is kept.
        """
        self._ahead: set[int] = set()
        self._steps = cdr.ArrayEncoder(
            [(name, part.stop - part.start) for name, part in schema.fields.items()])
        self._step_topic = '/' + STEP_TOPIC
        self._channels: dict[str, int] = {}
        self._encoders: dict[tuple[Any, ...], cdr.ArrayEncoder] = {}
        self._last_time = 0
        self._shift = 0
        self._closed = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            raise OSError(errno.ELOOP, 'a symbolic link, where a file is written: move it away',
                          str(self.path))
        old = self.path.exists() and self.path.stat().st_size > 0
        self._sink = _Sink(self.path.with_suffix('.recovering') if old else self.path)
        try:
            self._writer = Writer(self._sink, chunk_size=CHUNK)  # type: ignore[arg-type]
            self._writer.start(profile='ros2', library='spaars_ros')
            self._schema_id = self._writer.register_schema(
                cdr.TYPE, 'ros2msg', cdr.DEFINITION.encode())
            if old:
                self._recover()
        except BaseException:
            self._sink.close()
            if old:
                self._sink.path.unlink(missing_ok=True)
            raise

    @property
    def error(self) -> str | None:
        """Return the newest error of the disk, None while writing works."""
        return self._sink.error

    @property
    def lost(self) -> str:
        """Return how another program took the file away or cut it, '' while it is intact."""
        return self._sink.lost

    def write_step(self, row: Array) -> bool:
        """
        Record one step (width,); return False, without recording, if its number is recorded.

        :raises ValueError: wrong width
        """
        sequence = int(row[0])
        if sequence < self.next_sequence or sequence in self._ahead:
            return False
        stamp_ns = round(float(self.schema.get(row, 'stamp')) * 1e9)
        self._add(self._step_topic, self._steps.encode(row), stamp_ns)
        self._took(sequence)
        return True

    def correct_step(self, row: Array) -> None:
        """
        Record a corrected step (width,), which replaces the recorded step of the same number.

        The recorded step is not deleted: readers use the newest.

        :raises ValueError: wrong width
        """
        stamp_ns = round(float(self.schema.get(row, 'stamp')) * 1e9)
        self._add(self._step_topic + CORRECTED, self._steps.encode(row), stamp_ns)

    def write(self, topic: str, values: Mapping[str, Any], stamp_ns: int) -> None:
        """Record named floats or vectors on a topic, with one layout.dim per name."""
        arrays = [np.asarray(value, dtype=np.float64).reshape(-1) for value in values.values()]
        fields = tuple((name, array.size) for name, array in zip(values, arrays, strict=True))
        if fields not in self._encoders:
            self._encoders[fields] = cdr.ArrayEncoder(fields)
        data = self._encoders[fields].encode(np.concatenate([np.zeros(0), *arrays]))
        self._add('/' + topic.lstrip('/'), data, stamp_ns)

    def flush(self) -> bool:
        """Hand all data to the operating system; return whether the disk accepted them."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        return self._sink.drain(now=True)

    def close(self) -> bool:
        """Finish and sync the file; return whether all of it is on disk."""
        if self._closed:
            return self._sink.error is None
        self._closed = True
        self._writer.finish()  # type: ignore[no-untyped-call]
        done = self._sink.drain(now=True)
        try:
            self._sink.sync()
        except OSError as error:
            self._sink.error, done = f'{self.path}: {error.strerror}', False
        self._sink.close()
        return done

    def _took(self, sequence: int) -> None:
        self.count += 1
        self._ahead.add(sequence)
        while self.next_sequence in self._ahead:
            self._ahead.remove(self.next_sequence)
            self.next_sequence += 1

    def _add(self, topic: str, data: bytes, stamp_ns: int, log_time: int | None = None) -> None:
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic, 'cdr', self._schema_id, {'offered_qos_profiles': ''})
        if log_time is None:
            log_time = stamp_ns + self._shift
            if log_time < self._last_time - 1_000_000_000:
                self._shift = self._last_time + 1 - stamp_ns
                log_time = stamp_ns + self._shift
        self._last_time = max(self._last_time, log_time)
        self._writer.add_message(self._channels[topic], max(log_time, 0), data,
                                 max(stamp_ns, 0), self.count)
        self._sink.drain()

    def _current(self, data: bytes) -> bytes:
        """Return a step message of any version in the layout that this run writes."""
        if self._steps.matches(data):
            return data
        fields, values = cdr.decode_array(data)
        found = step_schema(fields, str(self.path))
        if found.current != self.schema:
            raise RecorderError(f'{self.path}: it holds steps of {found.to_json()}, '
                                f'this run writes {self.schema.to_json()}')
        return self._steps.encode(found.upgraded(np.asarray(values)))

    def _keep_old(self, damage: list[Damage]) -> None:
        aside = name_aside(self.path)
        try:
            os.link(self.path, aside)
        except OSError:  # no hard links there
            os.rename(self.path, aside)
        self.damage = [f'{self.path}: {found}' for found in damage]
        self.damage.append(f'{self.path}: continued from what could be read; the damaged '
                           f'file is kept as {aside.name}' if damage else
                           f'{self.path}: its previous content is kept as {aside.name}')

    def _recover(self) -> None:
        """
        Copy every complete message of the old file, then replace the old file atomically.

        The old file is kept under another name if a part of it could not be read or steps are left
        out.
        """
        damage: list[Damage] = []
        for schema, channel, message in read_messages(self.path, damage):
            if schema.name != cdr.TYPE:
                raise RecorderError(f'{self.path}: {channel.topic} carries {schema.name}: not '
                                    'a recording of this package')
            if self._without and channel.topic == self._step_topic + CORRECTED \
                    and cdr.decode_array(message.data)[1][0] in self._without:
                continue
            if channel.topic == self._step_topic:
                data = self._current(message.data)
                sequence = int(self._steps.values(data)[0])
                if sequence in self._without:
                    continue
                if sequence < self.next_sequence or sequence in self._ahead:
                    continue
                self._took(sequence)
            else:
                data = message.data
            self._add(channel.topic, data, message.publish_time, message.log_time)
        self._writer.flush()  # type: ignore[no-untyped-call]
        if not self._sink.drain(now=True):
            raise OSError(f'{self.error}: cannot recover {self.path.name}')
        self._sink.sync()
        if damage or self._without:
            self._keep_old(damage)
        os.replace(self._sink.path, self.path)
        sync_folder(self.path.parent)
        self._sink.path = self.path
