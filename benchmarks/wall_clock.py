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

"""Seconds of training until a return is reached: ours (with pretraining) and peers."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
import hashlib
import json
import multiprocessing
import os
from pathlib import Path
import shutil
import statistics
import subprocess
import time
from typing import Any

import numpy as np

from benchmarks.learning import changes_of
from benchmarks.learning import Job
from benchmarks.learning import REACH
from benchmarks.peer_environments import how_to_make
from benchmarks.peer_environments import PeerError
from benchmarks.peer_environments import PINS
from benchmarks.peer_environments import python_of
from benchmarks.peer_environments import SCRIPTS
from spaars_ros.interrupts import die_with_parent
from spaars_ros.robot.config import PACKAGE
from spaars_ros.training_file import load_training

REFERENCES = {REACH: -40.0, 'Hopper-v5': 2000.0}
"""Task -> mean return to reach; at -40, the arm holds about 70 % of the targets."""
SCRIPTS_OF = {'sbx': 'train_to_sbx.py', 'sb3': 'train_to_sb3.py', 'd3rlpy': 'train_to_d3rlpy.py'}
OFFLINE = 25_000
"""Offline updates of d3rlpy's IQL; as many as in our locomotion training file."""
STEPS = 10**7
"""Environment steps of our run; large enough that the budget ends it."""


def run(*, tasks: dict[str, str], budget: float, seeds: list[int], jobs: int, out: Path,
        peers: Path, references: dict[str, float] | None = None, every: int = 1000,
        methods: tuple[str, ...] = ('spaars', *SCRIPTS_OF), training: str = '', hold: int = 1,
        overrides: dict[str, Any] | None = None,
        say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """
    Return `rows`, one per task, method and seed, and `summary`, one per task.

    Rows that are in `out` are not run again. Keys of a row: method, task, seed, reference (mean
    return over 10 evaluation episodes), budget (s), seconds (of training without evaluations;
    None if the budget ended first, or the peer is missing), steps (environment steps at the end),
    best (return), evaluations (list of dicts: steps, seconds, return_mean), note. The summary has
    the median seconds over seeds per method, and our time as a part of that of each peer. If a
    peer did not reach the reference, its budget counts as its time, and the part is an upper
    bound.

    :param tasks: `reach` or a Gymnasium id -> file of offline transitions
    :param budget: s of training per run
    :param peers: folder of the peer environments
    :param every: environment steps (offline: updates) between evaluations
    :param hold: number of consecutive evaluations whose mean has to reach the reference; a single
        one may reach it by luck, since returns of offline policies vary by more than half of it
    :param overrides: settings that override our training file
    :raises ValueError: an unknown method, or a task without reference or data
    :raises PeerError: a script failed
    """
    for method in methods:
        if method != 'spaars' and method not in SCRIPTS_OF:
            raise ValueError(f'method {method!r}: none of {["spaars", *SCRIPTS_OF]}')
    known = {**REFERENCES, **(references or {})}
    for task, data in tasks.items():
        if task not in known:
            raise ValueError(f'{task}: no reference return; give --reference {task}=RETURN')
        if task != REACH and not Path(data).is_file():
            raise ValueError(f'{task}: no data file {data!r}; give --tasks {task}=FILE')
    out.mkdir(parents=True, exist_ok=True)
    wanted = [(task, method, seed) for task in tasks for seed in seeds for method in methods]

    def row(item: tuple[str, str, int]) -> dict[str, Any]:
        task, method, seed = item
        made = _row(method, task=task, data=tasks[task], seed=seed, reference=known[task],
                    budget=budget, every=every, hold=hold, training=training, out=out,
                    peers=peers, overrides=overrides or {})
        if say is not None:
            took = 'not reached' if made['seconds'] is None else f'{made["seconds"]:.0f} s'
            say(f'{task}, {method}, seed {seed}: {took} {made["note"]}'.rstrip())
        return made

    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(row, wanted))
    return {'rows': rows, 'summary': [_summary(task, rows) for task in tasks]}


def _row(method: str, *, task: str, data: str, seed: int, reference: float, budget: float,
         every: int, hold: int, training: str, out: Path, peers: Path,
         overrides: dict[str, Any]) -> dict[str, Any]:
    # The row of a peer does not depend on our settings, and takes minutes to run again.
    changes = {**(overrides if method == 'spaars' else {}), **changes_of('spaars')}
    job = Job(task=task, data=data, method='spaars', seed=seed, steps=STEPS, evaluate_every=every,
              evaluation_episodes=10, overrides=tuple(changes.items()),
              training=training or ('spaars' if task == REACH else 'locomotion'))
    settings = json.dumps([job.name, method, reference, budget, every, OFFLINE,
                           PINS.get(method, 'evaluated offline too'),
                           *([hold] if hold > 1 else [])])
    name = f'{task}_{method}_{seed}_{hashlib.sha256(settings.encode()).hexdigest()[:12]}'
    path = out / f'{name}.json'.replace('/', '-')
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text())
        return row
    row = {'method': method, 'task': task, 'seed': seed, 'reference': reference,
           'budget': budget, 'seconds': None, 'steps': None, 'best': None, 'evaluations': [],
           'note': ''}
    if method == 'spaars':
        evaluations = _ours(job, budget, out / 'runs' / name)
    else:
        python = python_of(method, peers)
        if python is None:
            row['note'] = how_to_make(method, peers)
            return row
        evaluations = _theirs(method, python, job, budget, out)
    with evaluations as points:
        for point in points:
            row['evaluations'].append({key: point[key] for key in (
                'steps', 'seconds', 'return_mean')})
            row['steps'] = point['steps']
            row['best'] = max(point['return_mean'],
                              -np.inf if row['best'] is None else row['best'])
            last = [each['return_mean'] for each in row['evaluations'][-hold:]]
            if len(last) == hold and np.mean(last) >= reference and point['seconds'] <= budget:
                row['seconds'] = point['seconds']
                break
            if point['seconds'] >= budget:
                break
    path.write_text(json.dumps(row))
    return row


