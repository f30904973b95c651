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

"""Online fine-tuning from step records; the learner node and the in-process loop drive it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.constraints.costs import transition_costs
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.seams import is_terminal
from spaars_ros.data.seams import learnable_parts
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.core.draws import Draws
from spaars_ros.learning.core.learner import Learner
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.robot_algorithm import PHASES
from spaars_ros.learning.core.robot_algorithm import RobotEpisode
from spaars_ros.learning.core.robot_algorithm import RobotSetup
from spaars_ros.learning.online.checkpoint import make_bundle
from spaars_ros.learning.online.checkpoint import pack
from spaars_ros.learning.online.checkpoint import unpack
from spaars_ros.learning.online.contenders import Contenders
from spaars_ros.learning.online.judged import Judged
from spaars_ros.learning.online.judged import Key
from spaars_ros.learning.online.pretrain import replay_of
from spaars_ros.learning.online.robot_algorithms import make_robot_algorithm
from spaars_ros.learning.online.stream import Stream
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Task
from spaars_ros.training_file import Training

Array = NDArray[np.float64]

ONLINE_CAPACITY = 1_000_000
TAUGHT = 200_000
"""A person's transitions that the demonstrations have room for, beside those of the data set."""
AVERAGE = 'average.npz'
"""The averaged weights, in a checkpoint."""


