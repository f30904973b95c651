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

"""`spaars bench embedded`: fine-tune a task of the arm in process."""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import seeds_of
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars bench embedded --episodes 120 --json embedded.json
  spaars bench embedded --budget hold --set floor=true --set prior=1
  spaars bench embedded --task insert --seeds 0,1,2,3,4 --episodes 200 --out runs/tasks --table
"""


def command(
    task: Annotated[str, typer.Option(
        help='Task file: path, or name of a shipped file.')] = 'reach',
    training: Annotated[str, typer.Option(
        help="Training file: path, or name of a shipped file; default: the task's, else "
        'spaars.')] = '',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    seed: Annotated[int, typer.Option(min=0, help='Seed of all random numbers.')] = 0,
    episodes: Annotated[int, typer.Option(min=1, help='Training episodes.')] = 150,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 50,
    budget: Annotated[str, typer.Option(help='Budget of an episode: off, warn or hold.')] = 'off',
    seeds: Annotated[str, typer.Option(
        help='Seeds, comma-separated, in place of --seed; each row is kept in --out.')] = '',
    out: Annotated[Path, typer.Option(
        help='Folder of the rows of --seeds; those already here are not run again.')] = Path(
            'runs/bench_embedded'),
    table: Annotated[bool, typer.Option(
        '--table', help="With --seeds: also write the documentation's table of all rows in "
        '--out.')] = False,
    json: Annotated[Optional[Path], typer.Option(help='Write the row here.')] = None,
) -> None:
    """Pretrain, fine-tune and evaluate in process; report the share within the cost limit."""
    with errors_as_one_line():
        from benchmarks.embedded import run
        from benchmarks.embedded import run_seeds
        from benchmarks.embedded import write_rows
        from spaars_ros.control.budget import MODES
        if budget not in MODES:
            raise ValueError(f'--budget {budget}: one of {", ".join(MODES)}')
        settings: dict[str, Any] = {
            'task': task, 'training': training, 'episodes': episodes, 'budget': budget,
            'evaluation_episodes': evaluation_episodes,
            'overrides': overrides_of(change or []), 'say': typer.echo}
        if seeds:
            rows = run_seeds(seeds_of(seeds), out, **settings)
            if table:
                write_rows(out)
        else:
            rows = [run(seed=seed, **settings)]
        write_json(json, rows if seeds else rows[0])
        for row in rows:
            for name in ('before', 'training', 'after'):
                part = row[name]
                typer.echo(f'seed {row["seed"]}, {name}: success {part["success"]:.0%}, cost '
                           f'{part["cost"]:.2f}, {part["within_limit"]:.0%} within the limit, '
                           f'held {part["held"]:.0%}')
