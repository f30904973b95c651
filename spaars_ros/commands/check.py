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

"""`spaars check`: check of an arm's wiring before its first run."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json
from spaars_ros.commands.run_options import CommandInterface
from spaars_ros.commands.run_options import ControllerTopic
from spaars_ros.commands.run_options import JointStates
from spaars_ros.commands.run_options import run_option
from spaars_ros.run.ros_names import checked_interface
from spaars_ros.run.ros_names import checked_namespace
from spaars_ros.run.ros_names import checked_topic

EXAMPLES = """\b
Examples:
  spaars check
  spaars check --robot ur5e --fault swap=2 --fault swap_with=4
  spaars check --no-sim --robot my_arm.yaml --command /velocity_controller/commands
"""


def faults_of(pairs: list[str]) -> dict[str, float]:
    """Return parameters of the sim node from NAME=VALUE pairs; raises ValueError."""
    from spaars_ros.sim.fault_table import check_faults
    faults = {}
    for pair in pairs:
        name, equals, text = pair.partition('=')
        try:
            faults[name] = float(text)
        except ValueError:
            raise ValueError(f'--fault {pair}: expected NAME=NUMBER') from None
    extra = {name: faults.pop(name) for name in ('command_timeout',) if name in faults}
    return {**{f'fault.{name}': value for name, value in check_faults(faults, '--fault').items()},
            **extra}


def command(
    robot: Annotated[str, typer.Option(
        help='Robot file: path, or name of a shipped file.')] = 'panda',
    sim: Annotated[bool, typer.Option(help='Start the simulated arm and check it.')] = True,
    fault: Annotated[Optional[list[str]], typer.Option(
        metavar='NAME=VALUE', help='Fault of the simulated arm, such as flip=2; may be repeated.')]
    = None,
    yes: Annotated[bool, typer.Option('--yes', help='Do not ask before the arm moves.')] = False,
    accept_no_timeout: Annotated[bool, typer.Option(
        '--accept-no-timeout', help='Accept a controller that keeps moving without '
        'commands.')] = False,
    joint_states: JointStates = '', command: ControllerTopic = '',
    command_interface: CommandInterface = '',
    namespace: Annotated[str, run_option('namespace', 'Namespace of the topics.')] = '',
    out: Annotated[Optional[Path], typer.Option(
        help='File to store the result in; default: runs/checks/<robot>-<digest>.json.')] = None,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Check the wiring of an arm by small joint motions: order, sign, scale, delay."""
    with errors_as_one_line():
        from spaars_ros.commissioning.check import check_wiring
        from spaars_ros.commissioning.check import lines_of
        from spaars_ros.commissioning.check import QUESTION
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.robot.config import load_robot
        from spaars_ros.run.check_record import record_path
        from spaars_ros.run.check_record import save_record
        from spaars_ros.run.domain import stay_on_this_machine
        check_json(json)
        checked_interface(command_interface)
        checked_topic('joint_states', joint_states)
        checked_topic('command', command)
        space, loaded, faults = checked_namespace(namespace), load_robot(robot), faults_of(
            fault or [])
        if faults and not sim:
            raise ValueError('--fault is for the simulated arm')
        if sim:
            stay_on_this_machine()
        elif not yes and not typer.confirm(QUESTION.format(name=loaded.name)):
            raise ValueError('not checked: nothing was moved')
        with Interrupts():
            record = check_wiring(
                loaded, sim=sim, timeout_needed=not accept_no_timeout, faults=faults,
                namespace=space, interface=command_interface, remappings=tuple(
                    (name, target) for name, target in (
                        ('joint_states', joint_states), ('command', command)) if target))
        for line in lines_of(record):
            typer.echo(line)
        # Not stored for a simulated arm: it says nothing about the real robot of the same file.
        place = out or (None if sim else record_path(loaded))
        if place is not None:
            save_record(record, place)
            typer.echo(f'kept in {place}')
        write_json(json, record)
    if not record['passed']:
        raise typer.Exit(1)
