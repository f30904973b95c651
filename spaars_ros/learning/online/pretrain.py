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

"""Offline training of a deployable algorithm from demonstrations."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.data.dataset import Dataset
from spaars_ros.learning.core.algorithm import AligningLearner
from spaars_ros.learning.core.algorithm import OfflineLearner
from spaars_ros.learning.core.deployable import Deployable
from spaars_ros.learning.core.draws import Draws
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.online.checkpoint import make_bundle
from spaars_ros.learning.online.checkpoint import pack
from spaars_ros.learning.registry import make_deployable
from spaars_ros.policy.bundle import Bundle
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Task
from spaars_ros.training_file import Training

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Callback (stage, updates done, total updates, losses)."""

GOLDEN = 16
FLOORS = {'m': 1e-3, 'rad': 1e-3, 'm/s': 1e-3, 'rad/s': 1e-3, 'N': 0.1, 'N m': 0.01}
"""Unit -> minimum standard deviation of observations; smaller differences are irrelevant."""
LOOK = 100
"""Number of updates between reports of progress and checks of the losses."""


class DivergedError(ValueError):
    """A loss or a weight is not finite; no bundle is made."""


def replay_of(dataset: Dataset, normaliser: Normaliser, task: Task,
              training: Training, room: int = 0) -> Replay:
    """
    Return a replay of a data set's episodes, with rewards and costs computed by the task.

    :param room: capacity for transitions that are added later
    """
    replay = Replay(len(dataset.observations) + room, task, normaliser,
                    action=dataset.actions.shape[1], constraints=len(task.constraint_names),
                    gamma=training.gamma, n_step=training.n_step, scale=training.reward_scale,
                    shaping=training.shaping, given=bool(task.settings.reward))
    starts = np.flatnonzero(np.diff(dataset.episode, prepend=dataset.episode[0] - 1))
    for start, end in zip(starts, [*starts[1:], len(dataset.actions)]):
        states = np.concatenate([dataset.observations[start:end],
                                 dataset.next_observations[end - 1:end]])
        costs = task.constraint_costs(np.asarray(states[1:], np.float64),
                                      np.asarray(dataset.actions[start:end], np.float64),
                                      np.asarray(dataset.efforts[start:end], np.float64))
        replay.add_episode(states, dataset.actions[start:end],
                           bool(dataset.terminations[end - 1]), costs=costs)
    return replay


def give_data(algorithm: Deployable, dataset: Dataset, replay: Replay) -> None:
    """Give an algorithm its demonstrations, before the first update, offline and online."""
    algorithm.set_action_variance(dataset.actions)
    if isinstance(algorithm, OfflineLearner):
        algorithm.take_offline(replay)


def _floors(task: Task) -> NDArray[np.float64]:
    """Return the minimum standard deviation (n,) of each observation, by its unit."""
    return np.concatenate([np.full(term.width, FLOORS.get(term.unit, 0.0))
                           for term in task.spec.terms])


def _check_losses(losses: dict[str, float], stage: str, done: int) -> None:
    for name, value in losses.items():
        if not np.isfinite(float(value)):
            raise DivergedError(f'pretraining diverged: {name} loss is {float(value)} at update '
                                f'{done} of stage {stage}: lower offline_learning_rate')


def _check_weights(agent: torch.nn.Module) -> None:
    for name, weights in agent.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise DivergedError(f'pretraining diverged: {name} is not finite: lower '
                                'offline_learning_rate')


def pretrain(robot: Robot, task: Task, training: Training, dataset: Dataset, *, seed: int,
             progress: Progress | None = None) -> Bundle:
    """
    Do the algorithm's offline stages and return the bundle; equal seeds give equal bundles.

    It uses one torch thread. Networks of this size do not benefit from a second one, which a busy
    robot computer may not have, and another order of summation would give another policy.

    :param progress: called every `LOOK` updates and at the end of each stage
    :raises DivergedError: a loss or a weight is not finite
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    normaliser = Normaliser.of(dataset.observations, _floors(task))
    algorithm = make_deployable(training, task, normaliser, seed)
    replay = replay_of(dataset, normaliser, task, training)
    give_data(algorithm, dataset, replay)
    step = 0
    for stage, total in algorithm.stages().items():
        # Only alignment uses hindsight goals; the other stages use the original goals.
        aligns = isinstance(algorithm, AligningLearner) and algorithm.aligns(step)
        share = training.relabel if aligns else 0.0
        draws = Draws(replay, None, (training.batch, 0), rng, share,
                      algorithm.agent.device)
        for done in range(1, total + 1):
            losses = algorithm.update_offline(draws.next()[0], step)
            step += 1
            if done % LOOK == 0 or done == total:
                _check_losses(losses, stage, done)
                if progress is not None:
                    progress(stage, done, total, losses)
    algorithm.end_offline(lambda: replay.sample(training.batch, rng).to(algorithm.agent.device))
    _check_weights(algorithm.agent)
    golden = dataset.observations[rng.choice(len(dataset.observations), GOLDEN)]
    with algorithm.agent.on_cpu():
        return make_bundle(algorithm, robot, task, golden, version=0, parent=-1, phase='offline',
                           extras=pack(algorithm.agent, {}))


def untrained_bundle(robot: Robot, task: Task, training: Training, seed: int = 0) -> Bundle:
    """Return a bundle of newly initialised networks that hardly move the arm, for tests."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = task.observation_dim
    algorithm = make_deployable(training, task, Normaliser(np.zeros(n), np.ones(n)), seed)
    with algorithm.agent.on_cpu():
        return make_bundle(algorithm, robot, task, rng.normal(size=(4, n)), version=0, parent=-1,
                           phase='offline', extras=pack(algorithm.agent, {}))
