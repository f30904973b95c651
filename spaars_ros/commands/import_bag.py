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

"""`spaars import`: demonstrations from a rosbag2."""

from pathlib import Path
from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import warnings_as_one_line
from spaars_ros.commands.run_options import Robot
from spaars_ros.commands.run_options import Task
from spaars_ros.run.run_config import robot_of

EXAMPLES = """\b
Examples:
  spaars import bag_folder --robot my_arm.yaml --task my_task.yaml --out mine.h5
  spaars import bag.mcap --task insert --command /twist --cut-by /episode_end --out mine.h5
  spaars import bag.db3 --task my_task.yaml --rest 2 --clock log --out mine.h5
"""
SHOWN = 20
"""Maximum number of notes that are printed."""


def command(
    bag: Annotated[Path, typer.Argument(help='rosbag2 folder, .mcap file or .db3 file.')],
    out: Annotated[Path, typer.Option(help='HDF5 file to write.')],
    task: Task,
    robot: Robot = '',
    joint_states: Annotated[str, typer.Option(help='Topic of the joint states.')] = 'joint_states',
    command: Annotated[str, typer.Option(
        help='Topic of the actions: TwistStamped, or Float64MultiArray of joint velocities; '
             'default: the measured motion.')] = '',
    cut_by: Annotated[str, typer.Option(
        help='Topic, or service with recorded calls, that ends an episode; a String on it may be '
        'success, failure or discard; default: episodes end at rest.')] = '',
    rest: Annotated[float, typer.Option(min=0.05, help='s at rest that end an episode.')] = 1.0,
    clock: Annotated[str, typer.Option(
        help='stamp: stamps of the message headers; log: times of the recorder.')] = 'stamp',
) -> None:
    """Make demonstrations from a rosbag2; report unusable data with topic and time."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.data.dataset import save_dataset
        from spaars_ros.robot.config import load_robot
        from spaars_ros.run.bag_import import import_bag
        from spaars_ros.run.bag_import import ImportOptions
        from spaars_ros.tasks.registry import load_task
        from spaars_ros.tasks.registry import make_task
        if clock not in ('stamp', 'log'):
            raise ValueError(f'--clock {clock}: expected stamp or log')
        arm = load_robot(robot_of(robot, task))
        made = import_bag(bag, arm, make_task(arm, load_task(task)), ImportOptions(
            joint_states, command, cut_by, rest, clock))
        for note in made.notes[:SHOWN]:
            typer.echo(f'note: {note}', err=True)
        if len(made.notes) > SHOWN:
            typer.echo(f'note: and {len(made.notes) - SHOWN} more', err=True)
        save_dataset(made.dataset, out)
        typer.echo(f'{out}: {made.dataset.episodes} episodes, {len(made.dataset)} transitions')
