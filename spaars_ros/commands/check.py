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

"""`spaars check`: the wiring of an arm, before its first run."""

from pathlib import Path
import tempfile
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import checked_namespace
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars check
  spaars check --robot ur5e --fault swap=2 --fault swap_with=4
  spaars check --no-sim --robot my_arm.yaml --command /velocity_controller/commands
"""
QUESTION = ('Each joint of {name} will move by 0.05 rad and back, one after the other, at no more '
            'than 0.1 rad/s.\nIs its surrounding free, and are you at the emergency stop?')


def lines_of(record: dict[str, Any]) -> list[str]:
    """Return a record as a table for people."""
    lines = [f'{"joint":24} {"scale":>7} {"delay":>7}  result']
    for each in record['joints']:
        scale, delay = ('-' if each[key] is None else f'{each[key]:.2f}{unit}'
                        for key, unit in (('scale', ''), ('delay', ' s')))
        state = '; '.join(each['faults']) or ('right' if each['scale'] is not None
                                              else 'not tried')
        lines.append(f'{each["joint"]:24} {scale:>7} {delay:>7}  {state}')
    timeout = record['timeout']
    lines.append('without commands: ' + (
        'keeps moving, or not tried' if timeout is None
        else f'at rest after {timeout:.2f} s'))
    listed = {f'{each["joint"]} {text}' for each in record['joints'] for text in each['faults']}
    lines += [f'fault: {text}' for text in record['faults'] if text not in listed]
    return [*lines, 'passed' if record['passed'] else 'FAILED: the arm is not to be run like this']


def check_robot(robot: Any, *, sim: bool, timeout_needed: bool = True, faults: Any = None,
                **node: Any) -> dict[str, Any]:
    """Run the check, on the simulated arm or on the robot that is there; return its record."""
    from spaars_ros.commissioning.check import WiringNode
    from spaars_ros.commissioning.simulated import simulated_arm
    if sim:
        with tempfile.TemporaryDirectory(prefix='spaars_check_') as folder:
            checker = WiringNode(robot, **node)
            try:
                with simulated_arm(checker, Path(folder), faults or {}):
                    record = checker.run()
            finally:
                checker.close()
    else:
        checker = WiringNode(robot, **node)
        try:
            record = checker.run()
        finally:
            checker.close()
    tried = any(each['scale'] is not None and not each['faults'] for each in record['joints'])
    if timeout_needed and tried and record['timeout'] is None:
        record['faults'].append(
            'the controller goes on without commands: give it a timeout of a few control periods '
            '(docs/safety.md), or accept it with --accept-no-timeout')
        record['passed'] = False
    record['simulated'] = sim
    return record


def faults_of(pairs: list[str]) -> dict[str, float]:
    """Return the sim's parameters of NAME=VALUE pairs; raises ValueError."""
    from spaars_ros.sim.fault_table import checked
    faults = {}
    for pair in pairs:
        name, equals, text = pair.partition('=')
        try:
            faults[name] = float(text)
        except ValueError:
            raise ValueError(f'--fault {pair}: expected NAME=NUMBER') from None
    extra = {name: faults.pop(name) for name in ('command_timeout',) if name in faults}
    return {**{f'fault.{name}': value for name, value in checked(faults, '--fault').items()},
            **extra}


def command(
    robot: Annotated[str, typer.Option(help='Robot file: path, or name that ships.')] = 'panda',
    sim: Annotated[bool, typer.Option(help='Start the simulated arm, and check that.')] = True,
    fault: Annotated[Optional[list[str]], typer.Option(
        metavar='NAME=VALUE', help='Fault of the simulated arm, such as flip=2; may be repeated.')]
    = None,
    yes: Annotated[bool, typer.Option('--yes', help='Do not ask before the arm moves.')] = False,
    accept_no_timeout: Annotated[bool, typer.Option(
        '--accept-no-timeout', help='Pass a controller that goes on without commands.')] = False,
    joint_states: Annotated[str, typer.Option(help="Topic with the robot's joint states.")] = '',
    command: Annotated[str, typer.Option(help="Topic of the robot's controller.")] = '',
    command_interface: Annotated[str, typer.Option(
        help="What the controller takes; default: the robot file's.")] = '',
    namespace: Annotated[str, typer.Option(help='Namespace of the topics.')] = '',
    out: Annotated[Optional[Path], typer.Option(
        help='File that keeps the result; default runs/checks/<robot>-<digest>.json.')] = None,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Move each joint a little and name what is wired wrongly: order, sign, scale, delay."""
    with errors_as_one_line():
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.robot.config import load_robot
        from spaars_ros.run import job  # first: rclpy starts the interpreter again, once
        from spaars_ros.run.check_record import record_path
        from spaars_ros.run.check_record import save_record
        check_json(json)
        space, loaded, faults = checked_namespace(namespace), load_robot(robot), faults_of(
            fault or [])
        if faults and not sim:
            raise ValueError('--fault is for the simulated arm')
        if sim:
            job.stay_on_this_machine()
        elif not yes and not typer.confirm(QUESTION.format(name=loaded.name)):
            raise ValueError('not checked: nothing was moved')
        with Interrupts():
            record = check_robot(
                loaded, sim=sim, timeout_needed=not accept_no_timeout, faults=faults,
                namespace=space, interface=command_interface, remappings=tuple(
                    (name, target) for name, target in (
                        ('joint_states', joint_states), ('command', command)) if target))
        for line in lines_of(record):
            typer.echo(line)
        # A simulated arm's result says nothing about the robot of the same file.
        place = out or (None if sim else record_path(loaded))
        if place is not None:
            save_record(record, place)
            typer.echo(f'kept in {place}')
        write_json(json, record)
    if not record['passed']:
        raise typer.Exit(1)
