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

"""Fine-tuning over seeds and modes, one process per run: the same classes, without ROS."""

from collections.abc import Callable
import hashlib
import json
from pathlib import Path
import time
from typing import Any

import numpy as np

from spaars_ros.robot.config import load_robot
from spaars_ros.run.sources import source_digest
from spaars_ros.run.workers import Workers
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import for_task
from spaars_ros.training_file import load_training

WINDOW = 40
"""Episodes per window of `worst_40`, which must not be below the pretrained success."""


def run(*, seeds: list[int], modes: list[str], episodes: int = 150, jobs: int = 2,
        out: Path = Path('runs/bench_finetune'), evaluation_episodes: int = 50,
        robot: str = 'panda', task: str = 'reach', training: str = 'spaars',
        say: Callable[[str], None] | None = None,
        workers: Workers | None = None) -> list[dict[str, Any]]:
    """
    Return a row per mode and seed; rows that are in `out` are not run again.

    Keys of a row: method, algorithm, task, seed, success_before, success_explored_before,
    success_after, metrics (name -> before, after, explored_before and worst_40, the worst mean
    over 40 consecutive training episodes, each in the unit of the metric; flat metrics also as
    <name>_before and so on), cost_before, cost_after, cost_training, cost_first_fifth and
    cost_last_fifth (per episode), cost_limit, within_limit (share of the training episodes),
    within_limit_after (share of the last evaluation), worst_40 (lowest success over 40
    consecutive training episodes), raw_share, steps, seconds, curve (name -> list over episodes).

    :param say: called with a line per finished row
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = [(mode, seed, episodes, out, evaluation_episodes, robot, task, training)
              for seed in seeds for mode in modes]
    for mode in modes:
        load_training(training, mode=mode)  # a wrong mode fails here and not in a worker
    rows = {}
    for each, row in (workers or Workers(jobs)).each(_row, wanted):
        if isinstance(row, Exception):
            raise row
        rows[each] = row
        if say is not None:
            say(_line(row))
    return [rows[each] for each in wanted]


def _line(row: dict[str, Any]) -> str:
    return (f'{row["method"]:11s} seed {row["seed"]}: success {row["success_before"]:.0%} -> '
            f'{row["success_after"]:.0%}, ' + ''.join(
                f'{name.replace("_", " ")} {each["before"]:.4g} -> {each["after"]:.4g} '
                f'{each["unit"]}, '.replace(' ,', ',') for name, each in row['metrics'].items())
            + f'cost {row["cost_training"]:.2f} in training, '
            f'{row["cost_last_fifth"]:.2f} in its last fifth, {row["seconds"]:.0f} s')


def _row(wanted: tuple[Any, ...]) -> dict[str, Any]:
    mode, seed, episodes, out = wanted[:4]
    path = Path(out) / f'{mode}_{seed}_{episodes}_{_digest(*wanted[4:])}.json'
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text())
        return row
    row = fine_tune(*wanted)
    path.write_text(json.dumps(row))
    return row


def _digest(*settings: Any) -> str:
    """Return a digest of files and code, to detect stale rows."""
    evaluation_episodes, robot, task, training = settings
    parts = [source_digest(Path(__file__).parent), str(evaluation_episodes),
             load_robot(robot).model_dump_json(exclude={'source'}),
             load_task(task).model_dump_json(), load_training(training).model_dump_json()]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def fine_tune(mode: str, seed: int, episodes: int, out: Path, evaluation_episodes: int,
              robot_name: str, task_name: str, training_name: str) -> dict[str, Any]:
    """Pretrain, evaluate, fine-tune and evaluate again; return one row of `run`."""
    import torch

    from spaars_ros.constraints.costs import transition_costs
    from spaars_ros.constraints.episode_limits import EpisodeLimits
    from spaars_ros.data.dataset import load_dataset
    from spaars_ros.learning.online.finetuner import FineTuner
    from spaars_ros.learning.online.pretrain import pretrain
    from spaars_ros.policy.bundle import Bundle
    from spaars_ros.policy.bundle import load_bundle
    from spaars_ros.policy.bundle import save_bundle
    from spaars_ros.policy.runtime import check_bundle
    from spaars_ros.policy.runtime import PolicyRuntime
    from spaars_ros.robot.resources import resolve
    from spaars_ros.sim.evaluate import evaluate
    from spaars_ros.sim.evaluate import Rollouts
    from spaars_ros.tasks.scoring import episodes_from_steps

    torch.set_num_threads(1)
    began = time.monotonic()
    robot = load_robot(robot_name)
    task = make_task(robot, load_task(task_name))
    training = for_task(load_training(training_name, mode=mode), task.action_dim,
                        task.settings.demonstrations)
    dataset = load_dataset(resolve(training.demonstrations), robot, task)
    digest = _digest(evaluation_episodes, robot_name, task_name, training_name)
    acts = 'raw' if mode == 'raw-only' else 'latent'
    start = out / f'pretrained_{acts}_{seed}_{digest}.spaars'
    if not start.exists():
        save_bundle(pretrain(robot, task, training, dataset, seed=seed), start)
    bundle = load_bundle(start)
    before = evaluate(bundle, robot, task, episodes=evaluation_episodes)
    noisy = evaluate(bundle, robot, task, episodes=evaluation_episodes, explore=True)

    def runtime(pushed: Bundle) -> PolicyRuntime:
        return check_bundle(pushed, robot, task=task.name,
                            observation_dim=task.observation_dim, spec=task.spec)

    tuner = FineTuner(bundle, robot=robot, task=task, training=training,
                      demonstrations=dataset, seed=seed)
    rollouts = Rollouts(runtime(bundle), robot, task, seed=seed, explore=True)
    limits = EpisodeLimits(task.constraint_limits, robot.constraints,
                           horizon=task.horizon, gamma=training.gamma)
    scores: list[dict[str, Any]] = []
    for _ in range(episodes):
        rows = rollouts.episode()
        tuner.multipliers = limits.update(transition_costs(task, robot.constraints, tuner.schema,
                                                           rows))
        scores += episodes_from_steps(tuner.schema, rows, task)
        scores[-1]['multiplier'] = float(tuner.multipliers[0])
        for row in rows:
            tuner.add(row)
        while tuner.updates_owed:
            tuner.update()
        if tuner.bundle_due:
            rollouts.loop.swap(runtime(Bundle.from_bytes(tuner.export().to_bytes())))
    final = tuner.deployed()
    save_bundle(final, out / f'{mode}_{seed}_{episodes}_{digest}.spaars')
    after = evaluate(final, robot, task, episodes=evaluation_episodes)
    success = np.asarray([score['success'] for score in scores], dtype=float)
    windows = [success[i:i + WINDOW].mean() for i in range(max(1, len(success) - WINDOW + 1))]
    cost = np.asarray([score['cost'] for score in scores])
    metrics = {}
    for spec in task.spec.metrics:
        values = np.asarray([score['metrics'][spec.name] for score in scores])
        means = [values[i:i + WINDOW].mean() for i in range(max(1, len(values) - WINDOW + 1))]
        metrics[spec.name] = {
            'before': before['metrics'][spec.name], 'after': after['metrics'][spec.name],
            'explored_before': noisy['metrics'][spec.name], 'unit': spec.unit,
            'worst_40': float(max(means) if spec.better == 'lower' else min(means))}
    flat = [spec.name for spec in task.spec.metrics if spec.flat]
    return {
        'method': mode, 'algorithm': training.algorithm, 'task': task_name, 'seed': seed,
        'success_before': before['success'], 'success_explored_before': noisy['success'],
        'success_after': after['success'], 'metrics': metrics,
        **{f'{name}_{when}': metrics[name][when] for name in flat
           for when in ('before', 'after', 'explored_before')},
        **{f'worst_40_{name}': metrics[name]['worst_40'] for name in flat},
        'cost_before': before['cost_mean'],
        'cost_after': after['cost_mean'], 'cost_training': float(cost.mean()),
        'cost_first_fifth': float(cost[:max(1, len(cost) // 5)].mean()),
        'cost_last_fifth': float(cost[-max(1, len(cost) // 5):].mean()),
        'within_limit': float((cost <= task.constraint_limits[0]).mean()),
        'within_limit_after': float(np.mean([each['cost'] <= each['limit']
                                             for each in after['episodes']])),
        'cost_limit': float(task.constraint_limits[0]), 'worst_40': float(min(windows)),
        'raw_share': after['raw_share'], 'steps': tuner.steps,
        'seconds': time.monotonic() - began,
        'curve': {key: [score[key] for score in scores] for key in (
            'return', 'success', 'cost', *flat, 'raw_share', 'multiplier')}}
