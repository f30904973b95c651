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

"""`spaars bench filter`: time of the safety filter per tick, and its margins under attack."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report

EXAMPLES = """\b
Examples:
  spaars bench filter --json filter.json
  spaars bench filter --adversarial 300 --json adversarial.json
"""


def command(
    ticks: Annotated[int, typer.Option(min=120, help='Ticks of the workload.')] = 6000,
    adversarial: Annotated[float, typer.Option(
        min=0.0, help='s of driving the arm against every limit in MuJoCo, with model error, '
        'delay and noise, instead of timing.')] = 0.0,
    robot: Annotated[str, typer.Option(
        help='Robot file: path, or name of a shipped file.')] = 'panda',
    seed: Annotated[int, typer.Option(help='Seed of the workload or of the driving.')] = 0,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Time the safety filter against two other solvers and none, or its adversarial margins."""
    with errors_as_one_line():
        if adversarial > 0.0:
            from benchmarks import adversary
            from spaars_ros.robot.config import load_robot
            report(adversary.run(load_robot(robot), seconds=adversarial, seed=seed), json)
            return
        from benchmarks.filter import run
        report(run(ticks=ticks, robot=robot, seed=seed), json)
