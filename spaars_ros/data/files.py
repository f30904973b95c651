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

"""Atomic file writes, and file access that follows no symbolic links."""

import errno
import os
from pathlib import Path
import secrets

MODE = 0o644
"""Mode of new files, before the umask."""

WHILE = 'while it was written'
"""End of each message about a file that its writer has lost."""


def open_inside(path: str | os.PathLike[str], flags: int, mode: int = MODE) -> int:
    """
    Open a file without following a symbolic link of that name; return its descriptor.

    :raises OSError: the file cannot be opened, or is a symbolic link
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, 'a symbolic link, where a file is written: move it away',
                          str(path)) from None
        raise


def write_whole(path: str | os.PathLike[str], data: bytes, mode: int = MODE) -> None:
    """
    Write a file atomically: to a temporary name beside it, with fsync, then renamed.

    A symbolic link of that name is replaced, not followed. The folder is not created: if it was
    removed, it is not wanted any more.

    :raises OSError: the file cannot be written; an existing file is kept
    """
    path = Path(path)
    fresh = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.part')
    fd = open_inside(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(fd, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Sync a folder, so that its file names are on disk, where the file system supports it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        return  # the file is synced; some network file systems cannot sync folders
    finally:
        os.close(fd)


def name_aside(path: Path) -> Path:
    """Return the first free name `<name>.damaged-<n>` beside a file or folder."""
    number = 1
    while os.path.lexists(aside := path.with_name(f'{path.name}.damaged-{number}')):
        number += 1
    return aside


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `name_aside`; return the new path. Raises OSError."""
    aside = name_aside(path)
    os.rename(path, aside)
    return aside


def lost(fd: int, path: str | os.PathLike[str], size: int) -> str:
    """
    Return what happened to a file that is being written, '' while it is unchanged.

    :param fd: descriptor of the writer
    :param size: number of bytes written to it
    """
    mine = os.fstat(fd)
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return f'was removed or moved away {WHILE}'
    if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
        return f'was replaced by another file {WHILE}'
    return f'was cut short {WHILE}' if mine.st_size < size else ''
