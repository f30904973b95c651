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

"""Lower the cost limit of an arm during learning, and measure whether its cost follows."""

from collections.abc import Callable
import json
from pathlib import Path
import time
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import load_robot
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

WINDOW = 10
"""Episodes in the mean cost that is compared with the limit."""
FOLLOWS = 20
"""Episodes after the change in which the cost may be above the new limit."""


def run(*, seed: int, episodes: int = 150, change_at: int = 100, factor: float = 0.5,
        out: Path = Path('runs/bench_operator'), robot: str = 'panda', task: str = 'reach',
        training: str = 'spaars', bundle: str = '', say: Callable[[str], None] | None = None
        ) -> dict[str, Any]:
    """
    Fine-tune in one process; multiply the first constraint's limit by `factor` on the way.

    Write `operator_seed<seed>.png` and `.json` to `out`. Keys: seed, episodes, change_at,
    limit_before, limit_after, cost_before (mean of the last 20 episodes at the old limit),
    cost_after (mean of all episodes from the 20th at the new limit on), windows_under (share of
    the 10-episode means in these episodes that are within the new limit), multiplier_before,
    multiplier_at_change (right after the change; equal if there is no jump),
    multiplier_max_after, followed (episodes from the change until the 10-episode mean stays
    within the new limit; None: never), first_under (until it is within for the first time),
    success_before and success_after (rate over the 20 episodes before the change, and over the
    last 20), tip_error_before and tip_error_after (m, over the same), seconds, curve (lists over
    episodes). To separate the effect of the limit from chance, compare with a run with `factor` 1
    and the same seed, which is identical up to the change.

    :param change_at: number of the first episode at the new limit
    :param bundle: pretrained bundle with learner tensors; '' pretrains one
    :raises ValueError: `change_at` is not within the episodes, or the robot has no constraint
    """
    import torch

    from spaars_ros.constraints.costs import transition_costs
    from spaars_ros.constraints.episode_limits import EpisodeLimits
    from spaars_ros.data.dataset import load_dataset
    from spaars_ros.learning.online.finetuner import FineTuner
    from spaars_ros.learning.online.pretrain import pretrain
    from spaars_ros.policy.bundle import Bundle
    from spaars_ros.policy.bundle import load_bundle
    from spaars_ros.policy.runtime import check_bundle
    from spaars_ros.policy.runtime import PolicyRuntime
    from spaars_ros.robot.resources import resolve
    from spaars_ros.sim.evaluate import Rollouts
    from spaars_ros.tasks.scoring import episodes_from_steps

    if not 0 < change_at < episodes:
        raise ValueError(f'--change-at {change_at}: has to lie within the {episodes} episodes')
    torch.set_num_threads(1)
    began = time.monotonic()
    arm = load_robot(robot)
    reach = make_task(arm, load_task(task))
    if not len(reach.constraint_limits):
        raise ValueError(f'robot file {robot!r} has no constraint whose limit could change')
    settings = load_training(training)
    dataset = load_dataset(resolve(settings.demonstrations), arm, reach)
    start = load_bundle(Path(bundle)) if bundle else pretrain(arm, reach, settings, dataset,
                                                              seed=seed)

    def runtime(pushed: Bundle) -> PolicyRuntime:
        return check_bundle(pushed, arm, task=reach.name,
                            observation_dim=reach.observation_dim, spec=reach.spec)

    tuner = FineTuner(start, robot=arm, task=reach, training=settings, demonstrations=dataset,
                      seed=seed)
    rollouts = Rollouts(runtime(start), arm, reach, seed=seed, explore=True)
    limits = EpisodeLimits(reach.constraint_limits, arm.constraints,
                           horizon=reach.horizon, gamma=settings.gamma)
    first = limits.controllers[0]
    old, new = first.limit, factor * first.limit
    kick = (0.0, 0.0)
    scores: list[dict[str, Any]] = []
    for episode in range(episodes):
        if episode == change_at:
            before = first.value
            first.set_limit(new)
            kick = before, first.value
        rows = rollouts.episode()
        score = episodes_from_steps(tuner.schema, rows, reach)[-1]
        tuner.multipliers = limits.update(transition_costs(reach, arm.constraints, tuner.schema,
                                                           rows))
        scores.append({**score, 'limit': first.limit, 'multiplier': first.value})
        if say is not None and (episode + 1) % 10 == 0:
            say(f'episode {episode + 1}: cost {_mean(scores, "cost", WINDOW):.1f} of '
                f'{first.limit:g}, multiplier {first.value:.2f}')
        for row in rows:
            tuner.add(row)
        while tuner.updates_owed:
            tuner.update()
        if tuner.bundle_due:
            rollouts.loop.swap(runtime(Bundle.from_bytes(tuner.export().to_bytes())))

    old_scores = scores[:change_at]
    result = {
        'seed': seed, 'episodes': episodes, 'change_at': change_at, 'limit_before': old,
        'limit_after': new, **response(np.asarray([score['cost'] for score in scores]),
                                       change_at, new),
        'multiplier_before': kick[0], 'multiplier_at_change': kick[1],
        'multiplier_max_after': max(score['multiplier'] for score in scores[change_at:]),
        **{f'{key}_{when}': _mean(part, key, 20) for key in ('success', 'tip_error')
           for when, part in (('before', old_scores), ('after', scores))},
        'seconds': time.monotonic() - began,
        'curve': {key: [score[key] for score in scores] for key in (
            'cost', 'limit', 'multiplier', 'success', 'tip_error', 'return')}}
    out.mkdir(parents=True, exist_ok=True)
    (out / f'operator_seed{seed}.json').write_text(json.dumps(result))
    (out / f'operator_seed{seed}.png').write_bytes(plot(result))
    return result


