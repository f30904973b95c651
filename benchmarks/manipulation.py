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

"""Methods on sparse-reward tasks of Meta-World from demonstrations, with one training file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from benchmarks import learning
from benchmarks.learning import SHARES
from benchmarks.metaworld_tasks import DEMONSTRATIONS
from benchmarks.metaworld_tasks import demonstrations
from benchmarks.metaworld_tasks import env_id
from benchmarks.tables import write_table
from spaars_ros.run.workers import Workers

TASKS = tuple(DEMONSTRATIONS)
METHODS = ('spaars', 'spaars:no-champion', 'spaars:no-floor', 'spaars:shared-heads',
           'spaars:raw-climbs', 'spaars:latent-only', 'spaars:raw-only', 'iql', 'rlpd', 'bc')
TRAINING = 'manipulation'
RESAMPLED = 5000


def run(*, tasks: list[str], methods: list[str], seeds: list[int], steps: int, jobs: int,
        out: Path, evaluate_every: int = 2500, evaluation_episodes: int = 20,
        overrides: dict[str, Any] | None = None, say: Callable[[str], None] | None = None,
        finished: bool = False, workers: Workers | None = None) -> list[dict[str, Any]]:
    """Return the rows of `learning.run`; `task` is the name in Meta-World, `score` the return."""
    out.mkdir(parents=True, exist_ok=True)
    data = {}
    for task in tasks:
        path = out / f'{task}.npz'
        if not path.exists():
            demonstrations(task, path, say=say)
        data[env_id(task)] = str(path)
    rows = learning.run(tasks=data, methods=methods, seeds=seeds, steps=steps, jobs=jobs, out=out,
                        evaluate_every=evaluate_every, training=TRAINING, overrides=overrides,
                        evaluation_episodes=evaluation_episodes, say=say, finished=finished,
                        workers=workers)
    names = {env_id(task): task for task in tasks}
    return [{**row, 'task': names[row['task']]} for row in rows]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Return the measures per task and method, and per method over all tasks.

    Keys: task ('all' for all tasks), method, seeds, and success measures in percent: pretrained,
    final, area (mean over the evaluations), training (in training episodes), below (largest drop
    of an evaluation below that of the pretrained policy), lost (best evaluation minus the last).
    Each is [interquartile mean over seeds, lower and upper end of its 95 % interval], from a
    bootstrap stratified by task.
    """
    found = []
    methods = list(dict.fromkeys(row['method'] for row in rows))
    tasks = list(dict.fromkeys(row['task'] for row in rows))
    for method in methods:
        for task in (*tasks, *(['all'] if len(tasks) > 1 else [])):
            strata = [[row for row in rows if row['method'] == method and row['task'] == name]
                      for name in tasks if task in (name, 'all')]
            strata = [members for members in strata if members]
            if not strata:
                continue
            found.append({'task': task, 'method': method,
                          'seeds': sorted({row['seed'] for each in strata for row in each}),
                          **{name: interquartile([np.array([measure(row) for row in members])
                                                  for members in strata])
                             for name, measure in MEASURES.items()}})
    return found


def trained(row: dict[str, Any]) -> float:
    """Return the mean success of the training episodes, over all windows, in %; NaN if none."""
    windows = [point['success_training'] for point in row['curve'][1:]
               if point.get('success_training') is not None]
    return 100.0 * float(np.mean(windows)) if windows else float('nan')


def successes(row: dict[str, Any]) -> NDArray[np.float64]:
    """Return the success rates (m,) of the evaluations of a run, in %."""
    return 100.0 * np.array([point['success'] for point in row['curve']], np.float64)


MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {
    'pretrained': lambda row: float(successes(row)[0]),
    'final': lambda row: float(successes(row)[-1]),
    'area': lambda row: float(successes(row).mean()),
    'below': lambda row: float((successes(row)[0] - successes(row)).max()),
    'lost': lambda row: float(successes(row).max() - successes(row)[-1]),
    'training': lambda row: trained(row)}


def interquartile(strata: list[NDArray[np.float64]]) -> list[float]:
    """Return the interquartile mean, and both ends of its stratified 95 % interval."""
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.choice(values, (RESAMPLED, len(values))) for values in strata], 1)
    means = trim_mean(drawn, 0.25, axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(trim_mean(np.concatenate(strata), 0.25)), float(low), float(high)]


def tables(rows: list[dict[str, Any]], command: str, note: str = '') -> None:
    """Write the tables of docs/results/manipulation.md: the measures, and curves."""
    seeds = sorted({row['seed'] for row in rows})
    found = summary(rows)
    write_table('manipulation', [
        'task', 'method', 'seeds', 'pretrained, %', 'at the end', 'area', 'training episodes',
        'most below the pretrained', 'best less last'], [
            [each['task'], each['method'], len(each['seeds']), *(
                _interval(each[name]) for name in ('pretrained', 'final', 'area', 'training',
                                                   'below', 'lost'))] for each in found],
        command=command, seeds=seeds, note=note)
    for name, value, what in (
            ('curves', lambda point: _percent(point['success']), 'success of each evaluation'),
            ('training', lambda point: _percent(point.get('success_training')),
             'success of the training episodes since the last evaluation'),
            ('shares', lambda point: '/'.join(_percent(point.get(each)) for each in SHARES),
             'actions of the pretrained, the latent and the raw candidate since the last '
             'evaluation, in training and evaluations')):
        _write_curves(f'manipulation-{name}', rows, value, command=command, seeds=seeds,
                      note=f'{what}, %, a number a seed')


def _write_curves(name: str, rows: list[dict[str, Any]], value: Callable[[dict[str, Any]], str],
                  *, command: str, seeds: list[int], note: str) -> None:
    """Write a table of `value` at each evaluation, for each task and method that has it."""
    # Rounded down to 500: an evaluation comes at the end of an episode.
    steps = [f'{point["steps"] // 500 * 500:,} steps'
             for point in max((row['curve'] for row in rows), key=len)]
    lines = []
    for task, method in dict.fromkeys((row['task'], row['method']) for row in rows):
        columns = zip(*([value(point) for point in row['curve']] for row in rows
                        if (row['task'], row['method']) == (task, method)))
        cells = [', '.join(column) for column in columns]
        if any(set(cell) - set('-/, ') for cell in cells):
            lines.append([task, method, *cells, *['-'] * (len(steps) - len(cells))])
    if lines:
        write_table(name, ['task', 'method', *steps], lines, command=command, seeds=seeds,
                    note=note)


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100.0 * value:.0f}'


def _interval(values: list[float]) -> str:
    if not np.isfinite(values[0]):
        return '-'
    return f'{values[0]:.0f} ({values[1]:.0f} to {values[2]:.0f})'
