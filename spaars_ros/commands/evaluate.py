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

"""`spaars evaluate`: evaluation of a policy in simulation."""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json
from spaars_ros.commands.run_options import Robot
from spaars_ros.commands.run_options import run_option
from spaars_ros.commands.run_options import Task
from spaars_ros.run.run_config import robot_of
from spaars_ros.run.run_config import TASK

EXAMPLES = """\b
Examples:
  spaars evaluate runs/a/initial.spaars
  spaars evaluate runs/a/checkpoints/step_015000.spaars --episodes 50 --json after.json
"""


def command(
    bundle: Annotated[Path, typer.Argument(help='Policy bundle or checkpoint.')],
    episodes: Annotated[int, typer.Option(min=1, help='Fixed episodes to run.')] = 50,
    seed: Annotated[int, run_option('seed', 'Seed of goals and start poses.')] = 10_000,
    explore: Annotated[bool, typer.Option(help='Add the exploration noise of training.')] = False,
    robot: Robot = '',
    task: Task = TASK,
    json: Annotated[Optional[Path], typer.Option(help='Write the result here.')] = None,
) -> None:
    """Run a policy on fixed episodes in simulation and print the result."""
    with errors_as_one_line():
        from spaars_ros.policy.bundle import load_bundle
        from spaars_ros.robot.config import load_robot
        from spaars_ros.run.metrics import mean_of
        from spaars_ros.sim.evaluate import evaluate
        from spaars_ros.tasks.registry import load_task
        from spaars_ros.tasks.registry import make_task
        arm = load_robot(robot_of(robot, task))
        made = make_task(arm, load_task(task))
        result: dict[str, Any] = evaluate(load_bundle(bundle), arm, made, episodes=episodes,
                                          seed=seed, explore=explore)
        result.pop('paths', None)
        write_json(json, {**result, 'bundle': str(bundle), 'seed': seed,
                          'count': episodes})
        typer.echo(f'success     {result["success"]:.0%}\n'
                   f'return      {result["return_mean"]:.2f}\n'
                   f'cost        {result["cost_mean"]:.2f}\n'
                   + ''.join(f'{spec.label:11s} {spec.text(mean_of(spec, result))}\n'
                             for spec in made.spec.metrics)
                   +                   f'raw actions {result["raw_share"]:.0%}')
