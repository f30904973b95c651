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

"""`spaars bench soak`: all nodes in real time for minutes."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report

EXAMPLES = """\b
Examples:
  spaars bench soak --seconds 600 --rate 50 --json soak.json
  spaars bench soak --seconds 60
  spaars bench soak --thread-priority 40
"""


def command(
    seconds: Annotated[float, typer.Option(min=10.0, help='s of the run.')] = 600.0,
    rate: Annotated[float, typer.Option(min=1.0, help='Control ticks per second.')] = 50.0,
    bundle: Annotated[str, typer.Option(
        help='Policy bundle with learner tensors; default: a new one of the same size.')] = '',
    thread_priority: Annotated[int, typer.Option(
        min=0, max=97, help='SCHED_FIFO priority of policy server and simulation.')] = 0,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """
    Soak all nodes in real time: memory of each process, lost ticks, latency tails.

    A process at priority 98 on each core detects stalls of the machine, and how many of the
    late joint_states of the simulation they explain.
    Exit code 1 if the server stopped: the measurements after that are meaningless.
    """
    with errors_as_one_line():
        from benchmarks.soak import run
        result = run(seconds=seconds, rate=rate, bundle=bundle,
                     thread_priority=thread_priority)
        report(result, json)
        stops = [stop for stop in result['stops'] if stop != 'not active']
        if stops:
            raise ValueError(f'the server stopped: {"; ".join(stops)}')
