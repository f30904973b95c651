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

"""Selection of the policy that acts: the newest one, or champion and challenger."""

from collections.abc import Callable
from typing import Any

from spaars_ros.data.schema import StepSchema
from spaars_ros.learning.online.contenders import Contenders
from spaars_ros.policy.bundle import Bundle
from spaars_ros.training_file import Training

Make = Callable[[int, dict[str, bytes] | None], Bundle]
"""Function (version, extra parts) -> bundle of the present policies."""


class Acting:
    """
    Numbers bundles, and decides when the next one is due and which policies it contains.

    :param first: bundle that the run begins with
    :param make: creates a bundle of the present policies
    """

    def __init__(self, first: Bundle, schema: StepSchema, training: Training, make: Make) -> None:
        self.version = first.manifest.version
        """Version of the newest bundle."""
        self.contenders = Contenders(
            Bundle(first.manifest, first.graphs, first.golden_outputs), schema,
            training.champion) if training.champion else None
        """Champion and challenger; None if the training file has no `champion`."""
        self._training, self._make = training, make
        self._pushed_at = 0

    def number_on(self, newest: int, owed: int) -> None:
        """
        Continue with version numbers that no policy server has received.

        The server rejects decreasing versions, and may be ahead of the checkpoint. Bundles pushed
        since the checkpoint may not be in the records yet.

        :param newest: highest version in the records
        :param owed: number of updates due
        """
        t = self._training
        unseen = int(owed / max(1.0, t.utd * t.push_every)) + 1
        self.version = max(self.version + unseen, newest)

    def due(self, updates: int) -> bool:
        """Return whether a bundle is due after `updates` updates."""
        t = self._training
        learned = updates - self._pushed_at >= max(1.0, t.utd * t.push_every)
        if self.contenders is None:
            return learned
        return self.contenders.due or (learned and self._challenges(updates))

    def _challenges(self, updates: int) -> bool:
        """Return whether a contest of the present policies against the champion may begin."""
        t = self._training
        return self.contenders is not None and self.contenders.champion.ready \
            and updates >= t.utd * t.critic_steps

    def export(self, updates: int) -> Bundle:
        """Return the bundle of the version that acts next, without the learner's tensors."""
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
        """Return the bundle to deploy after the run, without the learner's tensors."""
        if self.contenders is None:
            return self.export(updates)
        self.version += 1
        return self.contenders.deployed(self.version)

    def checkpoint(self, extras: dict[str, bytes]) -> Bundle:
        """Return the bundle for a checkpoint, with the present version number."""
        return self._make(self.version, extras) if self.contenders is None \
            else self.contenders.deployed(self.version, extras)

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`, as values for JSON."""
        return {'pushed_at': self._pushed_at,
                'contenders': None if self.contenders is None else self.contenders.state()}

    def restore(self, state: dict[str, Any], bundle: Bundle) -> None:
        """
        Continue from `state()`.

        :param bundle: bundle of the checkpoint
        """
        self.version = bundle.manifest.version
        self._pushed_at = int(state['pushed_at'])
        if self.contenders is not None and state.get('contenders'):
            self.contenders.restore(state['contenders'], bundle)
