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

"""Online updates due after a number of environment steps, compiled if that pays off."""

import time

import numpy as np

from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.algorithm import AlignedLearner
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.core.draws import Draws
from spaars_ros.learning.core.replay import Replay
from spaars_ros.training_file import Training


class OnlineUpdates:
    """
    Does the updates of an algorithm that are due, on batches of both replays.

    :param relabel: share of hindsight goals in a batch, 0 to 1
    :param average: averaged weights, updated after each update
    :param rng: generator of the batches
    :param beside: whether to continue uncompiled while a second process compiles; False waits
        for it, for machines where every core has its own run
    """

    def __init__(self, algorithm: Algorithm, training: Training, *, online: Replay,
                 offline: Replay | None, relabel: float, average: AveragedWeights,
                 rng: np.random.Generator, beside: bool = True) -> None:
        self._algorithm, self._training, self._relabel = algorithm, training, relabel
        self._online, self._offline = online, offline
        self._average, self._rng = average, rng
        self.compiler = Compiler(algorithm.agent, training.compile, beside=beside)
        self.done = 0
        """Number of updates done."""

    def catch_up(self, steps: int) -> None:
        """Do the updates due after `steps` steps; raise ValueError if a loss is not finite."""
        t = self._training
        share = self._algorithm.offline_share if self._offline is not None else 0.0
        offline = int(round(share * t.batch))
        draws = Draws(self._online, self._offline, (t.batch - offline, offline), self._rng,
                      self._relabel, self._algorithm.agent.device)
        while self.done < int(t.utd * (steps - t.warmup_steps)):
            batch, online = draws.next()
            losses = self._algorithm.update_online(batch, online)
            self.done += 1
            self._average.update()
            if not np.isfinite(losses.get('critic', 0.0)):
                raise ValueError(f'critic loss is {losses["critic"]} at update {self.done}')
            self.compiler.after_update(self.done)

    def align(self, steps: int) -> float:
        """
        Do the alignment updates that are due after the warm-up; return the seconds they took.

        :param steps: environment steps so far
        :raises ValueError: a loss is not finite
        """
        t, began = self._training, time.monotonic()
        if steps < t.warmup_steps or not isinstance(self._algorithm, AlignedLearner) \
                or self._offline is None:
            return 0.0
        own = min(int(round(t.align_share * t.batch)), t.batch - 1)
        device = self._algorithm.agent.device
        while self._algorithm.alignment_owed:
            loss = self._algorithm.align(
                self._offline.sample(t.batch - own, self._rng, self._relabel).to(device),
                self._online.sample(own, self._rng, self._relabel).to(device))
            if not np.isfinite(loss):
                raise ValueError(f'critic loss is {loss} in the alignment after {steps} steps')
        return time.monotonic() - began
