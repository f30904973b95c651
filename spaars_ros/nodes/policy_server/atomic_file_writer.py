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

"""Files that a restarted policy server needs, written beside the control thread."""

from pathlib import Path
import threading

from spaars_ros.data.files import write_whole


class AtomicFileWriter:
    """
    Writes files to the run folder, each whole and on disk, on a thread of its own.

    Of one name the newest content wins; names are written in the order in which they were put.
    What could not be written is tried again with what is put next.

    :param folder: of the run
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
        """Return what is not on disk and why, or ''."""
        return '; '.join(self._errors.values())

    def put(self, name: str, data: bytes) -> None:
        """Have a file written; returns at once."""
        with self._lock:  # held for no longer than it takes to set or take the dictionary
            self._waiting[name] = data
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
