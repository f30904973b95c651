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

"""Resolution of file names in settings: a path, or a file in an installed Python package."""

import errno
from importlib.util import find_spec
import os
from pathlib import Path
import stat

from spaars_ros.robot.strict_yaml import ConfigError

SCHEME = 'package://'


def expanded(name: str | os.PathLike[str]) -> Path:
    """Return a path with ~ replaced by a home folder; raises ConfigError."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ConfigError(f'{str(name)!r}: no user of that name has a home folder; write ./~ for '
                          'a folder that is named so') from None


def absolute(name: str | os.PathLike[str]) -> Path:
    """Return an absolute path without ~ and symbolic links; raises ConfigError."""
    try:
        return expanded(name).resolve()
    except RuntimeError:  # before Python 3.13
        raise ConfigError(f'{str(name)!r}: symbolic links that lead in a circle') from None
    except OSError as error:
        raise ConfigError(f'{str(name)!r}: {error.strerror}') from None


def is_file(path: Path) -> bool:
    """Return whether a path is an existing file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:  # too long, or in a folder that may not be read
        return False


def read_file(path: str | os.PathLike[str], most: int = -1) -> bytes:
    """
    Return the content of a file, at most `most` bytes of it; a pipe or device is not waited for.

    :raises OSError: it cannot be read, or is no file
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb') as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, 'a folder, pipe or device, not a file', str(path))
        return file.read(most)


def resolve(name: str) -> Path:
    """Return the file for a path or package://<package>/<path>; raises ConfigError."""
    if not name.startswith(SCHEME):
        return expanded(name)
    package, _, rest = name[len(SCHEME):].partition('/')
    if not package.isidentifier():  # to find a part of a package would run the package's code
        raise ConfigError(f'{name!r}: {package!r} is not the name of an installed package')
    try:
        spec = find_spec(package)
    except ValueError:  # a module that was not loaded from a file
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f'{name!r}: the package {package!r} is not installed')
    return Path(list(spec.submodule_search_locations)[0]) / rest
