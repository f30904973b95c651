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

"""`spaars record`, `spaars teleop` and `spaars label`: demonstrations by an operator."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json
from spaars_ros.commands.operator import Domain
from spaars_ros.commands.operator import Namespace
from spaars_ros.commands.operator import prepare
from spaars_ros.commands.run_options import make_arm_ready
from spaars_ros.commands.run_options import refuse_with_resume
from spaars_ros.commands.run_options import run_option
from spaars_ros.commands.run_options import takes_options_of
from spaars_ros.run.run_config import Asked
from spaars_ros.run.run_config import new_run_folder
from spaars_ros.run.run_config import robot_of
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_config import TASK

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


@takes_options_of('record')
def command(asked: Asked, context: typer.Context) -> None:
    """Record demonstrations: a person acts while a dead man's switch is held, and labels them."""
    with errors_as_one_line():
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run import record_job  # first: rclpy restarts the interpreter once
        from spaars_ros.run.domain import stay_on_this_machine
        from spaars_ros.run.folder import RunError
        from spaars_ros.run.folder import RunFolder
        start, out = asked.start, asked.values['out']
        if start.resume and not out:
            raise RunError('--resume needs --out, the folder of the recording')
        if start.resume:
            refuse_with_resume(asked, context)
        json = Path(start.json) if start.json else None
        check_json(json)
        with Interrupts() as interrupts:
            folder = RunFolder.resume(out, **asked.anew()) if start.resume \
                else RunFolder(config_of(asked))
            if folder.options.sim:
                stay_on_this_machine()
            elif not start.hand_guiding:
                make_arm_ready(folder, start.yes)
            summary = record_job.record(
                folder, interrupts, guide=start.hand_guiding, put_back=start.put_back,
                resume=start.resume, log_level=start.log_level)
            write_json(json, summary)
            for line in record_job.closing_lines(folder, summary):
                typer.echo(line)


def config_of(asked: Asked) -> RunConfig:
    """Return the configuration of a new recording; raises ValueError, ConfigError."""
    config = asked.config()
    return replace(config, out=config.out or new_run_folder(),
                   real_time_factor=config.real_time_factor if config.sim else 0.0)


def teleop(
    namespace: Namespace = '', domain: Domain = -1,
    simulated: Annotated[bool, typer.Option(
        '--simulated', help='For a simulated arm: instead of the keyboard, a simulated person '
        'takes over where the policy fails.')] = False,
    robot: Annotated[str, run_option(
        'robot', 'With --simulated: robot file; default: that of the task, or panda.')] = '',
    task: Annotated[str, run_option('task', 'With --simulated: task file.')] = TASK,
    seed: Annotated[int, run_option(
        'seed', 'With --simulated: seed of the simulated person.')] = 0,
) -> None:
    """Drive the arm of a policy server from the keyboard: take over, demonstrate, label."""
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
        min=0, help='Number of the episode; default: the running one, or the last.')]
    = None,
    namespace: Namespace = '', domain: Domain = -1,
) -> None:
    """Label an episode, or report that things are put back; discarded episodes are no data."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.run.operator import call
        from spaars_ros.run.operator import say_of
        if word not in ('success', 'failure', 'discard', 'ready'):
            raise ValueError(f'{word}: expected success, failure, discard or ready')
        typer.echo(call(f'label_{word}', place) if episode is None
                   else say_of(word, episode, place))
