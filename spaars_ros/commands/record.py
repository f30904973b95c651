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

"""`spaars record` and `spaars teleop`: demonstrations of a person on the robot."""

from pathlib import Path
import sys
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import checked_namespace
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import robot_of
from spaars_ros.commands.common import training_of
from spaars_ros.commands.common import write_json
from spaars_ros.commands.operator import Domain
from spaars_ros.commands.operator import Namespace
from spaars_ros.commands.operator import prepare

EXAMPLES = """\b
Examples:
  spaars record --out runs/demos
  spaars record --out runs/demos --resume --episodes 40
  spaars record --task insert --put-back 'pull the peg out'
  spaars record --no-sim --robot my_arm.yaml --joint-states /arm/joint_states
  spaars record --no-sim --robot my_arm.yaml --hand-guiding
"""
TELEOP_EXAMPLES = """\b
Examples:
  spaars teleop --domain 37
  spaars teleop --namespace left
"""
LABEL_EXAMPLES = """\b
Examples:
  spaars label success
  spaars label discard --episode 12
  spaars label ready --domain 37
"""


def command(
    out: Annotated[str, typer.Option(help='Run folder; default runs/<date and time>.')] = '',
    robot: Annotated[str, typer.Option(
        help="Robot file: path, or name that ships; default: the task's, or panda.")] = '',
    task: Annotated[str, typer.Option(help='Task file: path, or name that ships.')] = 'reach',
    episodes: Annotated[int, typer.Option(
        min=0, help='Episodes of the whole recording, 0 for no end.')] = 0,
    resume: Annotated[bool, typer.Option(
        '--resume', help='Go on with the recording that is in --out.')] = False,
    hand_guiding: Annotated[bool, typer.Option(
        '--hand-guiding', help="The arm is led by hand in the robot's own free-drive; nothing is "
                               'commanded.')] = False,
    put_back: Annotated[str, typer.Option(
        help='What a person puts back after each episode; the run waits until they say ready.')]
    = '',
    sim: Annotated[bool, typer.Option(help='Start the simulated arm.')] = True,
    real_time_factor: Annotated[float, typer.Option(
        min=0.01, max=10.0, help='Simulated s a second.')] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help='Seed of starts and goals.')] = 0,
    joint_states: Annotated[str, typer.Option(help="Topic with the robot's joint states.")] = '',
    command: Annotated[str, typer.Option(help="Topic of the robot's controller.")] = '',
    command_interface: Annotated[str, typer.Option(
        help="What the controller takes; default: the robot file's.")] = '',
    params_file: Annotated[str, typer.Option(help='ROS 2 parameter file whose values win.')] = '',
    namespace: Annotated[str, typer.Option(help='Namespace of every node.')] = '',
    yes: Annotated[bool, typer.Option(
        '--yes', help='With --no-sim: check the wiring where it has not been, and move the arm '
                      'home, without asking.')] = False,
    json: Annotated[Optional[Path], typer.Option(help='Also write the summary here.')] = None,
) -> None:
    """Record demonstrations: the person acts while a dead man's switch is held, and judges."""
    with errors_as_one_line():
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run import record_job  # first: rclpy starts the interpreter again, once
        from spaars_ros.run.bringup import new_run_folder
        from spaars_ros.run.domain import stay_on_this_machine
        from spaars_ros.run.folder import RunError
        from spaars_ros.run.folder import RunFolder
        from spaars_ros.run.folder import RunOptions
        if resume and not out:
            raise RunError('--resume needs --out, the folder of the recording')
        space = checked_namespace(namespace)
        check_json(json)
        with Interrupts() as interrupts:
            if resume:
                folder = RunFolder.resume(out, episodes=episodes or None, namespace=space or None)
            else:
                folder = RunFolder(RunOptions(
                    out=out or new_run_folder(), robot=robot_of(robot, task), task=task,
                    training=training_of('', None, task), seed=seed, episodes=episodes, sim=sim,
                    real_time_factor=real_time_factor if sim else 0.0, joint_states=joint_states,
                    command=command, command_interface=command_interface, namespace=space,
                    params_file=str(Path(params_file).resolve()) if params_file else ''))
            options = folder.options
            if options.sim:
                stay_on_this_machine()
            elif not hand_guiding:
                from spaars_ros.commissioning.ready import make_ready
                make_ready(folder.robot, folder.settings.start_noise, say=typer.echo,
                           confirm=lambda text: yes or (
                               sys.stdin.isatty() and typer.confirm(text)),
                           namespace=options.namespace, interface=options.command_interface,
                           remappings=tuple((name, target) for name, target in (
                               ('joint_states', options.joint_states),
                               ('command', options.command)) if target))
            summary = record_job.record(folder, interrupts, guide=hand_guiding, put_back=put_back,
                                        resume=resume)
            write_json(json, summary)
            for line in record_job.closing_lines(folder, summary):
                typer.echo(line)


def teleop(
    namespace: Namespace = '', domain: Domain = -1,
    simulated: Annotated[bool, typer.Option(
        '--simulated', help='Nobody at the keyboard: a simulated person takes over where the '
                            'policy fails, for a simulated arm.')] = False,
    robot: Annotated[str, typer.Option(
        help="With --simulated: robot file; default: the task's, or panda.")] = '',
    task: Annotated[str, typer.Option(help='With --simulated: task file.')] = 'reach',
    seed: Annotated[int, typer.Option(min=0, help='With --simulated: of the hand.')] = 0,
) -> None:
    """Drive the arm of a policy server from the keyboard: take over, demonstrate, judge."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.interrupts import Interrupts
        if simulated:
            from spaars_ros.robot.config import load_robot
            from spaars_ros.run.simulated_person import simulate
            from spaars_ros.tasks.registry import load_task
            from spaars_ros.tasks.registry import make_task
            made = make_task(load_robot(robot_of(robot, task)), load_task(task))
            with Interrupts() as interrupts:
                simulate(place, made, seed, say=typer.echo, interrupts=interrupts)
            return
        from spaars_ros.run.teleop import teleop as drive

        def show(line: str) -> None:
            typer.echo(f'\r\x1b[K{line}', nl=False)
        with Interrupts() as interrupts:
            drive(place, typer.echo, show, interrupts)


def label(
    word: Annotated[str, typer.Argument(help='success, failure, discard or ready.')],
    episode: Annotated[Optional[int], typer.Option(
        min=0, help="Number of the episode; default: the running one's, or the last one's.")]
    = None,
    namespace: Namespace = '', domain: Domain = -1,
) -> None:
    """Say what an episode came to, or that things are put back; what is discarded is no data."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.run.operator import call
        from spaars_ros.run.operator import say_of
        if word not in ('success', 'failure', 'discard', 'ready'):
            raise ValueError(f'{word}: expected success, failure, discard or ready')
        typer.echo(call(f'label_{word}', place) if episode is None
                   else say_of(word, episode, place))
