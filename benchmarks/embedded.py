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

"""Fine-tune a task of the arm in process: the work of the four nodes without ROS, one seed."""

from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fine_tuning import begin
from benchmarks.tables import write_table
from spaars_ros.constraints.episode_limits import EpisodeLimits
from spaars_ros.data.files import write_whole
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.run.sweep import interquartile_mean
from spaars_ros.sim.evaluate import EVALUATION_SEED
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.scoring import episodes_from_steps

WINDOW = 20
"""Episodes per mean cost."""


def run(*, task: str = 'reach', training: str = '', seed: int = 0, episodes: int = 150,
        evaluation_episodes: int = 50, budget: str = 'off',
        overrides: dict[str, Any] | None = None,
        say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """
    Pretrain, evaluate, fine-tune for `episodes` with multipliers, and evaluate again.

    Keys of the result: the arguments; `before` and `after` (success, cost, share of episodes
    within the limit, metrics); `training` (the same over all training episodes, share of held
    episodes, mean cost per `WINDOW` episodes, success of the last fifth).

    :param training: training file; '': the task's, else spaars
    :param budget: off, warn or hold; in training and in evaluations
    :param overrides: settings that override the training file
    """
    training = training or load_task(task).training or 'spaars'
    begun = begin(task, training, seed, overrides)
    robot, made, wanted, bundle, tuner = (begun.robot, begun.task, begun.training, begun.bundle,
                                          begun.tuner)

    def rollouts(of: Bundle, explore: bool) -> Rollouts:
        return Rollouts(PolicyRuntime(of), robot, made, explore=explore, budget=budget,
                        seed=seed if explore else EVALUATION_SEED)

    before = _scored(rollouts(bundle, False), made, evaluation_episodes)
    if say is not None:
        say(f'pretrained: {before["success"]:.0%}, cost {before["cost"]:.2f}')
    limits = EpisodeLimits(made.constraint_limits, robot.constraints, horizon=made.horizon,
                           gamma=wanted.gamma)
    online, scores = rollouts(bundle, True), list[dict[str, Any]]()
    for number in range(1, episodes + 1):
        rows = online.episode()
        for record in rows:
            tuner.add(record)
        score, = episodes_from_steps(online.schema, rows, made)
        scores.append(score)
        if len(made.constraint_limits):
            tuner.multipliers = limits.update(_costs(made, online, rows))
        while tuner.updates_owed:
            tuner.update()
        if tuner.bundle_due:
            online.loop.swap(PolicyRuntime(tuner.export()))
        if say is not None and number % WINDOW == 0:
            newest = _means(scores[-WINDOW:])
            say(f'episode {number}: {newest["success"]:.0%}, cost {newest["cost"]:.2f}, '
                f'{newest["within_limit"]:.0%} within the limit, raw {newest["raw_share"]:.0%}')
    after = _scored(rollouts(tuner.deployed(), False), made, evaluation_episodes)
    costs = [each['cost'] for each in scores]
    return {'task': task, 'training_file': training, 'seed': seed, 'episodes': episodes,
            'budget': budget, 'overrides': overrides or {}, 'before': before, 'after': after,
            'training': {**_means(scores), 'success_last_fifth': _means(
                scores[-max(1, episodes // 5):])['success'],
                'cost_windows': [float(np.mean(costs[at:at + WINDOW]))
                                 for at in range(0, len(costs), WINDOW)]}}


def run_seeds(seeds: Sequence[int], out: Path, *, task: str, **settings: Any
              ) -> list[dict[str, Any]]:
    """Return a row of `run` per seed; those kept in `out` are not run again."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in seeds:
        kept = out / f'{Path(task).stem}_{seed}.json'
        if not kept.exists():
            row = run(task=task, seed=seed, **settings)
            write_whole(kept, json.dumps(row, indent=1).encode())
        rows.append(json.loads(kept.read_text()))
    return rows


def write_rows(out: Path) -> None:
    """Write the documentation's table of all rows in a folder, one line per task."""
    rows = [json.loads(path.read_text()) for path in sorted(out.glob('*_*.json'))]

    def over(members: Sequence[dict[str, Any]], part: str, key: str) -> str:
        values = [100.0 * row[part][key] for row in members]
        mean, low, high = interquartile_mean(values)
        interval = '' if low is None or high is None else f' [{low:.0f}, {high:.0f}]'
        return f'{mean:.0f}{interval} ({", ".join(f"{value:.0f}" for value in values)})'
    lines, seeds = [], sorted({row['seed'] for row in rows})
    for task in dict.fromkeys(row['task'] for row in rows):
        members = [row for row in rows if row['task'] == task]
        lines.append([f'`{task}`', f'{members[0]["episodes"]}',
                      ', '.join(f'{row["seed"]}' for row in members),
                      over(members, 'before', 'success'), over(members, 'after', 'success'),
                      over(members, 'training', 'success'),
                      over(members, 'training', 'within_limit'),
                      over(members, 'after', 'within_limit')])
    write_table('tasks', ['task', 'episodes', 'seeds', 'pretrained, %', 'fine-tuned, %',
                          'training episodes, %', 'of them within the cost limit, %',
                          'fine-tuned within the limit, %'], lines, seeds=seeds,
                command='./run bench embedded --task TASK --seeds '
                + ','.join(map(str, seeds)) + ' --episodes N --table',
                note='success; interquartile mean over seeds [95 % bootstrap interval] (each '
                'seed)')


def _costs(task: Task, rollouts: Rollouts, rows: Any) -> Any:
    from spaars_ros.constraints.costs import transition_costs
    return transition_costs(task, task.robot.constraints, rollouts.schema, rows)


def _scored(rollouts: Rollouts, task: Task, episodes: int) -> dict[str, Any]:
    rows = np.concatenate([rollouts.episode() for _ in range(episodes)])
    return _means(episodes_from_steps(rollouts.schema, rows, task))


def _means(scores: list[dict[str, Any]]) -> dict[str, Any]:
    metrics = {name: float(np.nanmean([each['metrics'][name] for each in scores]))
               for name in scores[0]['metrics']}
    return {'success': float(np.mean([each['success'] for each in scores])),
            'cost': float(np.mean([each['cost'] for each in scores])),
            'within_limit': float(np.mean([each['cost'] <= each['limit'] for each in scores])),
            'held': float(np.mean([each['budget'] == 'held' for each in scores])),
            'raw_share': float(np.mean([each['raw_share'] for each in scores])),
            'metrics': metrics}