class FineTuner:
    """
    Fine-tuning online, of the algorithm that the training file names.

    `add` takes every step record in order; `update` does one update and is owed
    `utd` times an environment step; `export` gives the bundle to push.
    """

    def __init__(self, bundle: Bundle, *, robot: Robot, task: Task, training: Training,
                 demonstrations: Dataset, seed: int) -> None:
        """Continue from a bundle with learner tensors; raises BundleError when it has none."""
        torch.manual_seed(seed)
        m = self.manifest = bundle.manifest
        self.robot, self.task, self.training = robot, task, training
        if m.algorithm != training.algorithm:
            raise BundleError('wrong_algorithm', f'a bundle of {m.algorithm!r}, the training '
                                                 f'file says {training.algorithm!r}')
        self.normaliser = Normaliser(np.asarray(m.observation_mean),
                                     np.asarray(m.observation_std))
        self.algorithm = make_robot_algorithm(
            RobotSetup(training, task, task.spec.action_dim, self.normaliser, seed))
        self.schema = StepSchema(observation=task.observation_dim,
                                 latent=self.algorithm.latent_dim,
                                 action=task.spec.action_dim, joints=len(robot.joints),
                                 sources=len(task.sources))
        self._canaries = bundle.canaries['observation']
        self._offline = replay_of(demonstrations, self.normaliser, task, training, room=TAUGHT)
        self._online = Replay(
            ONLINE_CAPACITY, task, self.normaliser, action=task.spec.action_dim,
            constraints=len(task.constraint_names), gamma=training.gamma,
            n_step=training.n_step, scale=training.reward_scale, shaping=training.shaping,
            given=bool(task.settings.reward))
        self.algorithm.take_offline(demonstrations, self._offline)
        self._judged = {'online': Judged(self._online), 'offline': Judged(self._offline)}
        self._labels: dict[Key, Outcome] = {}
        self.out_of_reach = float('nan')
        """Mean distance of a person's actions from what the decoder makes: raw's own ground."""
        self.taught = 0
        """A person's transitions that were added to the demonstrations."""
        self.lessons: list[tuple[str, int, int, float]] = []
        """Robot, episode, steps and distance of what was taught; whoever reads it empties it."""
        self._seed = seed
        self._rng = np.random.default_rng([seed, 7])
        half = training.batch // 2
        self._draws = Draws(self._online, self._offline, (half, training.batch - half), self._rng,
                            training.relabel)
        self.steps = 0
        self.updates = 0
        self.version = m.version
        self.signer: Signer | None = None
        """Signs the checkpoints."""
        self._streams: dict[str, Stream] = {}
        self._pushed_at = 0
        self.contenders = Contenders(Bundle(m, bundle.graphs, bundle.canaries), self.schema,
                                     training.champion) if training.champion else None
        """Champion and challenger, where the training file asks for a champion."""
        state = unpack(bundle, self.agent, optimisers=True)
        self.algorithm.begin_online()
        self.compiler = Compiler(self.agent, training.compile)
        self._average = AveragedWeights(self.agent, training.weight_average)
        if state:
            self._resume(bundle, state)
            # A checkpoint of another run: this run's records count from the first.
            self._streams.clear()

    @property
    def agent(self) -> Learner:
        """Return the algorithm's networks."""
        return self.algorithm.agent

    # Records in

    def add(self, row: Array, robot: str = '') -> None:
        """
        Take a robot's next step record; raises ValueError when it is not the next one.

        :param robot: namespace; '' where there is one robot
        """
        stream = self.stream(robot)
        ended, counts = stream.add(row)
        self.steps += counts
        for rows in ended:
            self._finish_episode(stream, rows, robot)

    def stream(self, robot: str = '') -> Stream:
        """Return the records of a robot; one that nobody has heard of yet begins anew."""
        if robot not in self._streams:
            self._streams[robot] = Stream(self.schema)
        return self._streams[robot]

    @property
    def received(self) -> int:
        """Return the number of the next record of the one robot."""
        return self.stream().received

    def correct(self, row: Array, robot: str = '') -> bool:
        """Put a record in the place of the one of its number; False once that was learned from."""
        return self.stream(robot).correct(row)

    def catch_up(self, rows: Array, robot: str = '') -> None:
        """Take every record of a robot (m, width) again, and number bundles on from there."""
        for row in rows:
            self.add(row, robot)
        # The server refuses versions that go backwards, and may be ahead of the checkpoint.
        newest = int(self.schema.get(rows, 'bundle_version').max())
        # And what was pushed since the checkpoint may be in no record yet.
        t = self.training
        unseen = int(self.updates_owed / max(1.0, t.utd * t.push_every)) + 1
        self.version = max(self.version + unseen, newest)

    def _finish_episode(self, stream: Stream, records: list[Array], robot: str) -> None:
        if len(records) < 2:
            return
        rows = np.stack(records)
        get = self.schema.get
        observations = get(rows, 'observation')
        modes, actions = get(rows, 'mode')[:-1], get(rows, 'action')[:-1]
        episode = (robot, int(get(rows[-1], 'episode')))
        if episode in self._labels:
            rows[-1, self.schema.fields['outcome']] = self._labels[episode]
        terminated = bool(is_terminal(self.schema, rows[-1]))
        costs = transition_costs(self.task, self.robot.constraints, self.schema, rows)
        # NaN: the task computes it.
        rewards = np.where(get(rows[1:], 'reward_given') > 0, get(rows[1:], 'reward'), np.nan)
        skills = rows[:-1, self.schema.fields['latent']]  # (T, k), also for k = 1
        steps = get(rows, 'skill_step')[:-1].copy()
        for part in learnable_parts(self.schema, rows):
            if get(rows[-1], 'outcome') == Outcome.DISCARDED:
                break
            seen = slice(part.start, part.stop + 1)
            ends = terminated and part.stop == len(modes)
            kept = {'costs': costs[part], 'modes': modes[part], 'rewards': rewards[part]}
            self._judged['online'].add(episode, observations[seen], actions[part], ends, **kept)
            if modes[part.start] == Mode.HUMAN:
                # No skill was in effect: what was done is cut into some of their length.
                steps[part] = np.arange(part.stop - part.start) % self.training.skill_length
                self._teach(episode, observations[seen], actions[part], ends, kept)
            self.algorithm.add_episode(RobotEpisode(
                observations[seen], actions[part], costs[part], skills[part], steps[part],
                modes[part], ends, rewards[part]))
        if get(rows[-1], 'sequence') < stream.counted_from:
            return  # replayed from the recording: the checkpoint has counted it
        if self.contenders is not None and get(rows[-1], 'outcome') != Outcome.DISCARDED:
            computed = self.task.reward(observations[:-1], actions, observations[1:])
            self.contenders.take(rows, np.where(np.isnan(rewards), computed, rewards), costs,
                                 self.multipliers)
        self.algorithm.end_episode(self.normaliser(observations[1:]), modes,
                                   min(self.steps, self.learned_steps + len(modes)), self._online)

    def _teach(self, episode: Key, observations: Array, actions: Array, ends: bool,
               kept: dict[str, Array]) -> None:
        """Add what a person did to the demonstrations."""
        if self.taught + len(actions) <= TAUGHT:  # or it would take the place of what is there
            distance = self.algorithm.out_of_reach(
                self.normaliser(observations[:-1]), np.asarray(actions, np.float32))
            before = 0.0 if self.taught == 0 else self.out_of_reach * self.taught
            self.taught += len(actions)
            self.out_of_reach = (before + distance * len(actions)) / self.taught
            self.lessons.append((*episode, len(actions), distance))
            self._judged['offline'].add(episode, observations, actions, ends, **kept)

    def judge(self, number: int, outcome: Outcome, robot: str = '') -> bool:
        """
        Take what a person says that an episode came to; return whether it changed what is kept.

        A discarded episode is taken out of the replays, and comes back with another label only
        when the run is taken up again. A label of an episode that has not ended yet waits for it.
        """
        episode = (robot, number)
        self._labels[episode] = outcome
        changed = [judged.judge(episode, outcome) for judged in self._judged.values()]
        return any(changed)

    # Updates

    @property
    def phase(self) -> int:
        """Return 0 in warm-up, 1 in the latent phase, 2 in the gated phase."""
        return self.algorithm.phase(min(self.steps, self.learned_steps))

    @property
    def multipliers(self) -> Array:
        """Return lambda (C,) of each constraint."""
        return self.algorithm.multipliers

    @multipliers.setter
    def multipliers(self, values: Array) -> None:
        self.algorithm.multipliers = values

    @property
    def learned_steps(self) -> int:
        """
        Return the environment steps that updates were done for.

        Phases count these and the newest episode: a learner that lags behind the arm must not
        hand over, nor let the trust ball grow, on what it has not learned from.
        """
        t = self.training
        return self.steps if not t.utd else t.warmup_steps + int(self.updates / t.utd)

    @property
    def updates_owed(self) -> int:
        """Return how many updates the environment steps so far call for."""
        t = self.training
        if not self._online.size:
            return 0  # the first episode is still running
        return max(0, int(t.utd * (self.steps - t.warmup_steps)) - self.updates)

    def update(self) -> dict[str, float]:
        """
        Do one update from half online, half offline transitions.

        Raises ValueError when the critic's loss is not finite: what was learned is worthless then.
        """
        batch, online = self._draws.next()
        if self.taught and self.training.correction_weight:
            self._correct()
        losses = self.algorithm.update(batch, online, self.updates)
        if not np.isfinite(losses['critic']):
            raise ValueError(f'critic loss is {losses["critic"]} at update {self.updates}')
        self.updates += 1
        self._average.update()
        self.compiler.after_update(self.updates)
        return losses

    def _correct(self) -> None:
        """Give the algorithm some of what a person did; the draw depends on the update alone."""
        places = self._offline.latest(Mode.HUMAN, self.taught, within=self.taught)
        if len(places):
            rng = np.random.default_rng([self._seed, 11, self.updates])
            drawn = places[rng.integers(0, len(places), self.training.batch // 4)]
            self.algorithm.take_corrections(*self._offline.pairs(drawn))

    # Bundles out

    @property
    def bundle_due(self) -> bool:
        """Return whether enough has been learned since the last export."""
        t = self.training
        learned = self.updates - self._pushed_at >= max(1.0, t.utd * t.push_every)
        if self.contenders is None:
            return learned
        return self.contenders.due or (learned and self._challenges)

    @property
    def _challenges(self) -> bool:
        """Return whether what is learned now may stand against the champion."""
        t = self.training
        return self.contenders is not None and self.contenders.champion.ready \
            and self.updates >= t.utd * t.critic_steps

    def export(self) -> Bundle:
        """Return the bundle of who is to act next, without the learner's tensors."""
        if self.contenders is None:
            self._pushed_at = self.updates
            self.version += 1
            return self._bundle()
        if self._challenges and not self.contenders.due:
            self._pushed_at = self.updates
            self.contenders.challenge(self._bundle())
        self.version += 1
        return self.contenders.push(self.version)

    def deployed(self) -> Bundle:
        """Return the bundle that a run leaves behind, without the learner's tensors."""
        if self.contenders is None:
            return self.export()
        self.version += 1
        return self.contenders.deployed(self.version)

    def save(self, path: Path) -> None:
        """Write a checkpoint: a bundle that can be run, and fine-tuned further."""
        self._draws.forget()
        state = {
            # The running episode is taken again after a resume.
            'received': {robot: each.taken_again_from for robot, each in self._streams.items()},
            'steps': self.steps - sum(each.running_steps for each in self._streams.values()),
            'updates': self.updates, 'multipliers': self.multipliers.tolist(),
            'pushed_at': self._pushed_at, **self.algorithm.state(),
            'contenders': None if self.contenders is None else self.contenders.state(),
            'random': {'batches': dict(self._rng.bit_generator.state),
                       'agent': self.agent.rng_state(),
                       'torch': torch.get_rng_state().numpy().tobytes().hex()},
        }
        extras = pack(self.agent, state)
        if self.training.weight_average:
            extras[AVERAGE] = self._average.to_bytes()
        save_bundle(self._bundle(extras) if self.contenders is None
                    else self.contenders.deployed(self.version, extras), path, self.signer)

    def _bundle(self, extras: dict[str, bytes] | None = None) -> Bundle:
        with self._average.applied():
            return make_bundle(self.algorithm, self.robot, self._canaries, version=self.version,
                               parent=self.version - 1, phase=PHASES[self.phase], extras=extras)

    def restore(self, bundle: Bundle) -> None:
        """Continue from a checkpoint; afterwards `add` every record of the run again."""
        state = unpack(bundle, self.agent, optimisers=True)
        self._resume(bundle, state)
        self._draws.forget()
        if 'random' in state:  # not in older checkpoints, whose runs draw as from their start
            random = state['random']
            self._rng.bit_generator.state = random['batches']
            self.agent.set_rng_state(random['agent'])
            torch.set_rng_state(torch.frombuffer(bytearray.fromhex(random['torch']),
                                                 dtype=torch.uint8))

    def _resume(self, bundle: Bundle, state: dict[str, Any]) -> None:
        unpack(bundle, self.agent, optimisers=True)
        self._average.begin()
        if AVERAGE in bundle.extras:
            self._average.load(bundle.extras[AVERAGE])
        self.version = bundle.manifest.version
        received = state['received']
        # A number alone: of one robot, as 0.1.0 wrote it.
        for robot, number in ({'': received} if isinstance(received, int) else received).items():
            self.stream(robot).counted_from = int(number)
        self.steps, self.updates = int(state['steps']), int(state['updates'])
        self.multipliers = np.asarray(state['multipliers'])
        self.algorithm.restore(state)
        self._pushed_at = int(state['pushed_at'])
        if self.contenders is not None and state.get('contenders'):
            self.contenders.restore(state['contenders'], bundle)

    def progress(self) -> dict[str, float]:
        """Return what `learner/progress` publishes."""
        return {'received': self.received, 'updates': self.updates, 'phase': self.phase,
                'bundle_version': self.version, 'owed': self.updates_owed, 'taught': self.taught,
                'out_of_reach': self.out_of_reach if self.taught else -1.0,  # not measured
                **self.algorithm.progress()}


def untrained_bundle(robot: Robot, task: Task, training: Training, seed: int = 0) -> Bundle:
    """Return a bundle of freshly initialised networks that hardly move the arm, for tests."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = task.observation_dim
    algorithm = make_robot_algorithm(RobotSetup(
        training, task, task.spec.action_dim, Normaliser(np.zeros(n), np.ones(n)), seed))
    return make_bundle(algorithm, robot, rng.normal(size=(4, n)), version=0, parent=-1,
                       phase='offline', extras=pack(algorithm.agent, {}))
