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

"""Whether the machine itself stood still: an urgent process on each core looks at the clock."""

import gc
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import NamedTuple

from spaars_ros.interrupts import die_with_parent
from spaars_ros.robot.config import PACKAGE

SLEEP = 0.001
"""s between two looks at the clock."""
LEAST = 0.002
"""s late from which on a look is told."""
PRIORITY = 98
"""SCHED_FIFO: above everything but the kernel's own watchdogs."""


class Stall(NamedTuple):
    """A time in which a core ran nothing of ours."""

    core: int
    end: float
    """s, system time."""
    seconds: float


class MachineStalls:
    """
    Find the times in which a core woke not even its most urgent process.

    A process pinned to each core sleeps `SLEEP` and sees how much later it wakes, as cyclictest
    does. What it misses at real-time priority 98 no node of a lower one could have met: a
    hypervisor that gave the core to others, or the kernel itself. Use as a context manager;
    `stalls` is there after it.
    """

    def __init__(self, cores: list[int] | None = None) -> None:
        """:param cores: to watch; None: all that this process may use"""
        self._cores = sorted(os.sched_getaffinity(0)) if cores is None else cores
        self.stalls: list[Stall] = []
        self.urgent = True
        """Whether the priority was permitted; without it other work looks like a stall."""
        self._watchers: dict[int, 'subprocess.Popen[str]'] = {}

    def __enter__(self) -> 'MachineStalls':
        """Start the watchers; they watch when this returns."""
        paths = [str(PACKAGE.parent), os.environ.get('PYTHONPATH', '')]
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
        for core in self._cores:
            self._watchers[core] = subprocess.Popen(
                [sys.executable, '-m', 'benchmarks.machine_stalls', str(core)], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
                preexec_fn=die_with_parent)
        for watcher in self._watchers.values():
            assert watcher.stdout is not None
            self.urgent &= watcher.stdout.readline().strip() == 'urgent'
        return self

    def pid(self, core: int) -> int:
        """Return the process id of a core's watcher."""
        return self._watchers[core].pid

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End the watchers and read what they saw."""
        for core, watcher in self._watchers.items():
            told, _ = watcher.communicate('end\n')
            self.stalls += [Stall(core, *map(float, line.split())) for line in told.splitlines()]
        self.stalls.sort(key=lambda stall: stall.end)


def watch(core: int) -> None:
    """Watch a core until a line comes on stdin; then print `end seconds` of each stall."""
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        sys.stdout.write('urgent\n')
    except PermissionError:
        sys.stdout.write('ordinary\n')
    sys.stdout.flush()
    os.set_blocking(sys.stdin.fileno(), False)
    gc.disable()
    seen: list[tuple[float, float]] = []
    looked = time.monotonic()
    while True:
        time.sleep(SLEEP)
        now = time.monotonic()
        late = now - looked - SLEEP
        if late > LEAST:
            seen.append((time.time(), late))
        looked = now
        try:
            os.read(sys.stdin.fileno(), 1)
            break  # a line, or the end of whoever asked
        except BlockingIOError:
            pass
    for end, seconds in seen:
        sys.stdout.write(f'{end:.6f} {seconds:.6f}\n')


if __name__ == '__main__':
    watch(int(sys.argv[1]))
