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

"""`spaars bench skills`: skills on the staged task, single-step policies offline."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import report
from spaars_ros.commands.common import seeds_of
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars bench skills
  spaars bench skills --methods all --offline-methods all --seeds 0,1,2 --steps 60000
  spaars bench skills --methods none --offline-methods all --seeds 0,1,2 \\
      --offline-tasks staged,reach,Hopper-v5=hopper.npz,Walker2d-v5=walker2d.npz

Methods, online on the task with stages: spaars-supe, spaars-supe:no-gate, supe, rlpd, bc, iql.
Offline: spar:mlp, spar:proj, spar (which selects one), bc, iql, td3-bc. After an interruption,
the same command continues. Rows, curves, goals and the tables are in --out.
"""


def command(
    methods: Annotated[str, typer.Option(
        help='Online methods, on the task with stages: comma-separated, all or '
        'none.')] = 'spaars-supe,spaars-supe:no-gate,supe,bc',
    offline_methods: Annotated[str, typer.Option(
        help='Offline methods: comma-separated, all or none.')] = 'spar:mlp,spar:proj,bc',
    offline_tasks: Annotated[str, typer.Option(
        help='Offline tasks: staged, reach, or TASK=FILE, comma-separated.')] = 'staged,reach',
    seeds: Annotated[str, typer.Option(help='Whole numbers, comma-separated.')] = '0',
    steps: Annotated[int, typer.Option(min=1, help='Environment steps per online run.')] = 4000,
    evaluate_every: Annotated[int, typer.Option(
        min=0, help='Steps between evaluations; 0: a twentieth of --steps, at least 500.')] = 0,
    episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 10,
    data: Annotated[str, typer.Option(
        help='Demonstrations of the staged task; default: generated in --out.')] = '',
    demonstrations: Annotated[int, typer.Option(
        min=1, help='Episodes of the generated demonstrations.')] = 300,
    jobs: Annotated[int, typer.Option(min=1, help='Parallel runs, one thread each.')] = 2,
    training: Annotated[str, typer.Option(
        help='Training file; default: staged, spaars for reach, locomotion for others.')] = '',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    out: Annotated[Path, typer.Option(
        help='Folder of rows; existing rows are not run again.')] = Path('runs/bench_skills'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the rows here.')] = None,
) -> None:
    """Compare skills with and without gate, and SPAR offline; small by default."""
    with errors_as_one_line():
        from rich.console import Console

        from benchmarks import skills
        from benchmarks.learning import STAGED
        from benchmarks.learning_report import plot
        from benchmarks.learning_report import table
        files = {name: file for name, _, file in (pair.partition('=')
                                                  for pair in offline_tasks.split(','))}
        rows = skills.run(
            seeds=seeds_of(seeds), steps=steps, jobs=jobs, out=out, offline_tasks=files, data=data,
            methods=_named(methods, skills.ONLINE), demonstrations=demonstrations,
            offline_methods=_named(offline_methods, skills.OFFLINE),
            evaluate_every=evaluate_every or max(500, steps // 20), evaluation_episodes=episodes,
            training=training, overrides=overrides_of(change or []),
            say=lambda line: typer.echo(line, err=True))
        online, offline = ([row for row in rows if row['phase'] == phase]
                           for phase in ('online', 'offline'))
        shown = Console(stderr=True)
        reference = 'SUPE' if any(row['method'] == 'supe' for row in online) else 'IQL'
        for part, name in ((online, reference), (offline, 'IQL')):
            if part:
                shown.print(table(part, name))
        found = skills.goals(rows)
        for goal in found:
            measured = 'never' if goal['measured'] is None else f'{goal["measured"]:.1f}'
            typer.echo(f'{"met" if goal["met"] else "missed"}: {goal["task"]}: {goal["goal"]}: '
                       f'{measured}, wanted {goal["wanted"]:.1f}', err=True)
        if online:
            plot(online, STAGED, out / 'staged.png', reference)
        write_json(out / 'curves.json', rows)
        write_json(out / 'goals.json', found)
        write_json(json, rows)
        report([{key: value for key, value in row.items() if key != 'curve'} for row in rows],
               None)


def _named(names: str, known: tuple[str, ...]) -> list[str]:
    """Return the methods that an option names; raises ValueError for an unknown one."""
    if names in ('all', 'none'):
        return list(known) if names == 'all' else []
    found = names.split(',')
    for name in found:
        if name not in known:
            raise ValueError(f'method {name!r}: none of {", ".join(known)}')
    return found
