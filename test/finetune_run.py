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

"""A `spaars finetune` process, for tests of complete runs."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
from typing import Any

from domains import DOMAINS
import numpy as np
import pytest
from small_run import until

from spaars_ros.data.recording import read_steps


class Run:
    """One `spaars finetune` process."""

    def __init__(self, small: Path, out: Path, *more: str, **env: str) -> None:
        self.out = out
        self.log = out.parent / f'{out.name}.txt'
        arguments = [
            sys.executable, '-m', 'spaars_ros.cli', 'finetune', '--out', str(out), *more]
        if '--resume' not in more:
            arguments += ['--evaluation-episodes', '2', '--training', str(small / 'training.yaml'),
                          '--task', str(small / 'task.yaml'), '--bundle',
                          str(small / 'initial.spaars')]
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                arguments, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, 'ROS_DOMAIN_ID': str(next(DOMAINS)), 'OMP_NUM_THREADS': '1',
                     **env})

    @property
    def text(self) -> str:
        """Return its output so far."""
        return self.log.read_text()

    def wait(self, seconds: float = 90.0) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(seconds)

    def until_episode(self, number: int) -> None:
        """Wait until an episode is printed; fail if the process ends."""
        until(lambda: f'episode {number}/' in self.text or self.process.poll() is not None, 60.0,
              f'episode {number}: {self.text}')
        assert self.process.poll() is None, self.text

    def processes(self) -> dict[str, int]:
        """Return node -> process id of the living nodes of the run."""
        found = {}
        for entry in Path('/proc').iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / 'cmdline').read_bytes().decode(errors='replace')
                state = (entry / 'stat').read_text().rpartition(')')[2].split()[0]
            except OSError:
                continue
            if str(self.out / 'log') in command and state != 'Z':
                found[re.search(r'__node:=(\w+)', command).group(1)] = int(entry.name)
        return found

    def summary(self) -> dict[str, Any]:
        """Return the content of summary.json."""
        return json.loads((self.out / 'summary.json').read_text())


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Yield a list of runs, which are killed after the test."""
    made: list[Run] = []
    yield made
    for run in made:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
        for pid in run.processes().values():
            os.kill(pid, signal.SIGKILL)


def sequences(out: Path) -> np.ndarray:
    """Return the sequence numbers of a recording in file order."""
    schema, rows = read_steps(out / 'transitions.mcap')
    return schema.get(rows, 'sequence')
