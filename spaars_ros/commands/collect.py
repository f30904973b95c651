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

"""`spaars collect`: demonstrations of the scripted operator."""

from pathlib import Path
from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line

EXAMPLES = """\b
Examples:
  spaars collect demonstrations.h5 --episodes 60 --seed 0
"""


def command(
    out: Annotated[Path, typer.Argument(help='HDF5 file to write.')],
    episodes: Annotated[int, typer.Option(min=1, help='Episodes to record.')] = 60,
    seed: Annotated[int, typer.Option(min=0, help='Seed of the operator and the goals.')] = 0,
    robot: Annotated[str, typer.Option(help='Robot file: path, or name that ships.')] = 'panda',
    task: Annotated[str, typer.Option(help='Task file: path, or name that ships.')] = 'reach',
) -> None:
    """Record a scripted operator at a teach pendant: both sides, noisy, stopping short."""
    with errors_as_one_line():
        from spaars_ros.config import load_robot
        from spaars_ros.config import load_task
        from spaars_ros.data.dataset import save_dataset
        from spaars_ros.sim.operator import collect
        dataset = collect(load_robot(robot), load_task(task), episodes=episodes, seed=seed)
        dataset.attributes['source'] = (f'spaars collect {out.name} --episodes {episodes} '
                                        f'--seed {seed} --robot {robot} --task {task}')
        save_dataset(dataset, out)
        typer.echo(f'{out}: {episodes} episodes, {len(dataset.observations)} transitions')
