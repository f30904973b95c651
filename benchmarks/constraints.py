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

"""Return and cost against updates under a cost limit: Marvel, its ablations and baselines."""

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.constraint_start import offline_start
from benchmarks.constraint_tasks import ConstraintTask
from benchmarks.constraint_tasks import find_task
from benchmarks.constraint_tasks import offline_data
from spaars_ros.run.sources import source_digest
from spaars_ros.run.workers import Workers

Row = dict[str, Any]

WARM = {'marvel': (True, 'adaptive'), 'marvel:no-vpa': (False, 'adaptive'),
        'marvel:plain-pid': (True, 'plain'), 'marvel:neither': (False, 'plain')}
"""Method -> whether its values are aligned, and the PID of its multiplier."""
SCRATCH = ('sac-lagrangian', 'sac-pid')
METHODS = (*WARM, *SCRATCH, 'cpq')
TASKS = ('BallCircle', 'CarRun', 'reach')
REFERENCE = 'sac-lagrangian'
"""Method whose final return within the limit is the reference for the others."""
WARM_UP = 0.2
"""Share of a run's episodes that count as warm-up."""


def run(*, tasks: list[str], methods: list[str], seeds: list[int], out: Path, peers: Path,
        steps: int = 20_000, episodes: int = 100, jobs: int = 2, evaluate_every: int = 2000,
        evaluation_episodes: int = 5, rollouts: int = 20,
        settings: dict[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
        workers: Workers | None = None) -> dict[str, Any]:
    """
    Return `rows`, one per task, method and seed, and `alignment`, one per task and seed.

    Rows that are in `out` are not run again. Keys of a row: method, task, seed, score
    (normalised, null for the arm), return_final and cost_final (last evaluation), cost (mean over
    training episodes after the warm-up), within_limit (share of these episodes), cost_limit,
    steps, updates, offline_updates, seconds, steps_per_s, curve (evaluations), episodes (return,
    cost and multiplier of each), reference (mean final return of the from-scratch SAC-Lagrangian
    runs that end within the limit, or null), and steps_to_reference and updates_to_reference
    (online, at the first evaluation within the limit that reaches it; without offline_updates).

    :param steps: environment steps of each online run
    :param episodes: episodes of the scripted drivers for the tasks of bullet-safety-gym
    :param rollouts: rollouts for the Monte-Carlo returns of the alignment
    :param settings: settings that override config/training/marvel.yaml
    :raises ValueError: an unknown task or method, or a setting of the wrong type
    :raises PeerError: the environment with bullet-safety-gym is missing
    """
    for method in methods:
        if method not in METHODS:
            raise ValueError(f'method {method!r}: none of {list(METHODS)}')
    say = say or (lambda line: None)
    changes = settings or {}
    out.mkdir(parents=True, exist_ok=True)
    for name in tasks:
        task = find_task(name, peers)
        # A wrong key fails here and not in a worker.
        task.training('marvel', **{**task.warm, **changes})
        offline_data(task, peers, out, episodes=episodes)
    common = (out, peers, episodes, evaluation_episodes, rollouts, changes)
    pairs = [(name, seed, *common) for name in tasks for seed in seeds]
    runs = [(name, seed, method, steps, evaluate_every, *common)
            for name in tasks for seed in seeds for method in methods]
    workers, starts = workers or Workers(jobs), []
    if any(method not in SCRATCH for method in methods):
        for start in _all(workers, _start, pairs,
                          lambda start: say(f'{start["env"]} seed {start["seed"]}: alignment '
                                            f'{start["alignment"]}')):
            starts.append({key: start[key] for key in ('env', 'seed', 'alignment')})
    rows = _all(workers, _row, runs, lambda row: say(_line(row)))
    _refer(rows)
    return {'rows': rows, 'alignment': starts}


def _all(workers: Workers, function: Callable[[Any], Row], jobs: Sequence[tuple[Any, ...]],
         done: Callable[[Row], None]) -> list[Row]:
    """Return the results in the order of the jobs; raise the exception of a failed job."""
    found: dict[int, Row] = {}
    for number, result in workers.each(partial(_numbered, function, jobs), range(len(jobs))):
        if isinstance(result, Exception):
            raise result
        found[number] = result
        done(result)
    return [found[number] for number in range(len(jobs))]


def _numbered(function: Callable[[Any], Row], jobs: Sequence[tuple[Any, ...]], number: int) -> Row:
    return function(jobs[number])  # settings are a dict, which cannot be a key


def _line(row: Row) -> str:
    within = row['within_limit']
    return (f'{row["task"]:10s} {row["method"]:16s} seed {row["seed"]}: return '
            f'{row["return_final"]:.1f}, cost {row["cost_final"]:.1f} of {row["cost_limit"]:g}, '
            + (f'{within:.0%} of episodes within, ' if within is not None else '')
            + f'{row["seconds"]:.0f} s')


def _digest(task: ConstraintTask, *parts: Any) -> str:
    """Return a digest of code and settings, to detect stale rows."""
    content = json.dumps([source_digest(Path(__file__).parent), task.name, task.limit, task.warm,
                          task.files, task.training('marvel').model_dump(exclude={'start'}),
                          parts],
                         sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _folder(task: ConstraintTask, seed: int, out: Path, *parts: Any) -> Path:
    return out / f'start_{task.name}_{seed}_{_digest(task, *parts)}'


def _start(wanted: tuple[Any, ...]) -> Row:
    name, seed, out, peers, episodes, evaluation_episodes, rollouts, changes = wanted
    task = find_task(name, peers)
    folder = _folder(task, seed, out, *wanted[4:])
    return offline_start(task, offline_data(task, peers, out, episodes=episodes), seed, folder,
                         changes, rollouts=rollouts, evaluation_episodes=evaluation_episodes)


def _row(wanted: tuple[Any, ...]) -> Row:
    from spaars_ros.learning.gym.trainer import Trainer
    (name, seed, method, steps, evaluate_every, out, peers, episodes, evaluation_episodes,
     rollouts, changes) = wanted
    task = find_task(name, peers)
    start = _folder(task, seed, out, *wanted[7:])
    if method == 'cpq':
        return _offline_row(task, seed, json.loads((start / 'offline.json').read_text()))
    folder = out / (f'{name}_{method.replace(":", "-")}_{seed}_'
                    f'{_digest(task, *wanted[3:5], *wanted[7:])}')
    path = folder / 'row.json'
    if path.exists():
        row: Row = json.loads(path.read_text())
        return row
    # A run from scratch does not learn from the data, but uses the same normalisation.
    data, offline_updates = offline_data(task, peers, out, episodes=episodes), 0
    own: dict[str, Any] = {}
    warm: dict[str, Any] = {}
    if method in WARM:
        warm, (aligned, multiplier) = task.warm, WARM[method]
        own = {'start': str(start / 'start.npz'), 'multiplier': multiplier,
               **({} if aligned else {'align_steps': 0})}
        offline = json.loads((start / 'offline.json').read_text())
        offline_updates = offline['updates'] + (offline['align_updates'] if aligned else 0)
    training = task.training(method.partition(':')[0], **{**warm, **changes, **own})
    trainer = Trainer(name, data, training=training, seed=seed, out=folder, steps=steps,
                      evaluate_every=evaluate_every, evaluation_episodes=evaluation_episodes,
                      make_env=task.make_env, cost_limit=task.limit)
    summary = trainer.run()
    trainer.close()
    lines = [json.loads(line) for line in (folder / 'episodes.jsonl').read_text().splitlines()]
    row = _make_row(task, method, seed, summary, lines, offline_updates)
    partial = folder / 'row.part'
    partial.write_text(json.dumps(row))
    os.replace(partial, path)
    return row


def _offline_row(task: ConstraintTask, seed: int, summary: Row) -> Row:
    return _make_row(task, 'cpq', seed, {**summary, 'updates': 0}, [], summary['updates'])


def _make_row(task: ConstraintTask, method: str, seed: int, summary: Row, lines: list[Row],
              offline_updates: int) -> Row:
    after = [line['cost'] for line in lines[int(WARM_UP * len(lines)):]]
    seconds = summary['seconds'] - summary['offline_seconds']
    return {
        'method': method, 'task': task.name, 'seed': seed,
        'score': task.score(summary['return_final']), 'return_final': summary['return_final'],
        'cost_final': summary['cost_final'], 'cost_limit': task.limit,
        'cost': float(np.mean(after)) if after else None,
        'within_limit': float(np.mean(np.asarray(after) <= task.limit)) if after else None,
        'reference': None, 'steps_to_reference': None, 'updates_to_reference': None,
        'steps': summary['steps'], 'updates': summary['updates'],
        'offline_updates': offline_updates, 'seconds': summary['seconds'],
        'steps_per_s': summary['steps'] / seconds if summary['steps'] else None,
        'curve': summary['curve'],
        'episodes': {'updates': [line['updates'] for line in lines],
                     **{key: [line[key] for line in lines]
                        for key in ('return', 'cost', 'multiplier')}}}


def _refer(rows: list[Row]) -> None:
    """Fill in the reference of each task, if a SAC-Lagrangian run ends within the limit."""
    for task in {row['task'] for row in rows}:
        of_task = [row for row in rows if row['task'] == task]
        finals = [row['return_final'] for row in of_task if row['method'] == REFERENCE
                  and row['cost_final'] <= row['cost_limit']]
        for row in of_task if finals else []:
            row['reference'] = float(np.mean(finals))
            reached = [point for point in row['curve']
                       if point['return_mean'] >= row['reference']
                       and point['cost_mean'] <= row['cost_limit']]
            if reached:
                row['steps_to_reference'] = reached[0]['steps']
                row['updates_to_reference'] = reached[0]['updates']
