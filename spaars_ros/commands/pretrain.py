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

"""`spaars pretrain`: train a policy bundle from demonstrations."""

from pathlib import Path
from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.run_options import Algorithm
from spaars_ros.commands.run_options import Demonstrations
from spaars_ros.commands.run_options import Overrides
from spaars_ros.commands.run_options import Robot
from spaars_ros.commands.run_options import run_option
from spaars_ros.commands.run_options import Task
from spaars_ros.commands.run_options import Training
from spaars_ros.run.run_config import robot_of
from spaars_ros.run.run_config import TASK
from spaars_ros.run.run_config import training_of

EXAMPLES = """\b
Examples:
  spaars pretrain --out pretrained.spaars
  spaars pretrain --out skills.spaars --algorithm spaars-supe
  spaars pretrain --out my_arm.spaars --demonstrations my_arm.h5 --robot my_arm.yaml --seed 1
"""


def command(
    out: Annotated[Path, typer.Option(help='Bundle file to write.')],
    demonstrations: Demonstrations = '',
    seed: Annotated[int, run_option('seed', 'Seed of weights and batches.')] = 0,
    robot: Robot = '',
    task: Task = TASK,
    algorithm: Algorithm = '',
    training: Training = '',
    overrides: Overrides = None,
) -> None:
    """Train an algorithm's offline stages and write one policy bundle."""
    with errors_as_one_line():
        from rich.console import Console

        from spaars_ros.learning.online.pretrain import pretrain
        from spaars_ros.policy.bundle import save_bundle
        from spaars_ros.run.folder import RunFolder
        from spaars_ros.run.progress import pretraining_shown
        from spaars_ros.run.run_config import RunConfig
        constants = overrides_of(overrides or [])
        if algorithm:
            constants['algorithm'] = algorithm
        folder = RunFolder(RunConfig(
            out='', robot=robot_of(robot, task), task=task,
            training=training_of(training, algorithm, task), seed=seed,
            overrides=constants, demonstrations=demonstrations))
        dataset = folder.demonstrations()
        with pretraining_shown(Console(stderr=True)) as progress:
            bundle = pretrain(folder.robot, folder.task, folder.training, dataset, seed=seed,
                              progress=progress)
        save_bundle(bundle, out)
        typer.echo(f'{out}: pretrained from {len(dataset.observations)} transitions')
