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

"""`spaars bench link`: the learner on another machine."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report

EXAMPLES = """\b
Examples:
  spaars bench link --json link.json
  spaars bench link --seconds 10 --training smoke
  spaars bench link --delay 0.2 --loss 0.1
  spaars bench link --no-profile
"""


def command(
    seconds: Annotated[float, typer.Option(min=4.0, help='s of each phase.')] = 60.0,
    delay: Annotated[float, typer.Option(min=0.0, help='s of delay, each way.')] = 0.05,
    loss: Annotated[float, typer.Option(
        min=0.0, max=0.9, help='Share of the packets that is lost, each way.')] = 0.05,
    training: Annotated[str, typer.Option(
        help='Training file, whose networks make the size of a bundle.')] = 'spaars',
    profile: Annotated[bool, typer.Option(
        help='Use config/dds/lossy_link.xml, for links that lose packets.')] = True,
    seed: Annotated[int, typer.Option(min=0, help='Of the run.')] = 0,
    tables: Annotated[bool, typer.Option(
        '--tables', help="Also write the documentation's table.")] = False,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """
    Run the learner on another host, cut the link, then delay and lose packets.

    Hosts are network namespaces of this machine, found by ROS_STATIC_PEERS without multicast.
    Exits with 1 when a step was lost or recorded twice, or the arm stopped.
    """
    with errors_as_one_line():
        from benchmarks.link import run
        result = run(seconds, delay=delay, loss=loss, training=training, seed=seed,
                     tables=tables, profile=profile)
        report(result, json)
        stops = [stop for row in result['rows'] for stop in row['stops']]
        if result['lost'] or result['twice'] or stops:
            raise ValueError(f'{result["lost"]} steps lost, {result["twice"]} recorded twice, '
                             f'stops: {"; ".join(stops) or "none"}')