@contextmanager
def _ours(job: Job, budget: float, folder: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """Train from scratch in a separate process; yield an iterator over its evaluations."""
    shutil.rmtree(folder, ignore_errors=True)
    process = multiprocessing.get_context('spawn').Process(target=_train, args=(job, folder))
    process.start()
    began = time.monotonic()

    def points() -> Iterator[dict[str, Any]]:
        path, seen = folder / 'curve.jsonl', 0
        while True:
            alive = process.is_alive()
            # An incomplete line has no newline yet.
            text = path.read_text() if path.exists() else ''
            lines = text[:text.rfind('\n') + 1].splitlines()
            for line in lines[seen:]:
                yield json.loads(line)
            seen = len(lines)
            if not seen and time.monotonic() - began > budget:
                return  # still in the offline phase, without evaluations
            if not alive:
                raise PeerError(f'spaars on {job.task}, seed {job.seed}: the run ended early; '
                                f'see above')
            time.sleep(0.2)

    try:
        yield points()
    finally:
        process.terminate()
        process.join()


def _train(job: Job, folder: Path) -> None:
    die_with_parent()
    from spaars_ros.learning.gym.load_data import find_data
    from spaars_ros.learning.gym.trainer import Trainer
    from spaars_ros.sim.environments import REACH as REACH_ID
    env_id = REACH_ID if job.task == REACH else job.task
    training = load_training(job.training, **dict(job.overrides))
    Trainer(env_id, find_data(env_id, job.data, training), training=training, seed=job.seed,
            out=folder, steps=job.steps, evaluate_every=job.evaluate_every,
            evaluation_episodes=job.evaluation_episodes, evaluate_offline=job.evaluate_every).run()


@contextmanager
def _theirs(method: str, python: Path, job: Job, budget: float, out: Path
            ) -> Iterator[Iterator[dict[str, Any]]]:
    """Run the script of a peer; yield an iterator over its evaluations."""
    command = [str(python), str(SCRIPTS / SCRIPTS_OF[method]), f'--env={job.task}',
               f'--budget={budget}', f'--seed={job.seed}',
               f'--every={job.evaluate_every}', f'--episodes={job.evaluation_episodes}']
    if method == 'd3rlpy':
        command += [f'--data={_data_for(job, out)}', f'--offline={OFFLINE}']
    # A peer imports only the arm as a Gymnasium environment from this package.
    environment = {**os.environ, 'PYTHONPATH': str(PACKAGE.parent), 'OMP_NUM_THREADS': '1'}
    errors = out / f'{method}_{job.task}_{job.seed}.log'.replace('/', '-')
    with open(errors, 'w') as log:
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=log,
                                   env=environment, preexec_fn=die_with_parent)

    def points() -> Iterator[dict[str, Any]]:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        if process.wait():
            last = errors.read_text().strip().splitlines()[-1:]
            raise PeerError(f'{method} on {job.task}: {" ".join(last)} ({errors})')

    try:
        yield points()
    finally:
        process.kill()
        process.communicate()


def _data_for(job: Job, out: Path) -> Path:
    """Write the offline transitions of the task as .npz for the scripts of the peers."""
    from spaars_ros.data.dataset import Dataset
    from spaars_ros.learning.gym.load_data import find_data
    from spaars_ros.sim.environments import REACH as REACH_ID
    env_id = REACH_ID if job.task == REACH else job.task
    data = find_data(env_id, job.data, load_training(job.training, **dict(job.overrides)))
    assert data is not None
    if isinstance(data, Dataset):
        from spaars_ros.robot.config import load_robot
        from spaars_ros.tasks.registry import load_task
        from spaars_ros.tasks.registry import make_task
        rewards = make_task(load_robot(), load_task()).reward(
            *(np.asarray(values, np.float64)
              for values in (data.observations, data.actions, data.next_observations)))
    else:
        rewards = np.asarray(data.rewards, np.float64)
    path = out / f'{job.task}.npz'.replace('/', '-')
    partial = path.with_name(f'{job.task}.{job.seed}.part.npz'.replace('/', '-'))
    np.savez(partial, observations=np.asarray(data.observations, np.float32),
             actions=np.asarray(data.actions, np.float32),
             rewards=np.asarray(rewards, np.float32), terminations=data.terminations,
             truncations=data.truncations)
    partial.replace(path)
    return path


def _summary(task: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row['task'] == task]
    result: dict[str, Any] = {'task': task, 'reference': mine[0]['reference'],
                              'budget': mine[0]['budget']}
    for method in dict.fromkeys(row['method'] for row in mine):
        # A note means that the peer is missing; a run without evaluations used up its budget.
        ran = [row for row in mine if row['method'] == method and not row['note']]
        reached = [row['seconds'] for row in ran if row['seconds'] is not None]
        result[f'{method}_seconds'] = statistics.median(reached) \
            if reached and len(reached) == len(ran) else None
        result[f'{method}_reached'] = f'{len(reached)} of {len(ran)}'
        result[f'{method}_at_least'] = statistics.median(
            [row['budget'] if row['seconds'] is None else row['seconds'] for row in ran]) \
            if ran else None
    own = result.get('spaars_seconds')
    for method in SCRIPTS_OF:
        theirs = result.get(f'{method}_at_least')
        result[f'part_of_{method}'] = own / theirs if own is not None and theirs else None
    return result
