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

"""Champion and challenger of a run, each as the bundle to push."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import StepSchema
from spaars_ros.learning.core.champion import Champion
from spaars_ros.learning.core.champion import Verdict
from spaars_ros.policy.bundle import Bundle

MOST_OF_IT = 0.8
"""Minimum share of an episode's steps by one version, for the episode to count for it. A bundle
that is pushed after an episode arrives within the next one."""


class Contenders:
    """
    Bundles of champion and challenger, and assignment of episodes to them.

    A policy server rejects versions older than its own. So a contender that is pushed again gets
    a new version number, and this class maps the numbers to contenders.

    :param first: bundle that the run begins with, the first champion
    :param share: see `Champion`
    """

    def __init__(self, first: Bundle, schema: StepSchema, share: float) -> None:
        self.champion = Champion(share)
        self._schema = schema
        self._bundles = {0: first}
        self._owners = {first.manifest.version: 0}
        """Version of a bundle -> version in `Champion`."""
        self._pushed = 0

    @property
    def due(self) -> bool:
        """Return whether the version that acts next differs from the one pushed last."""
        return self.champion.acts != self._pushed

    def challenge(self, bundle: Bundle) -> None:
        """Begin a contest with this bundle as challenger."""
        self._bundles[self.champion.challenge()] = bundle

    def push(self, version: int) -> Bundle:
        """Return the bundle of the version that acts next, with a new version number."""
        self._pushed = self.champion.acts
        self._owners[version] = self._pushed
        return with_version(self._bundles[self._pushed], version)

    def deployed(self, version: int, extras: dict[str, bytes] | None = None) -> Bundle:
        """Return the champion's bundle, with another version number and other extra parts."""
        return with_version(self._bundles[self.champion.champion], version, extras)

    def take(self, rows: Array, rewards: Array, costs: Array,
             multipliers: NDArray[Any]) -> Verdict:
        """
        Record a finished episode and return the verdict.

        Episodes with human actions, or with two versions, are not counted.

        :param rows: (T + 1, width) step records
        :param rewards: (T,)
        :param costs: (T, C)
        :param multipliers: (C,) present values
        """
        owner = self._owner(rows)
        if owner < 0:
            return Verdict.OPEN
        verdict = self.champion.take(owner, float(rewards.sum()), costs.sum(0).tolist(),
                                     multipliers)
        if verdict is not Verdict.OPEN:
            kept = self.champion.champion
            self._bundles = {kept: self._bundles[kept]}
            self._owners = {version: who for version, who in self._owners.items() if who == kept}
        return verdict

    def _owner(self, rows: Array) -> int:
        """Return the version that acted, -1 if the episode cannot be assigned to one."""
        get = self._schema.get
        if (get(rows[:-1], 'mode') == Mode.HUMAN).any():
            return -1
        owners = np.array([self._owners.get(int(version), -1)
                           for version in get(rows[:-1], 'bundle_version')])
        values, counts = np.unique(owners, return_counts=True)
        place = int(counts.argmax())
        return int(values[place]) if counts[place] >= MOST_OF_IT * len(owners) else -1

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`, as values for JSON."""
        return {'contest': self.champion.state(),
                'owners': {str(version): who for version, who in self._owners.items()}}

    def restore(self, state: dict[str, Any], champion: Bundle) -> None:
        """
        Continue from `state()`, without a challenger, whose bundle is not in the checkpoint.

        :param champion: bundle of the checkpoint, with the champion's graph
        """
        self.champion.restore(state['contest'])
        self.champion.withdraw()
        kept = self.champion.champion
        self._bundles = {kept: Bundle(champion.manifest, champion.graphs, champion.golden_outputs)}
        self._owners = {int(version): int(who) for version, who in state['owners'].items()
                        if int(who) == kept}
        self._owners[champion.manifest.version] = kept
        self._pushed = kept


def with_version(bundle: Bundle, version: int, extras: dict[str, bytes] | None = None) -> Bundle:
    """Return a bundle with version number `version` and `version - 1` as its parent."""
    manifest = bundle.manifest.model_copy(update={'version': version,
                                                  'parent_version': version - 1})
    return Bundle(manifest, bundle.graphs, bundle.golden_outputs, extras)
