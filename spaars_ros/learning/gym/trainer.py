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
"""Train any algorithm in any Gymnasium environment with a Box action space, without ROS."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.constraints.episode_limits import EpisodeLimits
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.transitions import Transitions
from spaars_ros.learning.core.algorithm import AligningLearner
from spaars_ros.learning.core.algorithm import OfflineLearner
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.champion import Champion
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.checkpoint import Checkpoint
from spaars_ros.learning.gym.cost_limit import agreed_limits
from spaars_ros.learning.gym.evaluations import Evaluations
from spaars_ros.learning.gym.evaluations import text_of
from spaars_ros.learning.gym.export_trained import export_trained
from spaars_ros.learning.gym.finished_episodes import FinishedEpisodes
from spaars_ros.learning.gym.load_data import digest_of
from spaars_ros.learning.gym.offline_replay import OfflineReplay
from spaars_ros.learning.gym.offline_replay import online_replay
from spaars_ros.learning.gym.online_updates import OnlineUpdates
from spaars_ros.learning.gym.parallel_rollouts import ParallelRollouts
from spaars_ros.learning.gym.parallel_rollouts import Running
from spaars_ros.learning.gym.progress import Progress
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Env
from spaars_ros.learning.gym.rollout import random_observations
from spaars_ros.learning.gym.training_folder import TrainingFolder
from spaars_ros.learning.gym.versions import Versions
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.environments import make_environment
from spaars_ros.sim.kitchen import evaluation_id
from spaars_ros.sim.parallel_environments import ParallelEnvironments
from spaars_ros.sim.parallel_environments import SingleEnvironment
from spaars_ros.training_file import for_task
from spaars_ros.training_file import Training

Array = NDArray[np.float64]


class Trainer:
    """
    Offline phase, then online fine-tuning with evaluations; resumes from a checkpoint in `out`.

    `out` gets `curve.jsonl` (one line per evaluation), `episodes.jsonl` (one line per training
    episode) and `checkpoint.npz`, from which the next `run` continues as if there had been no
    interruption.

    With `weight_average` the averaged weights are evaluated, as they would act on the robot; the
    newest weights explore.

    :param env_id: Gymnasium id; also the name for D4RL's reference scores
    :param data: offline transitions, or an arm's demonstrations; None for learning from scratch
    :param seed: seed of networks, draws and environment
    :param steps: environment steps of the run
    :param evaluate_every: environment steps between evaluations
    :param evaluation_episodes: number of episodes per evaluation
    :param evaluate_offline: offline updates between evaluations; 0: only after the last one
    :param make_env: creates the environment, instead of `gymnasium.make(env_id)`
    :param cost_limit: limit on `info['cost']` per episode, held by an adaptive PID; None: costs
        are only measured, unless `agreed_limits` finds a limit elsewhere
    :param compile_beside: whether a second process may compile updates meanwhile; False waits for
        it, for machines where every core has its own run
    :param envs: environments that are explored in at the same time; from 2 on each has a process
    """

    def __init__(self, env_id: str, data: Transitions | Dataset | None, *, training: Training,
                 seed: int, out: Path, steps: int, evaluate_every: int = 5000,
                 evaluation_episodes: int = 10, evaluate_offline: int = 0,
                 make_env: Callable[[], Env] | None = None,
                 cost_limit: float | None = None, compile_beside: bool = True,
                 envs: int = 1) -> None:
        """Check data against the environment; raise ValueError or DataError on a mismatch."""
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.env_id, self.seed = env_id, seed
        self.folder = TrainingFolder(out)
        self.total, self.every = steps, evaluate_every
        self.every_offline = evaluate_offline
        if envs < 1:
            raise ValueError(f'envs {envs}: has to be at least 1')
        make = make_env or partial(make_environment, env_id)
        self.env = make()
        # Franka Kitchen has a different reward in its evaluation environment.
        self._test_env = make() if make_env else make_environment(evaluation_id(env_id))
        self.boxes = ActionScaler.of(env_id, self.env)
        arm = self.env.unwrapped
        self.task = arm.task if isinstance(arm, ArmEnv) else None
        """Task of an arm, whose rewards, shaping and hindsight goals the replay computes."""
        spec = self.env.spec
        self.training, limits = agreed_limits(
            for_task(training, self.boxes.action), self.task, cost_limit,
            spec.max_episode_steps if spec else None)
        constraints, training = len(limits), self.training
        self._make_replays(data, constraints)
        self.algorithm = make_algorithm(
            training.algorithm, training, observation=self.boxes.observation,
            action=self.boxes.action, constraints=constraints, normaliser=self.normaliser,
            seed=seed)
        if data is not None:
            self.algorithm.set_action_variance(self._offline_actions)
            if isinstance(self.algorithm, OfflineLearner):
                assert self._offline is not None
                self.algorithm.take_offline(self._offline)
        elif self.algorithm.offline_steps or self.algorithm.offline_share or training.start:
            raise ValueError(f'{training.algorithm} starts from a data set, and none was given')
        self._average = AveragedWeights(self.algorithm.agent, training.weight_average)
        self._versions = Versions(
            self.algorithm.agent, self._average,
            Champion(training.champion) if training.champion else None,
            max(1.0, training.utd * max(training.push_every, training.critic_steps)))
        self._evaluations = Evaluations(
            self._test_env, self.boxes, self.algorithm, self._versions, env_id=env_id,
            episodes=evaluation_episodes, folder=self.folder)
        # Algorithms of the SAC-Lagrangian family have their own gains.
        gains = getattr(self.algorithm, 'gains', None)
        whole: dict[str, Any] = {} if self.task is None else {
            'constraints': self.task.robot.constraints, 'horizon': self.task.horizon}
        self._limits = EpisodeLimits(limits, gamma=training.gamma, gains=gains, **whole)
        self.controllers = self._limits.controllers
        self.cost_limit = limits[0] if len(limits) else None
        self.rng = np.random.default_rng([seed, 7])
        self._updates = OnlineUpdates(
            self.algorithm, training, online=self._online, offline=self._offline,
            relabel=training.relabel if self.task is not None else 0.0, average=self._average,
            rng=self.rng, beside=compile_beside)
        self.progress = Progress()
        self._rollouts = ParallelRollouts(
            SingleEnvironment(self.env) if envs == 1 else ParallelEnvironments(make, envs),
            self.boxes, self.algorithm, self._versions, self._online, self.progress, seed=seed)
        self._finished = FinishedEpisodes(self.algorithm, self._online, self._versions,
                                          self._limits, self.progress, self.folder)
        self._checkpoint = Checkpoint(
            self.folder, env_id, seed, digest_of(data), training, self.progress, self.algorithm,
            self._online, self._versions, self._average, self._evaluations, self._updates,
            self.controllers, self.rng)

    def _make_replays(self, data: Transitions | Dataset | None, constraints: int) -> None:
        self._offline: Replay | None = None
        if data is not None:
            offline = OfflineReplay.of(
                data, env_id=self.env_id, env=self.env, boxes=self.boxes, task=self.task,
                training=self.training, constraints=constraints)
            self._offline, self.normaliser = offline.replay, offline.normaliser
            self._offline_actions = offline.actions
        else:
            # Random actions hardly leave the start, so small standard deviations are raised;
            # otherwise observations farther away would be clipped.
            self.normaliser = Normaliser.of(
                random_observations(self._test_env, self.boxes, self.seed), least=0.1)
        self._online = online_replay(self.boxes, task=self.task, normaliser=self.normaliser,
                                     training=self.training, constraints=constraints)

    # Running

    def run(self, say: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Train to the end and return a summary; see the class for the files in `out`."""
        say = say or (lambda line: None)
        goes_on = self.folder.begin()
        try:
            if goes_on:
                self._checkpoint.restore()
                say(f'going on at {self.progress.offline_done} offline updates, '
                    f'{self.steps} steps')
            return self._train(say)
        finally:
            self._rollouts.stop()
            self.folder.close()

    def _train(self, say: Callable[[str], None]) -> dict[str, Any]:
        self._train_offline(say)
        if not self.progress.online_begun:
            self.progress.online_begun = True
            self.algorithm.begin_online()
            self._versions.begin()
            self._evaluate(say)
            self.save()
        while self.algorithm.learns_online and self.steps < self.total:
            before = self.steps
            self._run_episode()
            if self.steps // self.every > before // self.every or self.steps >= self.total:
                self._evaluate(say)
            if self.steps // self.training.checkpoint_every \
                    > before // self.training.checkpoint_every or self.steps >= self.total:
                self.save()
        return self.summary()

    def export(self) -> bytes:
        """Return the deployed version as ONNX; see `export_trained`, also for its errors."""
        with self.algorithm.agent.on_cpu(), self._versions.deployed():
            return export_trained(self.algorithm, self.boxes)

    def close(self) -> None:
        """Close both environments, and end the compiling process."""
        self._updates.compiler.close()
        self.env.close()
        self._test_env.close()

    def _train_offline(self, say: Callable[[str], None]) -> None:
        progress = self.progress
        total, began = self.algorithm.offline_steps, time.monotonic()
        while progress.offline_done < total:
            assert self._offline is not None
            # As in `pretrain`: hindsight goals only in value pre-alignment.
            aligns = isinstance(self.algorithm, AligningLearner) \
                and self.algorithm.aligns(progress.offline_done)
            relabel = self.training.relabel if self.task is not None and aligns else 0.0
            batch = self._offline.sample(self.training.batch, self.rng, relabel)
            losses = self.algorithm.update_offline(batch.to(self.algorithm.agent.device),
                                                   progress.offline_done)
            progress.offline_done += 1
            self._updates.compiler.after_update(progress.offline_done)
            if not all(np.isfinite(value) for value in losses.values()):
                raise ValueError(f'offline update {progress.offline_done}: {losses}')
            saves = progress.offline_done % 5000 == 0 or progress.offline_done == total
            evaluates = self.every_offline and progress.offline_done < total \
                and progress.offline_done % self.every_offline == 0
            if saves or evaluates:
                now = time.monotonic()
                progress.offline_seconds += now - began
                progress.seconds += now - began
                if evaluates:
                    self._average.begin()  # averaging starts online: evaluate the present weights
                    self._evaluate(say)
                if saves:
                    text = ', '.join(f'{name} {value:.3g}' for name, value in losses.items())
                    say(f'offline {progress.offline_done}/{total}: {text}')
                    self.save()
                began = time.monotonic()

    def _run_episode(self) -> None:
        """Act and learn until an episode has ended; of several that run more than one may."""
        progress, began = self.progress, time.monotonic()
        ended: list[Running] = []
        while not ended:
            progress.steps += self._rollouts.advance()
            progress.offline_seconds += self._updates.align(self.steps)
            self._updates.catch_up(self.steps)
            ended = self._rollouts.take_ended()
        for each in ended:
            self._rollouts.enter(each)
            self._finished.take(each.rollout, each.version, self.updates)
        progress.seconds += time.monotonic() - began

    @property
    def steps(self) -> int:
        """Return the environment steps so far."""
        return self.progress.steps

    @property
    def updates(self) -> int:
        """Return the number of online updates."""
        return self._updates.done

    def _evaluate(self, say: Callable[[str], None]) -> None:
        progress = self.progress
        row = self._evaluations.take(
            progress.steps, updates=self.updates, episode=progress.episodes,
            offline_updates=progress.offline_done, seconds=round(progress.seconds, 2),
            success_training=progress.take_success_rate())
        done = f'{self.steps} steps' if self.progress.online_begun \
            else f'offline {self.progress.offline_done}/{self.algorithm.offline_steps}'
        say(f'{done}, {self.progress.seconds:.0f} s: {text_of(row, self.cost_limit)}')

    def summary(self) -> dict[str, Any]:
        """Return settings, counters and results of the run."""
        t = self.training
        return {'algorithm': t.algorithm, 'mode': t.mode, 'env': self.env_id, 'seed': self.seed,
                'steps': self.steps, 'updates': self.updates, 'episodes': self.progress.episodes,
                'seconds': round(self.progress.seconds, 1),
                'offline_seconds': round(self.progress.offline_seconds, 1),
                'cost_limit': self.cost_limit, **self._evaluations.summary()}

    def save(self) -> None:
        """Write a checkpoint for `run` to resume from, atomically."""
        self._checkpoint.save()
