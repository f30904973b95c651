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

"""Spool: every step record on disk, written by a thread other than the control thread."""

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

from spaars_ros.data.files import lost
from spaars_ros.data.files import open_inside
from spaars_ros.data.files import write_whole
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool_format import LAYOUT
from spaars_ros.data.spool_format import Layout
from spaars_ros.data.spool_format import read_spool
from spaars_ros.data.spool_format import refuse_damage
from spaars_ros.data.spool_format import renew_spool
from spaars_ros.data.spool_format import sound
from spaars_ros.data.spool_format import SpoolError
from spaars_ros.data.spool_format import STEPS

__all__ = ['Spool', 'SpoolError', 'read_spool']

_log = logging.getLogger(__name__)

GATHER = 0.005
"""s, wait of the writer after a record, so that a fast loop costs one write per batch."""
RETRY = 0.25
"""s between write attempts while the disk refuses."""


class Spool:
    """
    Append-only file of fixed-size step records, with its layout, in one directory.

    The directory holds `layout.json` (the schema) and `steps.f64`. Each record has a checksum
    (`spool_format.Layout`). A spool of release 0.1.0, with shorter records and no checksums, is
    converted when it is opened.

    A background thread writes; `append` only queues. Each batch is handed to the operating system
    at once, without fsync. Records survive a kill of the process from about 10 ms after `append`.
    They survive a power loss after `close`, or once the system has written them back.

    Reopening continues after the last complete record; an incomplete record at the end is cut off,
    with a log message. If the file is removed, replaced or truncated by another program, `lost`
    says so and the spool writes no more.

    :param directory: is created if missing; only one process at a time may hold it
    :param schema: layout of the records
    :param max_backlog: number of records kept in memory while the disk refuses
    :raises SpoolError: another schema, unreadable layout, damaged record, or held by another
        process
    :raises OSError: the directory or its files cannot be created
    """

    def __init__(self, directory: str | os.PathLike[str], schema: StepSchema,
                 max_backlog: int = 100_000) -> None:
        self.directory = Path(directory)
        self.schema = schema
        self.max_backlog = max_backlog
        self.error: str | None = None
        """Newest error of the disk, None while writing works."""
        self.lost = ''
        """What another program did to the file (removed, replaced, truncated), '' if nothing."""
        self._layout = Layout(schema)
        self._size = self._layout.stride
        self._queue: deque[Array] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self.directory.mkdir(parents=True, exist_ok=True)
        self._path = self.directory / STEPS
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
        Queue one record (width,) for writing; neither blocks on I/O nor raises I/O errors.

        :return: False if the record was not accepted: `max_backlog` records wait, or the spool is
            closed
        :raises ValueError: wrong width
        """
        if row.shape != (self.schema.width,):
            raise ValueError(f'a record has {self.schema.width} values, not {row.shape}')
        row = row.astype(np.float64)
        with self._lock:
            if len(self._queue) >= self.max_backlog or self._closing:
                return False
            self._queue.append(row)
            self._last = row
        self._wake.set()
        return True

    @property
    def count(self) -> int:
        """Return the number of records, on disk and queued; also the place of the next one."""
        with self._lock:
            return self._written + len(self._queue)

    @property
    def backlog(self) -> int:
        """Return the number of records that wait for the disk."""
        return len(self._queue)

    def last_row(self) -> Array | None:
        """Return a copy of the newest record (width,), None if there is none."""
        last = self._last
        return None if last is None else last.copy()

    def read(self, first: int, last: int) -> Array:
        """
        Return records `first` to `last`, both included, as (m, width).

        Places that do not exist are left out. This reads the disk: do not call it in the control
        thread.

        :raises OSError: the file cannot be read, or a record is damaged
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
        """Wait up to `timeout` s until all queued records are written; return whether they are."""
        deadline = time.monotonic() + timeout
        self._wake.set()
        while self._queue and self._writer.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        return not self._queue

    def close(self, timeout: float = 5.0) -> bool:
        """Write the queued records, sync and close; return whether all records are on disk."""
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
        """Open and lock the file, in the newest layout; raises SpoolError, OSError."""
        fd = open_inside(self._path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self.directory / LAYOUT).exists():
                renew_spool(self.directory)
            if not lost(fd, self._path, 0):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise SpoolError(f'{self.directory}: spool in use by another process') from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was rewritten: this name is another file now
        return self._open()

    def _claim(self) -> None:
        """Check the layout, or write it for a new spool; raises SpoolError, OSError."""
        path = self.directory / LAYOUT
        if path.exists():
            found = Layout.read(self.directory).schema
            if found != self.schema:
                raise SpoolError(f'{path}: the spool holds records of {found.to_json()}, '
                                 f'this run writes {self.schema.to_json()}')
        elif os.fstat(self._fd).st_size:
            raise SpoolError(f'{self.directory}: {STEPS} without {LAYOUT}')
        else:
            write_whole(path, self._layout.to_json().encode() + b'\n')

    def _whole_records(self) -> int:
        """Cut off an incomplete last record; return the number of complete ones."""
        size = os.fstat(self._fd).st_size
        whole, torn = divmod(size, self._size)
        if torn:
            _log.warning('%s: cut %d bytes of a torn record after record %d', self.directory,
                         torn, whole - 1)
            os.ftruncate(self._fd, whole * self._size)
        rows, good = self._layout.decode(self._path.read_bytes())
        refuse_damage(self.directory, sound(self.schema, rows, good))
        return whole

    def _from_disk(self, first: int, last: int) -> Array:
        want = (last + 1 - first) * self._size
        data = os.pread(self._fd, want, first * self._size)
        while len(data) < want:
            more = os.pread(self._fd, want - len(data), first * self._size + len(data))
            if not more:
                raise OSError(f'{self.directory}: steps.f64 ends before record {last}')
            data += more
        rows, good = self._layout.decode(data)
        bad = np.flatnonzero(~sound(self.schema, rows, good, first))
        if len(bad):
            raise OSError(f'{self.directory}: record {first + bad[0]} is damaged')
        return rows

    def _run(self) -> None:
        """Write batches until the spool is closed and the queue is empty, or the disk refuses."""
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
        """Write up to 1,000 records; return whether at least one was written."""
        with self._lock:
            batch = list(islice(self._queue, 1000))
            place = self._written * self._size
        data = b''.join(map(self._layout.encode, batch))
        try:
            self.lost = self.lost or lost(self._fd, self._path, place)
            if self.lost:
                raise OSError(errno.ESTALE, f'{STEPS} {self.lost}')
            # pwrite at the place of the record: the next attempt overwrites an incomplete write.
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
