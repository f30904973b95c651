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

"""Methods x tasks x seeds with the trainer: one row per run, a table and curves."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any

import numpy as np

from spaars_ros.robot.config import load_robot
from spaars_ros.run.sources import source_digest
from spaars_ros.run.workers import Workers
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

REACH, STAGED = 'reach', 'staged'
"""Tasks of the arm; in `reach`, all methods use demonstrations, shaping and hindsight goals."""
ENVIRONMENTS = {REACH: 'SpaarsReach-v0', STAGED: 'SpaarsStaged-v0'}
TRAININGS = {REACH: 'spaars', STAGED: 'staged'}
METHODS: dict[str, dict[str, Any]] = {
    'bc': {'algorithm': 'bc'}, 'iql': {'algorithm': 'iql', 'champion': 0.0},
    'rlpd': {'algorithm': 'rlpd', 'heads': 10, 'utd': 4.0, 'champion': 0.0},
    'sac': {'algorithm': 'sac', 'champion': 0.0}, 'plas': {'algorithm': 'plas', 'champion': 0.0},
    'spaars': {}, 'spaars:no-champion': {'champion': 0.0},
    'spaars:latent-only': {'mode': 'latent-only'},
    'spaars:raw-only': {'mode': 'raw-only', 'raw_candidate': 'policy'},
    'spaars:no-bc': {'concurrent_bc': False}, 'spaars:no-plateau': {'plateau': False},
    'spaars:hard-switch': {'mode': 'hard-switch', 'raw_candidate': 'policy'},
    'spaars:no-floor': {'floor': False, 'latent_candidates': 0, 'raw_candidate': 'policy'},
    'spaars:raw-climbs': {'raw_candidate': 'policy'},
    'spaars:shared-heads': {'independent_targets': False, 'prior': 0.0, 'bootstrap': 1.0},
    'supe': {'algorithm': 'supe'},
    'spaars-supe': {'algorithm': 'spaars-supe', 'raw_candidate': 'policy'},
    'spaars-supe:no-gate': {'algorithm': 'spaars-supe', 'mode': 'latent-only',
                            'raw_candidate': 'policy'},
    'spar': {'algorithm': 'spar'}, 'spar:mlp': {'algorithm': 'spar', 'spar_projection': 'mlp'},
    'spar:proj': {'algorithm': 'spar', 'spar_projection': 'proj'},
    'td3-bc': {'algorithm': 'td3-bc'}}
"""
Method -> its changes of the training file; `spaars:k=N` is a method, too.

