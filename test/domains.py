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
"""ROS domains for tests, reserved against other test processes on this machine."""

from collections.abc import Iterator
import fcntl
import itertools
import os
from pathlib import Path
import tempfile
from typing import TextIO

EACH = 8
"""Domains per process, used in turn, so that nodes of the previous test are not visible."""
RANGE = [*range(215, 231), *range(1, 101)]
"""Domains whose ports are not used for outgoing connections; runs use domains below 101."""
HELD: list[TextIO] = []
"""Lock files, open during the life of the process."""


def claimed() -> list[int]:
    """Lock and return the first `EACH` free domains; raises RuntimeError if there are too few."""
    folder = Path(tempfile.gettempdir()) / f'spaars_ros_domains_{os.getuid()}'
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for number in RANGE:
        file = open(folder / str(number), 'w')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        HELD.append(file)
        found.append(number)
        if len(found) == EACH:
            return found
    raise RuntimeError(f'{len(found)} free ROS domains for the tests, {EACH} are needed')


DOMAINS: Iterator[int] = itertools.cycle(claimed())
