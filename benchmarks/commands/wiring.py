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

"""`spaars bench wiring`: result of `spaars check` for each wiring fault, on three arms."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars bench wiring
  spaars bench wiring --robot ur5e --fault sign --json wiring.json
"""


def command(
    robot: Annotated[Optional[list[str]], typer.Option(
        help='Robot file: path, or name of a shipped file; may be repeated. Default: Panda, UR5e '
        'and SO-101.')
    ] = None,
    fault: Annotated[Optional[list[str]], typer.Option(
        help='Run only this fault; may be repeated.')] = None,
    tables: Annotated[bool, typer.Option(
        '--tables', help='Also write the table of the documentation.')] = False,
    json: Annotated[Optional[Path], typer.Option(help='Also write the rows here.')] = None,
) -> None:
    """Check simulated arms with wrong wiring; fails if a fault is not named before motion."""
    with errors_as_one_line():
        from benchmarks import wiring
        rows = wiring.run(robot or wiring.ROBOTS, fault or (), say=typer.echo)
        write_json(json, rows)
        if tables:
            wiring.tabulate(rows)
        wrong = [f'{row["robot"]} {row["fault"]}' for row in rows if not row['right']]
        if wrong:
            raise RuntimeError('not named, or not before the arm moved far: ' + ', '.join(wrong))
