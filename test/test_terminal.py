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

"""Output goes on without a reader, and in any encoding."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import panel
from spaars_ros.run.terminal import SteadyStream


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'utf-8'])
def test_the_live_view_is_shown_in_any_encoding(encoding: str) -> None:
    """A Latin-1 terminal ended the view with a traceback."""
    written = io.BytesIO()
    stream = SteadyStream(io.TextIOWrapper(written, encoding=encoding))
    state = LiveState(title='finetune', episodes_total=3, episodes=[
        {'return': 1.0, 'cost': 2.0, 'success': True, 'tip_error': 0.01, 'multiplier': 0.5,
         'raw_share': 0.1, 'steps': 20, 'interventions': 0, 'metrics': {}} for _ in range(3)])
    console = Console(file=stream, force_terminal=True, width=100)  # type: ignore[arg-type]
    console.print(panel(state))
    print('λ 0.5 → 0.6 ▁▂▃ ±1 µm', file=stream)  # type: ignore[arg-type]  # noqa: T201
    stream.flush()
    text = written.getvalue().decode(encoding)
    assert 'finetune' in text
    assert ('λ 0.5' if encoding == 'utf-8' else 'lambda 0.5 -> 0.6') in text


def test_a_closed_pipe_ends_nothing() -> None:
    """`finetune --plain | head -4` ended the robot's run, without a report."""
    code = ('import sys\nfrom spaars_ros.run.terminal import steady_streams\nsteady_streams()\n'
            'from rich.console import Console\nconsole = Console()\n'
            'for i in range(20000):\n    console.print(i); print(i)\n'
            'sys.stderr.write("went on")\n')
    child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    said = child.stderr.read()
    assert child.wait(30) == 0
    assert said == 'went on'
