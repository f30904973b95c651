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

"""A run with its operator page, for tests of the page."""

from pathlib import Path
import re

from finetune_run import Run
from small_run import until

WHERE = re.compile(r'http://127\.0\.0\.1:(\d+)  token (\w+)')


def page_of(run: Run) -> tuple[int, str, int]:
    """Wait for the page of a run; return its port, token and process id."""
    until(lambda: WHERE.search(run.text), 150.0, run.text)
    port, token = WHERE.search(run.text).groups()
    until(lambda: pid_of(port), 30.0, 'process of the page')
    return int(port), token, pid_of(port)


def shown(run: Run, episode: int) -> None:
    """Wait until a run has printed an episode; fail if it ends."""
    until(lambda: f'episode {episode}' in run.text or run.process.poll() is not None, 150.0,
          f'episode {episode}: {run.text}')
    assert run.process.poll() is None, run.text


def pid_of(port: str) -> int:
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / 'cmdline').read_bytes().split(b'\0')
            except OSError:
                continue
            if b'page' in words and port.encode() in words:
                return int(entry.name)
    return 0
