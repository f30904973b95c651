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

"""`spaars bench learning`: table of methods, tasks and seeds."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import report
from spaars_ros.commands.common import seeds_of
from spaars_ros.commands.common import write_json
from spaars_ros.commands.sweep import Cpus
from spaars_ros.commands.sweep import Gpus
from spaars_ros.commands.sweep import Ray

EXAMPLES = """\b
Examples:
  spaars bench learning
  spaars bench learning --tasks Hopper-v5=hopper-medium.npz --methods bc,iql,spaars --steps 50000
  spaars bench learning --tasks Hopper-v5=h.npz,Walker2d-v5=w.npz,reach --methods all --jobs 4
  spaars bench learning --methods spaars,spaars:k=2,spaars:hard-switch --set utd=4

Methods: bc, iql, rlpd, sac, plas, spaars, and its ablations spaars:latent-only, spaars:raw-only,
spaars:no-bc, spaars:no-plateau, spaars:hard-switch, spaars:k=N. After an interruption, the same
command continues. Rows, curves (.json and .png) and the table are in --out.
"""


def command(
    tasks: Annotated[str, typer.Option(
        help='TASK=FILE, comma-separated: a Gymnasium id with its offline transitions (.npz, D4RL '
        '.hdf5 or minari:<id>); reach, the arm task, has its own.')] = 'reach',
    methods: Annotated[str, typer.Option(
        help='Comma-separated, or all.')] = 'bc,iql,spaars',
    seeds: Annotated[str, typer.Option(help='Whole numbers, comma-separated.')] = '0',
    steps: Annotated[int, typer.Option(min=1, help='Environment steps per run.')] = 4000,
    evaluate_every: Annotated[int, typer.Option(
        min=0, help='Steps between evaluations; 0: a twentieth of --steps.')] = 0,
    episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 10,
    jobs: Annotated[int, typer.Option(min=1, help='Parallel runs, one thread each.')] = 2,
    ray: Ray = '',
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    training: Annotated[str, typer.Option(
        help='Training file; default: spaars for reach, locomotion for the others.')] = '',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    out: Annotated[Path, typer.Option(
        help='Folder of rows; existing rows are not run again.')] = Path('runs/bench_learning'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the rows here.')] = None,
) -> None:
    """Train every method on every task with every seed, and tabulate; small by default."""
    with errors_as_one_line():
        from rich.console import Console

        from benchmarks.learning import METHODS
        from benchmarks.learning import run
        from benchmarks.learning_report import plot
        from benchmarks.learning_report import table
        from spaars_ros.run.workers import Workers
        files = {name: file for name, _, file in (pair.partition('=')
                                                  for pair in tasks.split(','))}
        rows = run(tasks=files, seeds=seeds_of(seeds), steps=steps, jobs=jobs, out=out,
                   workers=Workers(jobs, ray, cpus, gpus),
                   methods=list(METHODS) if methods == 'all' else methods.split(','),
                   evaluate_every=evaluate_every or max(1, steps // 20),
                   evaluation_episodes=episodes, training=training,
                   overrides=overrides_of(change or []),
                   say=lambda line: typer.echo(line, err=True))
        Console(stderr=True).print(table(rows))
        write_json(out / 'curves.json', rows)
        for task in files:
            plot(rows, task, out / f'{task}.png'.replace('/', '-'))
        write_json(json, rows)
        report([{key: value for key, value in row.items() if key != 'curve'} for row in rows],
               None)
