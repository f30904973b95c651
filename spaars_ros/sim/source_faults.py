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

"""Faults of the sensors other than the arm's: silent, late, not finite, frozen."""

from collections.abc import Mapping

import numpy as np

from spaars_ros.data.schema import Array

Measured = Mapping[str, Array]
"""Source -> values (k,)."""


class SourceFaults:
    """Apply faults to the sensors' samples; the same seed gives the same result."""

    def __init__(self, *, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 29])
        self._late: list[tuple[int, int, Measured]] = []
        self._frozen: Measured | None = None

    def clear(self) -> None:
        """Discard delayed samples, for a reset of the arm."""
        self._late.clear()
        self._frozen = None

    def measured(self, now_ns: int, samples: Measured, faults: Mapping[str, float]
                 ) -> list[tuple[int, str, Array]]:
        """
        Return (stamp in ns, source, values) to publish now, in order.

        :param now_ns: stamp of the samples, ns
        :param samples: samples taken now
        :param faults: value of every fault
        """
        if not any(faults[name] for name in ('source_drop', 'source_delay', 'source_nan',
                                             'source_frozen')) and not self._late:
            return [(now_ns, name, values) for name, values in samples.items()]
        if faults['source_frozen']:
            samples = self._frozen = self._frozen or samples
        else:
            self._frozen = None
        seen = {}
        for name, values in samples.items():
            drop, nan = self._rng.random(2)
            if drop >= faults['source_drop']:
                seen[name] = np.full_like(values, np.nan) if nan < faults['source_nan'] \
                    else values
        self._late.append((now_ns + round(1e9 * faults['source_delay']), now_ns, seen))
        due = [one for one in self._late if one[0] <= now_ns]
        self._late = [one for one in self._late if one[0] > now_ns]
        return [(stamp, name, values) for _, stamp, part in due for name, values in part.items()]
