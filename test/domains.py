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
"""ROS domains for tests that no other process of tests on this machine has at the same time."""

from collections.abc import Iterator
import fcntl
import itertools
import os
from pathlib import Path
import tempfile
from typing import TextIO

EACH = 8
"""Domains a process takes; a test's takes the next, in which nobody is left of the one before."""
RANGE = [*range(215, 231), *range(1, 101)]
"""Domains whose ports are not given to outgoing connections; runs choose theirs below 101."""
HELD: list[TextIO] = []
"""Open for the life of the process: the lock goes with it."""


def claimed() -> list[int]:
    """Return the first domains that nobody else has locked."""
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
