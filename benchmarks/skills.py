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

"""Skills on the staged task online, and single-step policies offline: rows and goals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning import compare_with
from benchmarks.learning import run as run_learning
from benchmarks.learning import STAGED
from spaars_ros.data.transitions import save_transitions
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.staged_operator import collect_staged

ONLINE = ('spaars-supe', 'spaars-supe:no-gate', 'supe', 'rlpd', 'bc', 'iql')
OFFLINE = ('spar:mlp', 'spar:proj', 'spar', 'bc', 'iql', 'td3-bc')
REFERENCE = 'supe'
"""Method whose final score is the reference of `steps_to_reference`, as in the paper."""
PAPER_GAIN, PAPER_SPEED = 7.5, 5.0
"""
Published gain and speed-up of SPAARS-SUPE over SUPE on kitchen-mixed-v0.

The scores are 82.5 and 75, and the final score of SUPE is reached in a fifth of its steps (SPAARS,
arXiv 2603.09378, abstract and Fig. 1).
"""


def staged_data(out: Path, demonstrations: int) -> str:
    """Return the file of demonstrations of the staged task in `out`; make it if missing."""
    path = out / f'staged_{demonstrations}.npz'
    if not path.is_file():
        save_transitions(collect_staged(episodes=demonstrations, seed=0), path)
    return str(path)


def run(*, seeds: list[int], steps: int, jobs: int, out: Path, methods: list[str],
        offline_methods: list[str], offline_tasks: dict[str, str], data: str = '',
        demonstrations: int = 300, evaluate_every: int = 5000, evaluation_episodes: int = 10,
        training: str = '', overrides: dict[str, Any] | None = None,
        say: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """
    Return the rows of `benchmarks.learning.run`, with the key `phase`: online or offline.

    Online: `methods` on the staged task for `steps` environment steps. The reference is the mean
    final score of SUPE, if it is among them, else that of IQL, if it is. Offline:
    `offline_methods` on `offline_tasks`, with environment steps in evaluations only. The
    reference is the score of offline IQL. On the staged task, `cost_limit` is that of the robot
    file; it is compared with the cost, but no method enforces it.

    :param offline_tasks: `staged`, `reach` or a Gymnasium id -> file of transitions
    :param data: demonstrations of the staged task; '' makes `demonstrations` episodes
    :raises ValueError: an unknown method, missing data, or a failed run
    """
    out.mkdir(parents=True, exist_ok=True)
    if STAGED in offline_tasks or methods:
        data = data or staged_data(out, demonstrations)
    tasks = {task: file or (data if task == STAGED else '')
             for task, file in offline_tasks.items()}
    common: dict[str, Any] = {
        'seeds': seeds, 'jobs': jobs, 'out': out, 'evaluation_episodes': evaluation_episodes,
        'training': training, 'overrides': overrides, 'say': say}
    online = run_learning(tasks={STAGED: data}, methods=methods, steps=steps,
                          evaluate_every=evaluate_every, **common) if methods else []
    compare_with(online, REFERENCE)
    offline = run_learning(tasks=tasks, methods=offline_methods, steps=0, evaluate_every=1,
                           **common) if offline_methods and tasks else []
    rows = [{**row, 'phase': phase}
            for phase, found in (('online', online), ('offline', offline)) for row in found]
    limit = load_robot('panda_table').constraints[0].limit
    for row in rows:
        if row['task'] == STAGED:
            row['cost_limit'], row['within_limit'] = limit, bool(row['cost'] <= limit)
    return rows


def _mean(rows: list[dict[str, Any]], **wanted: str) -> float | None:
    scores = [row['score'] for row in rows
              if all(row[key] == value for key, value in wanted.items())]
    return float(np.mean(scores)) if scores else None


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Compare the rows with goals from the published results.

    Return one dict per goal whose methods are in the rows. Keys: goal (text), task, measured
    (None if never reached), wanted, met.
    """
    found = _online_goals([row for row in rows if row['phase'] == 'online'])
    for task in dict.fromkeys(row['task'] for row in rows if row['phase'] == 'offline'):
        means = {method: _mean(rows, phase='offline', task=task, method=method)
                 for method in OFFLINE}
        ours = [means[name] for name in ('spar', 'spar:mlp', 'spar:proj')
                if means[name] is not None]
        for method in ('bc', 'iql', 'td3-bc'):
            other = means[method]
            if ours and other is not None:
                found.append(_goal(f'the best SPAR ends no lower than {method}, offline', task,
                                   max(value for value in ours if value is not None), other))
    return found


def _online_goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    gated, supe = (_mean(rows, method=name) for name in ('spaars-supe', 'supe'))
    without = _mean(rows, method='spaars-supe:no-gate')
    found = []
    if gated is not None and supe is not None:
        found.append(_goal('SPAARS-SUPE ends 7.5 above SUPE (published: 82.5 against 75)', STAGED,
                           gated - supe, PAPER_GAIN))
        reached = [row['steps_to_reference'] for row in rows if row['method'] == 'spaars-supe']
        speed = None
        if all(steps is not None for steps in reached):
            last = np.mean([row['steps'] for row in rows if row['method'] == 'supe'])
            speed = float(last / max(1.0, float(np.mean(reached))))
        found.append(_goal("SPAARS-SUPE reaches SUPE's end in a fifth of its steps (published: "
                           '5 times faster)', STAGED, speed, PAPER_SPEED))
    if gated is not None and without is not None:
        found.append(_goal('the gate never lowers the end by more than 5 % of the score without',
                           STAGED, gated, 0.95 * without))
    return found


def _goal(text: str, task: str, measured: float | None, wanted: float) -> dict[str, Any]:
    return {'goal': text, 'task': task, 'measured': measured, 'wanted': wanted,
            'met': measured is not None and measured >= wanted}
