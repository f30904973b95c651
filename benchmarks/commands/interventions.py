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

"""`spaars bench interventions`: value of human takeovers."""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars bench interventions --json interventions.json
  spaars bench interventions --seeds 5 --episodes 150
"""


def command(
    task: Annotated[str, typer.Option(
        help='Task file: path, or name of a shipped file.')] = 'insert',
    training: Annotated[str, typer.Option(
        help='Training file: path, or name of a shipped file.')] = 'spaars',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    seeds: Annotated[int, typer.Option(min=1, help='Number of seeds, from 0.')] = 1,
    episodes: Annotated[int, typer.Option(
        min=1, help='Largest number of training episodes.')] = 100,
    every: Annotated[int, typer.Option(
        min=1, help='Training episodes between evaluations of the policy alone.')] = 10,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 40,
    table: Annotated[bool, typer.Option(
        '--table', help='Write the table of docs/results/interventions.md.')] = False,
    json: Annotated[Optional[Path], typer.Option(help='Write the rows here.')] = None,
) -> None:
    """Fine-tune with and without a simulated person, until the policy alone has 95 % success."""
    with errors_as_one_line():
        from benchmarks.interventions import run
        from benchmarks.interventions import write
        rows: list[dict[str, Any]] = []
        for seed in range(seeds):
            start = None
            for assisted in (False, True):
                row = run(task=task, training=training, seed=seed, episodes=episodes, every=every,
                          evaluation_episodes=evaluation_episodes, assisted=assisted, start=start,
                          overrides=overrides_of(change or []), say=typer.echo)
                start = row.pop('bundle')
                rows.append(row)
                write_json(json, {'rows': rows})
        if table:
            changes = ''.join(f' --set {one}' for one in change or [])
            write(rows, f'spaars bench interventions --task {task} --training {training} --seeds '
                  f'{seeds} --episodes {episodes}{changes}')
        for row in rows:
            reached = row['episodes_to_goal']
            typer.echo(f'seed {row["seed"]}, {"with" if row["assisted"] else "without"} a person: '
                       + (f'95 % after {reached} episodes' if reached is not None else
                          f'not 95 % within {row["evaluations"][-1][0]} episodes')
                       + f', {row["takeovers"]} takeovers, {row["human_share"]:.0%} of the ticks')
