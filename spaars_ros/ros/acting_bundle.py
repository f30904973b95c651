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

"""The bundle that acts, and the version that was taken back, kept for the run to go on with."""

import json
import os
from pathlib import Path
import threading

from spaars_ros.checkpoint_files import ACTING
from spaars_ros.checkpoint_files import TAKEN_BACK


class ActingBundle:
    """
    Writes a bundle's bytes to the run folder, on a thread of its own; the newest wins.

    A run that goes on begins with what acted last. The learner's newest checkpoint was perhaps
    never on trial, or descends from a bundle that was taken back. What was taken back is kept
    too: the learner's topic offers it again to a server that was restarted.

    :param folder: of the run
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ACTING
        self._note = folder / TAKEN_BACK
        self._data: bytes | None = None
        self._taken_back: int | None = None
        self._wake = threading.Event()
        self._closing = False
        self.error = ''
        """Why the newest one is not on disk, or ''."""
        self._thread = threading.Thread(target=self._run, name='acting_bundle', daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        """Have a bundle written; returns at once."""
        self._data = data
        self._wake.set()

    def take_back(self, version: int) -> None:
        """Have it noted that a version was taken back; returns at once."""
        self._taken_back = version
        self._wake.set()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing  # read first: what was put before is still written
            version, self._taken_back = self._taken_back, None
            data, self._data = self._data, None
            if version is not None:
                self._write(self._note, json.dumps({'version': version}).encode())
            if data is not None:
                self._write(self._path, data)

    def _write(self, path: Path, data: bytes) -> None:
        part = path.with_suffix('.part')
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            self.error = ''
        except OSError as error:
            self.error = f'{path}: {error.strerror}'


def taken_back_in(folder: Path) -> int:
    """
    Return the newest version that was taken back in a run, -1 for none.

    :raises ValueError: the note is there and cannot be read
    """
    path = folder / TAKEN_BACK
    if not path.exists():
        return -1
    try:
        version = json.loads(path.read_text())['version']
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path}: {type(error).__name__}: {error}') from None
    if type(version) is not int or version < 0:
        raise ValueError(f'{path}: version {version!r} is no bundle version')
    return version
