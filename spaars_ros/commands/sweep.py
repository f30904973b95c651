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
"""`spaars sweep`: every combination of settings and seeds, here or on a Ray cluster."""

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
  spaars sweep --env Hopper-v5 --data hopper-medium.npz --set utd=1,2 --seeds 0,1,2
  spaars sweep --env SpaarsReach-v0 --training spaars --set trust_start=0.1,0.3 --jobs 4
  spaars sweep --env Hopper-v5 --data /shared/hopper.npz --set batch=128,256 --out /shared/sweep \\
    --ray 10.0.0.5:6379

After an interruption, the same command continues; so does a run whose worker was killed.
"""
Ray = Annotated[str, typer.Option(
    metavar='ADDRESS', help='Ray cluster to run on; local: start one on this machine with --jobs '
    'CPUs.')]
Cpus = Annotated[float, typer.Option(min=0.0, help='CPUs of the cluster per run.')]
Gpus = Annotated[float, typer.Option(min=0.0, help='GPUs of the cluster per run.')]


def choices_of(changes: list[str]) -> dict[str, list[Any]]:
    """Return key -> values from KEY=A,B,C texts; raises ValueError that names a wrong one."""
    found: dict[str, list[Any]] = {}
    for change in changes:
        key, equals, text = change.partition('=')
        if not equals or not key or not all(text.split(',')):
            raise ValueError(f'--set {change}: expected KEY=VALUE,VALUE')
        if key in found:
            raise ValueError(f'--set {key}: given twice')
        found[key] = [overrides_of([f'{key}={value}'])[key] for value in text.split(',')]
    return found


def command(
    env: Annotated[str, typer.Option(help='Gymnasium id; SpaarsReach-v0 is the arm.')],
    data: Annotated[str, typer.Option(
        help='Offline transitions, as for spaars train; the arm has its own.')] = '',
    training: Annotated[str, typer.Option(
        help='Training file: path, or name of a shipped file.')] = 'locomotion',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE,VALUE that overrides the training file; may be '
        'repeated.')] = None,
    seeds: Annotated[str, typer.Option(help='Whole numbers, comma-separated.')] = '0',
    steps: Annotated[int, typer.Option(min=0, help='Environment steps per run.')] = 50_000,
    evaluate_every: Annotated[int, typer.Option(min=1, help='Steps between evaluations.')] = 5000,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 10,
    envs: Annotated[int, typer.Option(
        min=1, help='Parallel environments that each run explores.')] = 1,
    jobs: Annotated[int, typer.Option(min=1, help='Parallel runs, one thread each.')] = 2,
    ray: Ray = '',
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    out: Annotated[Path, typer.Option(
        help='Folder with one folder per combination; existing runs are '
        'continued.')] = Path('runs/sweep'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the rows here.')] = None,
) -> None:
    """Train every combination of settings with every seed, and tabulate the final returns."""
    with errors_as_one_line():
        from rich.console import Console
        from rich.table import Table

        from spaars_ros.run.sweep import grid
        from spaars_ros.run.sweep import sweep
        from spaars_ros.run.sweep import Trial
        from spaars_ros.run.workers import Workers
        from spaars_ros.training_file import load_training
        trials = [Trial(env, data, training, settings, seed, steps, evaluate_every,
                        evaluation_episodes, str(out), envs)
                  for settings in grid(choices_of(change or [])) for seed in seeds_of(seeds)]
        for trial in trials:
            load_training(training, **dict(trial.settings))  # fail for a wrong key before any run
        rows = sweep(trials, Workers(jobs, ray, cpus, gpus),
                     lambda line: typer.echo(line, err=True))
        table = Table('settings', 'seeds', 'return (mean between quartiles)', '95 % interval')
        for row in rows:
            interval = '-' if row['low'] is None else f'{row["low"]:.1f} to {row["high"]:.1f}'
            table.add_row(', '.join(f'{key}={value}' for key, value in row['settings'].items()),
                          str(len(row['seeds'])), f'{row["iqm"]:.1f}', interval)
        Console().print(table)
        write_json(out / 'sweep.json', rows)
        write_json(json, rows)
