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
"""Statements of SPAARS measured on networks for the arm: one fine-tuning run per seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

GAUSSIAN = ((1, 8), (2, 8), (4, 8), (8, 8), (8, 36))
"""Pairs (k, d) for which the variance lemma is measured without networks."""
STATES = 512
STD = 0.3


def run(*, seeds: list[int], episodes: int = 150, training: str = 'spaars',
        plots: Path | None = None, say: Callable[[str], None] | None = None
        ) -> list[dict[str, Any]]:
    """
    Return a row per seed; write variance.png, gap.png and calibration.png to `plots`.

    Keys of a row: seed, gaussian (list of k, d, ratio, ratio_dependent, predicted),
    networks_bounded and networks (`theory_of.variance_ratio`), calibration (at the phase switch:
    bc_error, lipschitz, bound, mean and 95th percentile of the difference, share_within the bound
    L_Q eps_BC, share_within_local of the bound from distance and slope at each state), gap
    (`theory_of.reconstruction_gap`, and measured: discounted return of the fine-tuned policy
    minus that of the pretrained policy, in the units of the learner).

    :raises ValueError: the algorithm is not spaars, or the run has no phase switch
    """
    rows = []
    for seed in seeds:
        rows.append(_row(seed, episodes, training))
        if say is not None:
            say(_line(rows[-1]))
    if plots is not None:
        draw(rows, plots)
    return [{name: value for name, value in row.items() if name != 'points'} for row in rows]


def _line(row: dict[str, Any]) -> str:
    c, g = row['calibration'], row['gap']
    return (f'seed {row["seed"]}: variance ratio {row["networks_bounded"]["ratio"]:.3f} of '
            f'{row["networks_bounded"]["predicted"]:.3f}; calibration '
            f'{c["share_within"]:.1%} within L eps = {c["bound"]:.3f}; gap {g["measured"]:.2f}, '
            f'bound {g["bound"]:.2f}')


def gaussian_ratios(samples: int = 200_000, seed: int = 0) -> list[dict[str, float]]:
    """
    Return the ratio of the lemma for |A| = 1, its worst case.

    Keys: k, d, predicted (k / d), ratio (random sign of A), ratio_dependent (sign of a linear
    function of the action, with a mean gradient that is not zero).
    """
    import torch

    from benchmarks.theory_of import score_gradient_variance
    torch.manual_seed(seed)
    rows = []
    for k, d in GAUSSIAN:
        traces: dict[str, list[float]] = {'ratio': [], 'ratio_dependent': []}
        for dim in (k, d):
            noise = torch.randn(samples, dim)
            for name, sign in (('ratio', torch.randn(samples).sign()),
                               ('ratio_dependent', (noise @ torch.randn(dim) + 0.3).sign())):
                traces[name].append(score_gradient_variance(sign, noise, STD))
        rows.append({'k': k, 'd': d, 'predicted': k / d,
                     **{name: pair[0] / pair[1] for name, pair in traces.items()}})
    return rows


def _row(seed: int, episodes: int, training_name: str) -> dict[str, Any]:
    import torch

    from benchmarks import theory_of as theory
    from spaars_ros.data.dataset import load_dataset
    from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent
    from spaars_ros.learning.online.checkpoint import unpack
    from spaars_ros.learning.online.finetuner import FineTuner
    from spaars_ros.learning.online.pretrain import pretrain
    from spaars_ros.policy.bundle import Bundle
    from spaars_ros.policy.runtime import PolicyRuntime
    from spaars_ros.robot.config import load_robot
    from spaars_ros.robot.resources import resolve
    from spaars_ros.sim.evaluate import EVALUATION_SEED
    from spaars_ros.sim.evaluate import Rollouts
    from spaars_ros.tasks.registry import load_task
    from spaars_ros.tasks.registry import make_task
    from spaars_ros.training_file import load_training

    robot, training = load_robot(), load_training(training_name)
    task = make_task(robot, load_task())
    dataset = load_dataset(resolve(training.demonstrations), robot, task)
    bundle = pretrain(robot, task, training, dataset, seed=seed)
    tuner = FineTuner(bundle, robot=robot, task=task, training=training,
                      demonstrations=dataset, seed=seed)
    agent = tuner.agent
    if not isinstance(agent, SpaarsAgent):
        raise ValueError(f'training file {training_name!r}: the theorems are about spaars, not '
                         f'{training.algorithm}')
    torch.manual_seed(seed)
    data = torch.from_numpy(tuner.normaliser(dataset.observations))
    states = data[torch.randperm(len(data))[:64]]
    bounded = theory.variance_ratio(agent, states, std=STD, samples=2000, bounded=True)
    free = theory.variance_ratio(agent, states, std=STD, samples=2000, bounded=False)

    def rollouts(of: Bundle, explore: bool) -> Rollouts:
        return Rollouts(PolicyRuntime(of), robot, task, explore=explore,
                        seed=seed if explore else EVALUATION_SEED)

    online = rollouts(bundle, True)
    calibrated: dict[str, Any] = {}
    for _ in range(episodes):
        rows = online.episode()
        for record in rows:
            tuner.add(record)
        if agent.gated and not calibrated:
            seen = tuner.normaliser(tuner.schema.get(rows, 'observation'))
            calibrated = theory.calibration(agent, torch.from_numpy(seen))
        while tuner.updates_owed:
            tuner.update()
        if tuner.bundle_due:
            online.loop.swap(PolicyRuntime(tuner.export()))
    final = tuner.deployed()
    before, _, _ = _returns(rollouts(bundle, False), task, training)
    after, observations, actions = _returns(rollouts(final, False), task, training)
    # The critic of the statement is the pretrained one, that of the latent policy.
    unpack(bundle, agent, optimisers=False)
    gap = theory.reconstruction_gap(
        agent, torch.from_numpy(tuner.normaliser(observations)),
        torch.from_numpy(actions.astype(np.float32)), training.gamma)
    row = {'seed': seed, 'gaussian': gaussian_ratios(seed=seed), 'networks_bounded': bounded,
           'networks': free, 'gap': {**gap, 'measured': after - before}, 'points': calibrated}
    row['calibration'] = _calibration(calibrated)
    return row


def _calibration(c: dict[str, Any]) -> dict[str, float]:
    if not c:
        raise ValueError('the run ended before the phase switch: give it more episodes')
    bound = c['lipschitz'] * c['bc_error']
    difference = c['difference']
    return {'bc_error': c['bc_error'], 'lipschitz': c['lipschitz'], 'bound': bound,
            'difference_mean': float(difference.mean()),
            'difference_p95': float(difference.quantile(0.95)),
            'share_within': float((difference <= bound).float().mean()),
            'share_within_local': float(
                (difference <= c['local'] * c['distance'] + 1e-6).float().mean())}


def _returns(rollouts: Any, task: Any, training: Any, episodes: int = 20
             ) -> tuple[float, Any, Any]:
    """Return the mean discounted return in the units of the learner, and states and actions."""
    totals, states, actions = [], [], []
    for _ in range(episodes):
        rows = rollouts.episode()
        seen = rollouts.schema.get(rows, 'observation')
        done = rollouts.schema.get(rows, 'action')[:-1]
        rewards = task.reward(seen[:-1], done, seen[1:])
        potential = task.potential(seen)
        rewards = rewards + training.shaping * (training.gamma * potential[1:] - potential[:-1])
        totals.append(training.reward_scale
                      * float(rewards @ training.gamma ** np.arange(len(rewards))))
        states.append(seen[:-1])
        actions.append(done)
    chosen = np.random.default_rng(0).permutation(sum(map(len, states)))[:STATES]
    return float(np.mean(totals)), np.concatenate(states)[chosen], np.concatenate(actions)[chosen]


def draw(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write variance.png, calibration.png and gap.png from the rows of `run`."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(5, 4))
    ratios = [item for row in rows for item in row['gaussian']]
    axes.plot([0, 1], [0, 1], color='0.7', label='k / d')
    axes.scatter([r['predicted'] for r in ratios], [r['ratio'] for r in ratios],
                 label='Gaussian policies, |A| = 1')
    for name, marker, label in (('networks_bounded', 's', 'networks, |A| = 1'),
                                ('networks', '^', "networks, the critic's A")):
        axes.scatter([r[name]['predicted'] for r in rows], [r[name]['ratio'] for r in rows],
                     marker=marker, label=label)
    axes.set(xlabel='k / d', ylabel='tr Cov latent / tr Cov raw',
             title='Variance of the score gradient')
    axes.legend()
    figure.savefig(folder / 'variance.png', dpi=120, bbox_inches='tight')

    figure, axes = pyplot.subplots(figsize=(5, 4))
    for row in rows:
        c, points = row['calibration'], row['points']
        shown = axes.scatter(points['distance'], points['difference'], s=8,
                             label=f'seed {row["seed"]}')
        axes.axhline(c['bound'], color=shown.get_facecolor()[0], linestyle='--')
    axes.set(xlabel='|raw - decoded|', ylabel='|Q raw - Q decoded|',
             title='At the phase switch; dashed: L eps_BC')
    axes.legend()
    figure.savefig(folder / 'calibration.png', dpi=120, bbox_inches='tight')

    figure, axes = pyplot.subplots(figsize=(5, 4))
    places = np.arange(len(rows))
    for offset, name, label in ((-0.25, 'measured', 'measured gap'),
                                (0.0, 'difference', "performance difference, critic's"),
                                (0.25, 'bound', 'bound')):
        axes.bar(places + offset, [row['gap'][name] for row in rows], 0.25, label=label)
    axes.set_yscale('symlog', linthresh=1.0)
    axes.set_xticks(places, [f'seed {row["seed"]}' for row in rows])
    axes.set(ylabel='discounted return', title='Exploitation gap of the pretrained decoder')
    axes.legend()
    figure.savefig(folder / 'gap.png', dpi=120, bbox_inches='tight')
    pyplot.close('all')
