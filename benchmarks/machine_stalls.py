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

"""Detect stalls of the machine: a real-time process on each core measures its wake-ups."""

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
"""s of sleep between two readings of the clock."""
LEAST = 0.002
"""s, minimum lateness that is reported as a stall."""
PRIORITY = 98
"""SCHED_FIFO priority: above everything except the kernel's watchdogs."""


class Stall(NamedTuple):
    """Time in which a core ran none of our processes."""

    core: int
    end: float
    """s, end of the stall, system time."""
    seconds: float


class MachineStalls:
    """
    Find the times in which a core did not wake even its process of highest priority.

    Like cyclictest, a process pinned to each core sleeps for `SLEEP` and measures how late it
    wakes. A wake-up that is late at real-time priority 98 would be late for any node of lower
    priority: the hypervisor gave the core to others, or the kernel used it. Use as a context
    manager; `stalls` is filled on exit.
    """

    def __init__(self, cores: list[int] | None = None) -> None:
        """:param cores: cores to watch; None: all that this process may use"""
        self._cores = sorted(os.sched_getaffinity(0)) if cores is None else cores
        self.stalls: list[Stall] = []
        self.urgent = True
        """Whether the priority was permitted; otherwise other work looks like a stall."""
        self._watchers: dict[int, 'subprocess.Popen[str]'] = {}

    def __enter__(self) -> 'MachineStalls':
        """Start the watchers; return once they watch."""
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
        """Return the process id of the watcher of a core."""
        return self._watchers[core].pid

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Stop the watchers and read their stalls."""
        for core, watcher in self._watchers.items():
            told, _ = watcher.communicate('end\n')
            self.stalls += [Stall(core, *map(float, line.split())) for line in told.splitlines()]
        self.stalls.sort(key=lambda stall: stall.end)


def watch(core: int) -> None:
    """Watch a core until a line on stdin or its end; then print `end seconds` per stall."""
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
            break  # a line, or the end of the parent process
        except BlockingIOError:
            pass
    for end, seconds in seen:
        sys.stdout.write(f'{end:.6f} {seconds:.6f}\n')


if __name__ == '__main__':
    watch(int(sys.argv[1]))
