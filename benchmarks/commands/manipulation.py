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

"""`spaars bench manipulation`: methods on sparse-reward tasks of Meta-World."""

import json as json_module
from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import report
from spaars_ros.commands.common import seeds_of
from spaars_ros.commands.sweep import Cpus
from spaars_ros.commands.sweep import Gpus
from spaars_ros.commands.sweep import Ray

EXAMPLES = """\b
Examples:
  spaars bench peers --only metaworld
  spaars bench manipulation --tasks peg-insert-side --methods spaars,iql --seeds 0 --steps 6000
  spaars bench manipulation --seeds 0,1,2,3,4 --jobs 8

Any task of Meta-World is possible. Rows, curves and demonstrations are in --out. After an
interruption, the same command continues.
"""


def command(
    tasks: Annotated[str, typer.Option(help='Tasks of Meta-World, comma-separated.')] =
        'door-open,peg-insert-side,pick-place,drawer-open',
    methods: Annotated[str, typer.Option(help='Methods, comma-separated, or all.')] = 'all',
    seeds: Annotated[str, typer.Option(help='Seeds, comma-separated.')] = '0',
    steps: Annotated[int, typer.Option(min=0, help='Environment steps.')] = 15_000,
    evaluate_every: Annotated[int, typer.Option(min=1, help='Steps between evaluations.')] = 2500,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 20,
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    jobs: Annotated[int, typer.Option(min=1, help='Parallel runs.')] = 2,
    ray: Ray = '',
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    finished: Annotated[bool, typer.Option(
        '--finished', help='Report only the runs finished in --out; run none.')] = False,
    docs: Annotated[bool, typer.Option(
        '--docs', help='Also write the tables of docs/results/manipulation.md.')] = False,
    out: Annotated[Path, typer.Option(
        help='Folder of rows; existing rows are not run '
        'again.')] = Path('runs/bench_manipulation'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Measure success over environment steps, and what is lost meanwhile, against baselines."""
    with errors_as_one_line():
        from benchmarks.manipulation import METHODS
        from benchmarks.manipulation import run
        from benchmarks.manipulation import summary
        from benchmarks.manipulation import tables
        from spaars_ros.run.workers import Workers
        names = list(METHODS) if methods == 'all' else methods.split(',')
        rows = run(tasks=tasks.split(','), methods=names, seeds=seeds_of(seeds), steps=steps,
                   jobs=jobs, out=out, evaluate_every=evaluate_every,
                   evaluation_episodes=evaluation_episodes,
                   overrides=overrides_of(change or []), finished=finished,
                   workers=Workers(jobs, ray, cpus, gpus),
                   say=lambda line: typer.echo(line, err=True))
        (out / 'rows.json').write_text(json_module.dumps(rows))
        if docs:
            tables(rows, ' '.join([
                f'spaars bench manipulation --tasks {tasks} --methods {methods}',
                f'--seeds {seeds} --steps {steps}',
                *(f'--set {each}' for each in change or [])]))
        report(summary(rows), json)
