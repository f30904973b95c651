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

"""Which policy a learner has acting: what it learned last, or the champion of a contest."""

from collections.abc import Callable
from typing import Any

from spaars_ros.data.schema import StepSchema
from spaars_ros.learning.online.contenders import Contenders
from spaars_ros.policy.bundle import Bundle
from spaars_ros.training_file import Training

Make = Callable[[int, dict[str, bytes] | None], Bundle]
"""Version and extra parts -> the bundle of what is learned now."""


class Acting:
    """
    Numbers bundles, and says when the next one is due and whose policies are in it.

    :param first: the bundle that the run begins with
    """

    def __init__(self, first: Bundle, schema: StepSchema, training: Training, make: Make) -> None:
        self.version = first.manifest.version
        """Number of the newest bundle."""
        self.contenders = Contenders(
            Bundle(first.manifest, first.graphs, first.golden_outputs), schema,
            training.champion) if training.champion else None
        """Champion and challenger, where the training file asks for a champion."""
        self._training, self._make = training, make
        self._pushed_at = 0

    def number_on(self, newest: int, owed: int) -> None:
        """
        Go on with numbers that a policy server has not had.

        The server refuses versions that go backwards, and may be ahead of the checkpoint; what
        was pushed since may be in no record yet.

        :param newest: version in the records
        :param owed: updates owed
        """
        t = self._training
        unseen = int(owed / max(1.0, t.utd * t.push_every)) + 1
        self.version = max(self.version + unseen, newest)

    def due(self, updates: int) -> bool:
        """Return whether enough has been learned since the last export."""
        t = self._training
        learned = updates - self._pushed_at >= max(1.0, t.utd * t.push_every)
        if self.contenders is None:
            return learned
        return self.contenders.due or (learned and self._challenges(updates))

    def _challenges(self, updates: int) -> bool:
        """Return whether what is learned now may stand against the champion."""
        t = self._training
        return self.contenders is not None and self.contenders.champion.ready \
            and updates >= t.utd * t.critic_steps

    def export(self, updates: int) -> Bundle:
        """Return the bundle of who is to act next, without the learner's tensors."""
        if self.contenders is None:
            self._pushed_at = updates
            self.version += 1
            return self._make(self.version, None)
        if self._challenges(updates) and not self.contenders.due:
            self._pushed_at = updates
            self.contenders.challenge(self._make(self.version, None))
        self.version += 1
        return self.contenders.push(self.version)

    def deployed(self, updates: int) -> Bundle:
        """Return the bundle that a run leaves behind, without the learner's tensors."""
        if self.contenders is None:
            return self.export(updates)
        self.version += 1
        return self.contenders.deployed(self.version)

    def checkpoint(self, extras: dict[str, bytes]) -> Bundle:
        """Return the bundle that a checkpoint is, under the present number."""
        return self._make(self.version, extras) if self.contenders is None \
            else self.contenders.deployed(self.version, extras)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, JSON-able."""
        return {'pushed_at': self._pushed_at,
                'contenders': None if self.contenders is None else self.contenders.state()}

    def restore(self, state: dict[str, Any], bundle: Bundle) -> None:
        """
        Continue from `state()`.

        :param bundle: the checkpoint
        """
        self.version = bundle.manifest.version
        self._pushed_at = int(state['pushed_at'])
        if self.contenders is not None and state.get('contenders'):
            self.contenders.restore(state['contenders'], bundle)
