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

"""Online fine-tuning from step records, for the learner node and the in-process loop."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import PHASES
from spaars_ros.data.schema import StepSchema
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.core.draws import Draws
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.learning.online.acting import Acting
from spaars_ros.learning.online.checkpoint import make_bundle
from spaars_ros.learning.online.checkpoint import pack
from spaars_ros.learning.online.checkpoint import unpack
from spaars_ros.learning.online.experience import Experience
from spaars_ros.learning.online.experience import Finished
from spaars_ros.learning.online.stream import Stream
from spaars_ros.learning.registry import make_deployable
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Task
from spaars_ros.training_file import Training

AVERAGE = 'average.npz'
"""Part of a checkpoint with the averaged weights."""


class FineTuner:
    """
    Online fine-tuning of the algorithm of a training file.

    `add` takes every step record in order. `update` does one update; `utd` updates are due per
    environment step. `export` returns the bundle to push.
    """

    def __init__(self, bundle: Bundle, *, robot: Robot, task: Task, training: Training,
                 demonstrations: Dataset, seed: int) -> None:
        """
        Continue from a bundle with learner tensors.

        :raises BundleError: bundle of another algorithm, or without fitting learner tensors
        """
        torch.manual_seed(seed)
        m = self.manifest = bundle.manifest
        self.robot, self.task, self.training = robot, task, training
        if m.algorithm != training.algorithm:
            raise BundleError('wrong_algorithm', f'a bundle of {m.algorithm!r}, the training '
                                                 f'file says {training.algorithm!r}')
        self.normaliser = Normaliser(np.asarray(m.observation_mean),
                                     np.asarray(m.observation_std))
        self.algorithm = make_deployable(training, task, self.normaliser, seed)
        self.schema = StepSchema(observation=task.observation_dim,
                                 latent=self.algorithm.latent_dim,
                                 action=task.spec.action_dim, joints=len(robot.joints),
                                 sources=len(task.sources))
        self._golden_observations = bundle.golden_outputs['observation']
        self.experience = Experience(self.algorithm, self.schema, robot=robot, task=task,
                                     demonstrations=demonstrations, seed=seed)
        self._online, self._offline = self.experience.online, self.experience.offline
        self._rng = np.random.default_rng([seed, 7])
        half = training.batch // 2
        self._draws = Draws(self._online, self._offline, (half, training.batch - half), self._rng,
                            training.relabel, self.agent.device)
        self.steps = self.updates = 0
        self.signer: Signer | None = None
        """Signs the checkpoints; None: unsigned."""
        self.acting = Acting(bundle, self.schema, training, self._bundle)
        state = unpack(bundle, self.agent, optimisers=True)
        self.algorithm.begin_online()
        self.algorithm.ready()
        self.compiler = Compiler(self.agent, training.compile)
        self._average = AveragedWeights(self.agent, training.weight_average)
        if state:
            self._resume(bundle, state)
            # A checkpoint of another run: all records of this run count.
            self.experience.streams.clear()

    @property
    def agent(self) -> TrainableModule:
        """Return the algorithm's networks."""
        return self.algorithm.agent

    @property
    def version(self) -> int:
        """Return the version of the newest bundle."""
        return self.acting.version

    @version.setter
    def version(self, version: int) -> None:
        self.acting.version = version

    @property
    def taught(self) -> int:
        """Return the number of human transitions added to the demonstrations."""
        return self.experience.lessons.taught

    @property
    def out_of_reach(self) -> float:
        """Return the mean distance of human actions from the decoder's range; NaN without any."""
        return self.experience.lessons.out_of_reach

    @property
    def lessons(self) -> list[tuple[str, int, int, float]]:
        """Return the new lessons; see `Lessons.new`."""
        return self.experience.lessons.new

    # Records in

    def add(self, row: Array, robot: str = '') -> None:
        """
        Add the next step record of a robot.

        :param row: (width,)
        :param robot: namespace; '' for a single robot
        :raises ValueError: it is not the next record
        """
        ended, counts = self.stream(robot).add(row)
        self.steps += counts
        for rows in ended:
            finished = self.experience.store(rows, robot)
            if finished is not None:
                self._end_episode(finished)

    def stream(self, robot: str = '') -> Stream:
        """Return the stream of a robot's records; it is created on first use."""
        return self.experience.stream(robot)

    @property
    def received(self) -> int:
        """Return the number of the next record, for a single robot."""
        return self.stream().received

    def correct(self, row: Array, robot: str = '') -> bool:
        """Replace the record with the same number; return False if its episode has ended."""
        return self.stream(robot).correct(row)

    def catch_up(self, rows: Array, robot: str = '') -> None:
        """Add the recorded records (m, width) of a robot, and adjust the version numbers."""
        for row in rows:
            self.add(row, robot)
        self.acting.number_on(int(self.schema.get(rows, 'bundle_version').max()),
                               self.updates_owed)

    def _end_episode(self, episode: Finished) -> None:
        contenders = self.acting.contenders
        if contenders is not None and not episode.discarded:
            contenders.take(episode.rows, episode.rewards, episode.costs, self.multipliers)
        learned = min(self.steps, self.learned_steps + len(episode.modes))
        self.algorithm.end_episode(episode.observations, episode.modes, learned, self._online)

    def judge(self, number: int, outcome: Outcome, robot: str = '') -> bool:
        """Apply the operator's label of an episode; see `Experience.judge`."""
        return self.experience.judge(number, outcome, robot)

    # Updates

    @property
    def phase(self) -> int:
        """Return 0 in warm-up, 1 in the latent phase, 2 in the gated phase."""
        return self.algorithm.phase(min(self.steps, self.learned_steps))

    @property
    def multipliers(self) -> Array:
        """Return the Lagrange multipliers (C,)."""
        return self.algorithm.multipliers

    @multipliers.setter
    def multipliers(self, values: Array) -> None:
        self.algorithm.set_multipliers(values)

    @property
    def learned_steps(self) -> int:
        """
        Return the number of environment steps for which updates are done.

        Phases depend on this number and the newest episode. A learner that lags behind the arm
        must not switch the phase, nor grow the trust box, before it has learned from the steps.
        """
        t = self.training
        return self.steps if not t.utd else t.warmup_steps + int(self.updates / t.utd)

    @property
    def updates_owed(self) -> int:
        """Return the number of updates due after the environment steps so far."""
        t = self.training
        if not self._online.size:
            return 0  # the first episode is still running
        return max(0, int(t.utd * (self.steps - t.warmup_steps)) - self.updates)

    def update(self) -> dict[str, float]:
        """
        Do one update on a batch of half online, half offline transitions; return the losses.

        :raises ValueError: the critic's loss is not finite; the networks are unusable then
        """
        batch, online = self._draws.next()
        if self.taught and self.training.correction_weight:
            corrections = self.experience.lessons.draw(self.training.batch // 4, self.updates)
            if corrections is not None:
                self.algorithm.take_corrections(*corrections)
        losses = self.algorithm.update_online(batch, online)
        if not np.isfinite(losses['critic']):
            raise ValueError(f'critic loss is {losses["critic"]} at update {self.updates}')
        self.updates += 1
        self._average.update()
        self.compiler.after_update(self.updates)
        return losses

    # Bundles out

    @property
    def bundle_due(self) -> bool:
        """Return whether the next bundle is due; see `Acting.due`."""
        return self.acting.due(self.updates)

    def export(self) -> Bundle:
        """Return the bundle of the version that acts next, without the learner's tensors."""
        return self.acting.export(self.updates)

    def deployed(self) -> Bundle:
        """Return the bundle to deploy after the run, without the learner's tensors."""
        return self.acting.deployed(self.updates)

    def save(self, path: Path) -> None:
        """Write a checkpoint, a bundle that can be run and fine-tuned further."""
        self._draws.forget()
        state = {
            **self.algorithm.state(), **self.acting.state(),
            # The records of the running episode are added again after a resume.
            'received': self.experience.state(),
            'steps': self.steps - self.experience.running_steps,
            'updates': self.updates, 'multipliers': self.multipliers.tolist(),
            'random': {'batches': dict(self._rng.bit_generator.state),
                       'agent': self.agent.rng_state(),
                       'torch': torch.get_rng_state().numpy().tobytes().hex()},
        }
        extras = pack(self.agent, state)
        if self.training.weight_average:
            extras[AVERAGE] = self._average.to_bytes()
        save_bundle(self.acting.checkpoint(extras), path, self.signer)

    def _bundle(self, version: int, extras: dict[str, bytes] | None) -> Bundle:
        with self.agent.on_cpu(), self._average.applied():
            return make_bundle(
                self.algorithm, self.robot, self.task, self._golden_observations, version=version,
                parent=version - 1, phase=PHASES[self.phase], extras=extras)

    def restore(self, bundle: Bundle) -> None:
        """Continue from a checkpoint; afterwards `add` every record of the run again."""
        state = unpack(bundle, self.agent, optimisers=True)
        self._resume(bundle, state)
        self._draws.forget()
        if 'random' in state:  # absent in older checkpoints, whose generators restart
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
        self.experience.restore(state['received'])
        self.steps, self.updates = int(state['steps']), int(state['updates'])
        self.multipliers = np.asarray(state['multipliers'])
        self.algorithm.load_state(state)
        self.algorithm.ready()
        self.acting.restore(state, bundle)

    def progress(self) -> dict[str, float]:
        """Return the values for the topic `learner/progress`."""
        return {'received': self.received, 'updates': self.updates, 'phase': self.phase,
                'bundle_version': self.version, 'owed': self.updates_owed, 'taught': self.taught,
                'out_of_reach': self.out_of_reach if self.taught else -1.0,  # not measured
                **self.algorithm.progress()}
