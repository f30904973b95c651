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

"""Write the files that a restarted policy server needs, outside the control thread."""

from pathlib import Path
import threading

from spaars_ros.data.files import write_whole


class AtomicFileWriter:
    """
    Write files to the run folder atomically and durably, on a separate thread.

    For each name, the newest content is written; names are written in the order of `put`. A
    failed write is repeated at the next `put`.

    :param folder: run folder
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._errors: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name='file_writer', daemon=True)
        self._thread.start()

    @property
    def error(self) -> str:
        """Return the errors of the files that are not on disk; '' if none."""
        return '; '.join(self._errors.values())

    def put(self, name: str, data: bytes) -> None:
        """Queue a file to be written; return at once."""
        with self._lock:  # held only to set or swap the dictionary
            self._waiting[name] = data
        self._wake.set()

    def close(self) -> None:
        """Write the queued files and stop the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing  # read first: files queued before are still written
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for name, data in waiting.items():
                self._write(self._folder / name, data)

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_whole(path, data, 0o600)
            self._errors = {name: said for name, said in self._errors.items()
                            if name != path.name}
        except OSError as error:
            self._errors = {**self._errors, path.name: f'{path}: {error.strerror}'}
            with self._lock:
                self._waiting.setdefault(path.name, data)
