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

"""`spaars stress`: faults in a real run, one after the other."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars stress
  spaars stress --fault dropped --fault server_killed
  spaars stress --trigger joint_states
  spaars stress --json stress.json
"""


def command(
    fault: Annotated[Optional[list[str]], typer.Option(
        help='Only this fault; may be repeated.')] = None,
    trigger: Annotated[str, typer.Option(
        help='What makes the ticks: timer, as on a robot, or joint_states.')] = 'timer',
    json: Annotated[Optional[Path], typer.Option(help='Also write the rows here.')] = None,
) -> None:
    """
    Inject faults into a simulated run and tabulate detection, stop, margin, loss, recovery.

    detected_s: s until a status, a counter or the end of a process said so. stopped_s: s until
    the arm was at rest. worst_margin: least room to joint limits (rad) or of the tip to keep-out
    zones (m). Exits with 1 when a recorded transition is lost or a run does not come back.
    """
    with errors_as_one_line():
        from spaars_ros.commissioning.stress import failures
        from spaars_ros.commissioning.stress import run
        rows = run(fault or (), say=typer.echo, trigger=trigger)
        write_json(json, rows)
        failed = failures(rows)
        if failed:
            raise RuntimeError(f'lost a transition or did not recover: {", ".join(failed)}')
