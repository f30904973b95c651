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

"""The spool: every step record on disk, written off the control thread."""

from collections import deque
import errno
import fcntl
from itertools import islice
import logging
import os
from pathlib import Path
import threading
import time

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema

_log = logging.getLogger(__name__)

GATHER = 0.005
"""s that the writer waits after a record, so that a fast loop costs one write a batch."""
RETRY = 0.25
"""s between attempts while the disk refuses."""


class SpoolError(ValueError):
    """A spool directory cannot be continued; the message names it and says why."""


def read_spool(directory: str | os.PathLike[str]) -> tuple[StepSchema, Array]:
    """
    Return schema and whole records (m, width) of a spool, also of one that is being written.

    :raises SpoolError: no spool, or one of another version
    """
    try:
        schema = StepSchema.from_json((Path(directory) / 'layout.json').read_text())
        data = (Path(directory) / 'steps.f64').read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpoolError(f'{directory}: no readable spool: {error}') from None
    whole = len(data) // (8 * schema.width)
    rows = np.frombuffer(data, dtype='<f8', count=whole * schema.width)
    return schema.current, schema.upgraded(rows.reshape(whole, schema.width))


def upgrade_spool(directory: Path) -> None:
    """
    Bring a spool of an older version into the newest layout, the records first.

    A crash in between leaves the new layout beside the old one: it is put in place next time.
    :raises SpoolError: the layout is not readable
    :raises OSError: a file cannot be written; the old ones stay
    """
    layout, steps = directory / 'layout.json', directory / 'steps.f64'
    fresh_layout, fresh_steps = directory / '.layout.json', directory / '.steps.f64'
    if fresh_layout.exists() and not fresh_steps.exists():
        os.replace(fresh_layout, layout)  # its records were in place already
    for left in (fresh_layout, fresh_steps):
        left.unlink(missing_ok=True)
    try:
        found = StepSchema.from_json(layout.read_text())
    except ValueError as error:
        raise SpoolError(f'{layout}: not a spool layout: {error}') from None
    if found.current == found:
        return
    schema, rows = read_spool(directory)
    for path, data in ((fresh_steps, rows.astype('<f8').tobytes()),
                       (fresh_layout, schema.to_json().encode() + b'\n')):
        with open(path, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    os.replace(fresh_steps, steps)
    os.replace(fresh_layout, layout)


class Spool:
    """
    Fixed-size float64 records in `directory`: `layout.json` (the schema) and `steps.f64`.

    A background thread writes; `append` only queues. Each batch is handed to the operating system
    at once and is not fsynced: records survive a kill of the process from about 10 ms after
    `append`, and a power loss from `close` on or when the system has written them back.
    Reopening continues after the last whole record; a torn tail is cut and logged.

    :param directory: made when missing; one process at a time may hold it
    :param schema: layout of the records
    :param max_backlog: records kept in memory while the disk refuses
    :raises SpoolError: other schema, unreadable layout, or held by another process
    :raises OSError: the directory or its files cannot be made
    """

    def __init__(self, directory: str | os.PathLike[str], schema: StepSchema,
                 max_backlog: int = 100_000) -> None:
        self.directory = Path(directory)
        self.schema = schema
        self.max_backlog = max_backlog
        self.error: str | None = None
        """What the disk last said, None while writing works."""
        self._size = schema.width * 8
        self._queue: deque[Array] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self.directory.mkdir(parents=True, exist_ok=True)
        self._fd = self._open()
        try:
            self._claim()
            self._written = self._whole_records()
        except BaseException:
            os.close(self._fd)
            raise
        self._last = self._from_disk(self._written - 1, self._written - 1)[0] \
            if self._written else None
        self._writer = threading.Thread(target=self._run, name='spool', daemon=True)
        self._writer.start()

    def append(self, row: Array) -> bool:
        """
        Queue one record (width,) for writing; never blocks on I/O and never raises on it.

        :return: False when `max_backlog` records wait already: the record was not taken
        :raises ValueError: wrong width
        """
        if row.shape != (self.schema.width,):
            raise ValueError(f'a record has {self.schema.width} values, not {row.shape}')
        row = row.astype('<f8')
        with self._lock:
            if len(self._queue) >= self.max_backlog or self._closing:
                return False
            self._queue.append(row)
            self._last = row
        self._wake.set()
        return True

    @property
    def count(self) -> int:
        """Return how many records there are, on disk and queued; also the next one's place."""
        with self._lock:
            return self._written + len(self._queue)

    @property
    def backlog(self) -> int:
        """Return how many records wait for the disk."""
        return len(self._queue)

    def last_row(self) -> Array | None:
        """Return a copy of the newest record (width,), None when there is none."""
        last = self._last
        return None if last is None else last.copy()

    def read(self, first: int, last: int) -> Array:
        """
        Return records `first` to `last`, both included, as (m, width).

        Places that do not exist are left out. Reads the disk: keep it off the control thread.
        :raises OSError: the file cannot be read
        """
        first = max(first, 0)
        with self._lock:
            written = self._written
            queued = list(islice(self._queue, max(first - written, 0),
                                 max(last + 1 - written, 0)))
        stop = min(last + 1, written)
        parts = [self._from_disk(first, stop - 1)] if first < stop else []
        if queued:
            parts.append(np.stack(queued))
        return np.concatenate(parts) if parts else np.empty((0, self.schema.width))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` s until everything queued is written; return whether it is."""
        deadline = time.monotonic() + timeout
        self._wake.set()
        while self._queue and self._writer.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        return not self._queue

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is queued, sync and close; return whether everything is on disk."""
        with self._lock:
            if self._closing:
                return not self._queue
            self._closing = True
        done = self.flush(timeout)
        self._wake.set()
        self._writer.join(timeout)
        if not done:
            _log.error('%s: %d records could not be written: %s', self.directory,
                       len(self._queue), self.error)
        if not self._writer.is_alive():
            try:
                os.fsync(self._fd)
            except OSError as error:
                self.error = f'{self.directory}: {error.strerror}'
            os.close(self._fd)
        return done

    def _open(self) -> int:
        """Open and lock the file, in the newest layout."""
        path = self.directory / 'steps.f64'
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self.directory / 'layout.json').exists():
                upgrade_spool(self.directory)
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise SpoolError(f'{self.directory}: spool in use by another process') from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was upgraded: the file by this name is another one now
        return self._open()

    def _claim(self) -> None:
        """Check, or write, the layout."""
        layout = self.directory / 'layout.json'
        if layout.exists():
            try:
                found = StepSchema.from_json(layout.read_text())
            except (ValueError, KeyError, TypeError) as error:
                raise SpoolError(f'{layout}: not a spool layout: {error}') from None
            if found != self.schema:
                raise SpoolError(f'{layout}: the spool holds records of {found.to_json()}, '
                                 f'this run writes {self.schema.to_json()}')
        elif os.fstat(self._fd).st_size:
            raise SpoolError(f'{self.directory}: steps.f64 without layout.json')
        else:
            fresh = layout.with_suffix('.tmp')
            with open(fresh, 'w') as file:
                file.write(self.schema.to_json() + '\n')
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, layout)

    def _whole_records(self) -> int:
        """Cut a torn last record and return how many whole ones there are."""
        size = os.fstat(self._fd).st_size
        whole, torn = divmod(size, self._size)
        if torn:
            _log.warning('%s: cut %d bytes of a torn record after record %d', self.directory,
                         torn, whole - 1)
            os.ftruncate(self._fd, whole * self._size)
        return whole

    def _from_disk(self, first: int, last: int) -> Array:
        want = (last + 1 - first) * self._size
        data = os.pread(self._fd, want, first * self._size)
        while len(data) < want:
            more = os.pread(self._fd, want - len(data), first * self._size + len(data))
            if not more:
                raise OSError(f'{self.directory}: steps.f64 ends before record {last}')
            data += more
        return np.frombuffer(data, dtype='<f8').reshape(-1, self.schema.width).copy()

    def _run(self) -> None:
        """Write batches until closed and empty, or closed and the disk refuses."""
        while True:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                time.sleep(GATHER)
            while self._queue and self._write_batch():
                pass
            if self._closing:
                return
            if self._queue:
                self._wake.wait(RETRY)
                self._wake.set()

    def _write_batch(self) -> bool:
        """Write up to 1,000 records; return whether any went through."""
        with self._lock:
            batch = list(islice(self._queue, 1000))
            place = self._written * self._size
        data = b''.join(row.tobytes() for row in batch)
        try:
            # pwrite at the place of the record: a short write is simply written over.
            whole = os.pwrite(self._fd, data, place) // self._size
            if not whole:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if self.error is None:
                _log.error('%s: %s; records stay in memory', self.directory, error.strerror)
            self.error = f'{self.directory}: {error.strerror}'
            return False
        with self._lock:
            for _ in range(whole):
                self._queue.popleft()
            self._written += whole
        self.error = None
        return True