RLPD has ten heads, as published, and 4 updates per step instead of the published 20, which two
cores can afford.
"""


SHARES = ('share_pretrained', 'share_latent', 'share_raw')
"""Shares of the candidates in the actions since the last evaluation, for methods with a floor."""


@dataclass(frozen=True)
class Job:
    """One run, with everything that its row depends on."""

    task: str
    data: str
    method: str
    seed: int
    steps: int
    evaluate_every: int
    evaluation_episodes: int
    training: str
    """Training file: path or name."""
    overrides: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """Return the name of its files, with a digest of settings, data and code."""
        training = load_training(self.training, **dict(self.overrides))
        parts = [source_digest(Path(__file__).parent), training.model_dump_json(), str(self.steps),
                 str(self.evaluate_every), str(self.evaluation_episodes)]
        if self.task == REACH:
            parts += [load_robot().model_dump_json(exclude={'source'}),
                      load_task().model_dump_json()]
        if self.task == STAGED:
            parts.append(load_robot('panda_table').model_dump_json(exclude={'source'}))
        if self.data:
            path = Path(self.data)
            # Data sets are large: size and modification time identify a version.
            parts.append(f'{self.data} {path.stat().st_size} {path.stat().st_mtime_ns}'
                         if path.is_file() else self.data)
        digest = hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]
        name = f'{self.task}_{self.method}_{self.seed}_{digest}'
        return name.replace('/', '-').replace(':', '.')


def changes_of(method: str) -> dict[str, Any]:
    """Return the changes of the training file by a method; raises ValueError if unknown."""
    if method in METHODS:
        return {'algorithm': 'spaars', **METHODS[method]}
    prefix, _, number = method.partition('spaars:k=')
    if prefix or not number.isdigit() or int(number) < 1:
        raise ValueError(f'method {method!r}: none of {", ".join(METHODS)}, spaars:k=N')
    return {'algorithm': 'spaars', 'latent_dim': int(number)}


def run(*, tasks: dict[str, str], methods: list[str], seeds: list[int], steps: int, jobs: int,
        out: Path, evaluate_every: int = 5000, evaluation_episodes: int = 10,
        training: str = '', overrides: dict[str, Any] | None = None,
        say: Callable[[str], None] | None = None, finished: bool = False,
        workers: Workers | None = None) -> list[dict[str, Any]]:
    """
    Return a row per task, method and seed; rows that are in `out` are not run again.

    An interrupted run continues from its last checkpoint. Keys of a row: method, task, seed,
    score and score_offline (D4RL-normalised if D4RL has a reference, else the mean return; `unit`
    says which), reference (mean final score of fine-tuned IQL on the task; None without IQL in the
    table), steps_to_reference (environment steps of the first evaluation that reaches it and holds
    it in the mean, see `steps_to`; None if never), cost (per episode in the last evaluation),
    cost_limit, within_limit (None without a limit), success (None if the task has none), steps,
    updates, seconds, offline_seconds, curve (list of dicts: steps, seconds, score, return_mean,
    cost, success and more).

    :param tasks: `reach`, `staged` or a Gymnasium id -> file of offline transitions, '' for none
    :param training: training file; '' for spaars (`reach`), staged (`staged`) or locomotion
    :param finished: return the rows that are in `out`, and run nothing
    :param workers: used in place of `jobs` processes on this machine
    :raises ValueError: an unknown method, or a run failed (raised after all others are done)
    """
    if len(set(methods)) < len(methods) or len(set(seeds)) < len(seeds):
        raise ValueError(f'methods {methods}, seeds {seeds}: one is there twice')
    out.mkdir(parents=True, exist_ok=True)
    wanted = [
        Job(task=task, data=data, method=method, seed=seed, steps=steps,
            evaluate_every=evaluate_every, evaluation_episodes=evaluation_episodes,
            training=training or TRAININGS.get(task, 'locomotion'),
            overrides=tuple({**(overrides or {}), **changes_of(method)}.items()))
        for task, data in tasks.items() for seed in seeds for method in methods]
    for job in wanted:
        _check(job)
    if finished:
        wanted = [job for job in wanted if (out / f'{job.name}.json').exists()]
        if not wanted:
            raise ValueError(f'{out}: no run of these settings and this code is finished there')
    rows: dict[Job, dict[str, Any]] = {}
    failures = []
    # Seed by seed, so that an interrupted table has complete seeds.
    for job, row in (workers or Workers(jobs)).each(
            partial(row_of, out=out), sorted(wanted, key=lambda job: job.seed)):
        if isinstance(row, (ValueError, OSError, RuntimeError)):
            failures.append(f'{job.method} on {job.task}, seed {job.seed}: {row}')
            if say is not None:
                say(f'failed: {failures[-1]}')
            continue
        if isinstance(row, Exception):
            raise row
        rows[job] = row
        if say is not None:
            say(f'{len(rows)} of {len(wanted)}: {job.task}, {job.method}, seed {job.seed}: '
                f'{_text(row["score_offline"])} -> {_text(row["score"])} ({row["unit"]}), '
                f'{row["seconds"]:.0f} s')
    if failures:
        raise ValueError('; '.join(failures) + f' (the other rows are in {out})')
    ordered = [rows[job] for job in wanted]
    for task in tasks:
        compare_with([row for row in ordered if row['task'] == task])
    return ordered


def _check(job: Job) -> None:
    """Check a job, so that it fails here and not in a worker; raises ValueError."""
    training = load_training(job.training, **dict(job.overrides))
    needs_data = job.task != REACH and training.algorithm != 'sac'
    if needs_data and not job.data:
        raise ValueError(f'{job.method} starts from data: give --tasks {job.task}=FILE')
    if job.data and not job.data.startswith('minari:') and not Path(job.data).is_file():
        raise ValueError(f'{job.data}: no such file (data of {job.task})')


def row_of(job: Job, out: Path) -> dict[str, Any]:
    """Run a job and return its row; return the stored row if it was run before."""
    path = out / f'{job.name}.json'
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text())
        return row
    from spaars_ros.learning.gym.load_data import find_data
    from spaars_ros.learning.gym.trainer import Trainer
    env_id = ENVIRONMENTS.get(job.task, job.task)
    training = load_training(job.training, **dict(job.overrides))
    folder = out / 'runs' / job.name
    trainer = Trainer(env_id, find_data(env_id, job.data, training), training=training,
                      seed=job.seed, out=folder, steps=job.steps,
                      evaluate_every=job.evaluate_every,
                      evaluation_episodes=job.evaluation_episodes, compile_beside=False)
    try:
        summary = trainer.run()
    finally:
        trainer.close()
    row = _row(job, summary)
    partial = path.with_suffix('.part')
    partial.write_text(json.dumps(row))
    partial.replace(path)
    shutil.rmtree(folder)  # a checkpoint contains the complete replay
    return row


def _row(job: Job, summary: dict[str, Any]) -> dict[str, Any]:
    normalised = summary['score_final'] is not None
    curve = [{'steps': point['steps'], 'seconds': point['seconds'],
              'score': point['score'] if normalised else point['return_mean'],
              'return_mean': point['return_mean'], 'cost': point['cost_mean'],
              'success': point['success'],
              'success_explored': point.get('success_explored'), 'stalled': point.get('stalled'),
              'success_training': point.get('success_training'),
              'raw_share': point.get('raw_share_evaluated'),
              **{name: point[name] for name in SHARES if name in point}}
             for point in summary['curve']]
    limit = summary['cost_limit']
    return {
        'method': job.method, 'task': job.task, 'seed': job.seed, 'score': curve[-1]['score'],
        'score_offline': curve[0]['score'], 'unit': 'normalised' if normalised else 'return',
        'steps_to_reference': None, 'reference': None, 'cost': summary['cost_final'],
        'cost_limit': limit,
        'within_limit': None if limit is None else bool(summary['cost_final'] <= limit),
        'success': summary['success_final'], 'steps': summary['steps'],
        'updates': summary['updates'], 'seconds': summary['seconds'],
        'offline_seconds': summary['offline_seconds'], 'curve': curve}


def compare_with(rows: list[dict[str, Any]], method: str = 'iql') -> None:
    """Fill in `reference`, the mean final score of a method, and `steps_to_reference`."""
    finals = [row['score'] for row in rows if row['method'] == method]
    if not finals:
        return
    reference = float(np.mean(finals))
    for row in rows:
        row['reference'] = reference
        row['steps_to_reference'] = steps_to(row['curve'], reference)


def steps_to(curve: list[dict[str, Any]], reference: float) -> int | None:
    """
    Return the steps of the first evaluation that reaches and holds the reference; None if none.

    It holds the reference if the mean from this evaluation on is not below it. A single lucky
    evaluation does not count, and a single unlucky one later does not matter.
    """
    scores = [point['score'] for point in curve]
    for number, score in enumerate(scores):
        if score >= reference and float(np.mean(scores[number:])) >= reference:
            return int(curve[number]['steps'])
    return None


def _text(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'
