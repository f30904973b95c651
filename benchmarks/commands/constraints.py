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

"""`spaars bench constraints`: Marvel, its ablations and the baselines under a cost limit."""

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
  spaars bench constraints
  spaars bench constraints --tasks BallCircle,CarRun,reach --methods all --seeds 0,1,2 \\
      --steps 100000
  spaars bench constraints --methods marvel,marvel:plain-pid --set align_steps=2000

Methods: marvel, marvel:no-vpa, marvel:plain-pid, marvel:neither, sac-lagrangian, sac-pid, cpq.
BallCircle and CarRun are tasks of bullet-safety-gym, in a separate environment (spaars bench
peers). After an interruption, the same command continues. Rows, plots (.png) and alignments are
in --out.
"""


def command(
    tasks: Annotated[str, typer.Option(
        help='Comma-separated: BallCircle, CarRun, reach (the arm).')] = 'BallCircle',
    methods: Annotated[str, typer.Option(
        help='Comma-separated, or all.')] = 'marvel,sac-lagrangian,cpq',
    seeds: Annotated[str, typer.Option(help='Whole numbers, comma-separated.')] = '0',
    steps: Annotated[int, typer.Option(min=1, help='Environment steps per run.')] = 10_000,
    evaluate_every: Annotated[int, typer.Option(
        min=0, help='Steps between evaluations; 0: a twentieth of --steps.')] = 0,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 5,
    episodes: Annotated[int, typer.Option(
        min=1, help='Episodes of the scripted drivers that generate the offline data.')] = 100,
    rollouts: Annotated[int, typer.Option(
        min=1, help='Episodes for the rank correlation before and after alignment.')] = 20,
    jobs: Annotated[int, typer.Option(min=1, help='Parallel runs, one thread each.')] = 2,
    ray: Ray = '',
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides config/training/marvel.yaml; may be '
        'repeated.')] = None,
    peers: Annotated[Optional[Path], typer.Option(
        help='Folder of the environments of other libraries.')] = None,
    out: Annotated[Path, typer.Option(
        help='Folder of rows; existing rows are not run again.')] = Path('runs/bench_constraints'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the full result here.')] = None,
) -> None:
    """Measure return and cost under a limit, over updates; small by default."""
    with errors_as_one_line():
        from rich.console import Console

        from benchmarks.constraint_report import plot
        from benchmarks.constraint_report import table
        from benchmarks.constraints import METHODS
        from benchmarks.constraints import run
        from benchmarks.peer_environments import FOLDER
        from spaars_ros.run.workers import Workers
        result = run(tasks=tasks.split(','), seeds=seeds_of(seeds), steps=steps, jobs=jobs,
                     methods=list(METHODS) if methods == 'all' else methods.split(','), out=out,
                     peers=peers or FOLDER, episodes=episodes, rollouts=rollouts,
                     evaluate_every=evaluate_every or max(1, steps // 20),
                     evaluation_episodes=evaluation_episodes,
                     settings=overrides_of(change or []),
                     workers=Workers(jobs, ray, cpus, gpus),
                     say=lambda line: typer.echo(line, err=True))
        Console(stderr=True).print(table(result['rows']))
        for task in tasks.split(','):
            plot(result['rows'], task, out / f'{task}.png')
        write_json(out / 'constraints.json', result)
        write_json(json, result)
        report({**result, 'rows': [
            {key: value for key, value in row.items() if key not in ('curve', 'episodes')}
            for row in result['rows']]}, None)
