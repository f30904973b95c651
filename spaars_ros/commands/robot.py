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

"""`spaars robot`: check a robot file, create one from a model, or write its URDF."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json

app = typer.Typer(no_args_is_help=True, help='Check a robot file, or create one.')

CHECK_EXAMPLES = """\b
Examples:
  spaars robot check my_arm.yaml
  spaars robot check ur5e --json ur5e.json
"""
NEW_EXAMPLES = """\b
Examples:
  spaars robot new --mjcf my_arm.xml --out my_arm.yaml
  spaars robot new --urdf my_arm.urdf --tip tool0 --out my_arm.yaml
"""
URDF_EXAMPLES = """\b
Examples:
  spaars robot urdf panda --out panda.urdf
"""
MARKS = {'fine': 'fine ', 'look': 'look ', 'wrong': 'WRONG'}


@app.command('check', epilog=CHECK_EXAMPLES)
def check_command(
    file: Annotated[str, typer.Argument(help='Robot file: path, or name of a shipped file.')],
    json: Annotated[Optional[Path], typer.Option(help='Also write the findings here.')] = None,
) -> None:
    """Check a robot file and summarise it; nothing moves. Exit code 1 if it has errors."""
    with errors_as_one_line():
        from spaars_ros.commissioning.robot_file import check_file
        check_json(json)
        findings = check_file(file)
        for one in findings:
            typer.echo(f'{MARKS[one.level]} {one.about}: {one.text}')
        if json is not None:
            write_json(json, {'findings': [vars(one) for one in findings]})
        wrong = sum(one.level == 'wrong' for one in findings)
        if wrong:
            raise ValueError(f'{file}: {wrong} to mend')


@app.command('new', epilog=NEW_EXAMPLES)
def new_command(
    mjcf: Annotated[Optional[Path], typer.Option(help='MJCF model to start from.')] = None,
    urdf: Annotated[Optional[Path], typer.Option(help='URDF to start from.')] = None,
    tip: Annotated[str, typer.Option(
        help='Site or body that is the tool tip; default: the most likely one.')] = '',
    name: Annotated[str, typer.Option(help='Name of the robot; default: that of the file.')] = '',
    out: Annotated[Optional[Path], typer.Option(
        help='File to write; default: <name>.yaml in this folder.')] = None,
) -> None:
    """Create a robot file from a model; values that the model lacks are marked LOOK UP."""
    with errors_as_one_line():
        from spaars_ros.robot.new_file import new_robot_file
        given = [path for path in (mjcf, urdf) if path is not None]
        if len(given) != 1:
            raise ValueError('give one of --mjcf FILE and --urdf FILE')
        if not given[0].is_file():
            raise ValueError(f'{given[0]}: no such file')
        text = new_robot_file(given[0], name=name, tip=tip)
        place = out or Path(f'{name or given[0].stem}.yaml')
        if place.exists():
            raise ValueError(f'{place}: is there already; name another with --out')
        place.write_text(text)
        typer.echo(f'{place}: next, look it over and `spaars robot check {place}`')


@app.command('urdf', epilog=URDF_EXAMPLES)
def urdf_command(
    file: Annotated[str, typer.Argument(help='Robot file: path, or name of a shipped file.')],
    out: Annotated[Optional[Path], typer.Option(
        help='File to write; default: standard output.')] = None,
) -> None:
    """Write a URDF of the model of a robot file, for viewers: links, joints and visuals."""
    with errors_as_one_line():
        from spaars_ros.robot.config import load_robot
        from spaars_ros.robot.kinematics import Kinematics
        from spaars_ros.robot.urdf import description_of
        robot = load_robot(file)
        text = description_of(robot, Kinematics(robot))
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text)
            typer.echo(f'{out}: {robot.name}')
