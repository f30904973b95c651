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

"""Lock of a run folder: one owner, right user, no symbolic links, no unrelated content."""

import errno
import fcntl
import json
import os
from pathlib import Path
import stat
from typing import Any
from typing import IO

from spaars_ros.data.files import open_inside

LOCK = '.lock'


class FolderError(ValueError):
    """A folder cannot be used for a run; the message names it and says what to do."""


class FolderLock:
    """
    Exclusive access to a run folder, held until `release` or the end of the process.

    The folder is created if missing; `abandon` removes it again if nothing was written into it.

    :param path: of the folder
    :param marks: names of files that show that the folder holds a run
    :param resume: True: the folder must hold a run. Otherwise a folder with unrelated content is
        refused
    :raises FolderError: the folder is held by another process, belongs to another user, is
        writable by others, contains a symbolic link, holds no run to resume, or holds something
        other than a run
    :raises OSError: the folder cannot be created or locked
    """

    def __init__(self, path: str | os.PathLike[str], marks: tuple[str, ...], *,
                 resume: bool | None = None) -> None:
        self.path = Path(path)
        self._file: IO[bytes] | None = None
        self._made: list[Path] = []
        if not resume:
            _check_place(self.path)
        if resume and not self.path.is_dir():
            raise FolderError(f'{self.path}: no run to resume, there is no such folder')
        self._make()
        try:
            self._check_owner()
            there = self._entries()
            found = any(mark in there for mark in marks)
            if resume and not found:
                raise FolderError(f'{self.path}: no run to resume (no {marks[0]})')
            if not found and there:
                raise FolderError(f'{self.path} contains {_some(there)} but no run: give a '
                                  'separate folder; it is created if missing')
            self._lock()
            self._check_links()
        except BaseException:
            self.abandon()
            raise
        self.holds_run = found

    def _make(self) -> None:
        missing = self.path
        while not missing.exists() and missing != missing.parent:
            self._made.append(missing)
            missing = missing.parent
        if self._made:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(self.path.stat().st_mode & 0o750)
        elif not self.path.is_dir():
            raise FolderError(f'{self.path} is a file: give a folder of its own')

    def _check_owner(self) -> None:
        found = self.path.stat()
        if found.st_uid not in (os.geteuid(), 0):
            raise FolderError(f'{self.path} belongs to user {found.st_uid}, who could change the '
                              'policy in it, which moves the arm: chown it, or choose another')
        if found.st_mode & stat.S_IWOTH:
            raise FolderError(f'{self.path} is writable by everybody, and whoever changes the '
                              'policy in it moves the arm: chmod o-w, or choose another')

    def _entries(self) -> list[str]:
        return sorted(entry for entry in os.listdir(self.path) if entry != LOCK)

    def _check_links(self) -> None:
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                path = Path(folder) / name
                if path.is_symlink():
                    raise FolderError(f'{path} is a symbolic link, and a run writes to no other '
                                      'place than its folder: put in its place what it points at')

    def _lock(self) -> None:
        # A file object, so that the lock ends with its owner.
        file = os.fdopen(open_inside(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600), 'r+b')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise OSError(error.errno, error.strerror, str(self.path / LOCK)) from None
            pid = held_by(self.path).get('pid', 'unknown')
            raise FolderError(f'{self.path} is in use by process {pid}: wait for its end, or give '
                              'another folder') from None
        self._file = file
        self.note()

    def note(self, **more: Any) -> None:
        """Write into the lock file who holds the lock and how to reach the run."""
        assert self._file is not None
        text = json.dumps({'pid': os.getpid(), **more}).encode() + b'\n'
        os.ftruncate(self._file.fileno(), 0)
        os.pwrite(self._file.fileno(), text, 0)

    def check(self) -> None:
        """Raise FolderError if the folder is no longer the one that was locked."""
        try:
            there = os.stat(self.path / LOCK, follow_symlinks=False)
        except OSError:
            there = None
        assert self._file is not None
        mine = os.fstat(self._file.fileno())
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise FolderError(f'{self.path} was removed, moved or replaced during the run: '
                              'if it was moved, put it back and continue with --resume')

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def abandon(self) -> None:
        """Release the lock, and remove the folder if it was created here and is still empty."""
        held = self._file is not None
        try:
            if self._made and not self._entries():
                if held:
                    (self.path / LOCK).unlink(missing_ok=True)
                for path in self._made:
                    path.rmdir()
        except OSError:
            return  # another program has written into it
        finally:
            self.release()


def held_by(path: Path) -> dict[str, Any]:
    """Return what the holder of a folder's lock wrote about itself; {} if nobody holds it."""
    try:
        with open(open_inside(path / LOCK, os.O_RDONLY), 'rb') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                content = json.loads(file.read(10_000))
                return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        pass
    return {}


def _check_place(path: Path) -> None:
    """Raise FolderError for a folder that is never a run folder (root, home, working folder)."""
    place = path.resolve()
    for other, what in ((Path('/'), 'the root of the file system'), (Path.home(), 'your home'),
                        (Path.cwd(), 'the working folder')):
        if place == other.resolve():
            raise FolderError(f'{path} is {what}: give a folder of its own, such as runs/a')


def _some(names: list[str]) -> str:
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