def _mean(scores: list[dict[str, Any]], key: str, last: int) -> float:
    return float(np.mean([score[key] for score in scores[-last:]]))


def response(cost: Array, change_at: int, limit: float) -> dict[str, Any]:
    """
    Return cost_before, cost_after, windows_under, followed and first_under, see `run`.

    The first nine means after the change include episodes before it.

    :param cost: cost (m,) of all episodes
    :param change_at: number of the first episode at the new limit
    """
    means = np.asarray([cost[max(0, i - WINDOW + 1):i + 1].mean()
                        for i in range(change_at, len(cost))])
    within = np.flatnonzero(means <= limit)
    over = np.flatnonzero(means > limit)
    stays = 0 if not len(over) else int(over[-1]) + 1
    late = min(FOLLOWS, len(means) - 1)
    return {
        'cost_before': float(cost[max(0, change_at - FOLLOWS):change_at].mean()),
        'cost_after': float(cost[change_at + late:].mean()),
        'windows_under': float((means[late:] <= limit).mean()),
        'followed': stays + 1 if stays < len(means) else None,
        'first_under': int(within[0]) + 1 if len(within) else None}


def plot(result: dict[str, Any]) -> bytes:
    """Return a PNG: cost per episode, its 10-episode mean and the limit; multiplier below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from spaars_ros.run import plots

    curve, change = result['curve'], result['change_at']
    x = np.arange(len(curve['cost']))
    figure = Figure(figsize=(6.4, 4.6), layout='constrained')
    FigureCanvasAgg(figure)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    top.plot(x, curve['cost'], '.', color=plots.BLUE, alpha=0.4, label='episode')
    top.plot(x, plots.moving_mean(curve['cost'], WINDOW), color=plots.BLUE, linewidth=2.0,
             label=f'mean of {WINDOW}')
    top.step(x, curve['limit'], where='mid', color=plots.RED, linestyle='--', label='limit')
    top.set_ylabel('cost per episode')
    top.set_ylim(0.0, 1.05 * max(*curve['cost'], result['limit_before'], 1.0))
    top.legend(frameon=False, loc='upper right', ncols=3)
    below.plot(x, curve['multiplier'], color=plots.VIOLET, linewidth=1.6)
    below.set_ylabel('multiplier')
    below.set_ylim(bottom=0.0)
    below.set_xlabel('episode')
    for axes in (top, below):
        axes.axvline(change - 0.5, color=plots.SOFT, linewidth=0.8)
        axes.grid(color=plots.GRID, linewidth=0.7)
        axes.spines[['top', 'right']].set_visible(False)
    if result['followed'] is not None:
        at = change + result['followed'] - 1
        top.axvline(at, color=plots.GREEN, linewidth=0.8, linestyle=':')
        top.annotate(f'within it for good after {result["followed"]}', (at, 1.0), (-4, -30),
                     xycoords=('data', 'axes fraction'), textcoords='offset points', ha='right',
                     color=plots.GREEN, fontsize=8)
    return plots.to_png(figure)
