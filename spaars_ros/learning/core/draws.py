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

"""Batches for consecutive updates, drawn for several updates at once."""

from collections.abc import Iterator

import numpy as np
import torch

from spaars_ros.learning.core.device import CPU
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Replay

AHEAD = 8
"""Number of updates whose batches are drawn at once."""


class Draws:
    """
    Draws batches of online and offline transitions.

    A draw is about forty numpy calls, which take as long for a thousand rows as for a hundred.
    Batches drawn ahead are dropped as soon as the online replay changes, so that every update can
    draw the newest transitions.

    :param counts: number of online and of offline transitions per batch
    :param rng: generator of the draws
    :param relabel: share of the transitions with hindsight goals, 0 to 1
    :param device: device of the batches
    """

    def __init__(self, online: Replay, offline: Replay | None, counts: tuple[int, int],
                 rng: np.random.Generator, relabel: float = 0.0, device: torch.device = CPU
                 ) -> None:
        self._online, self._offline, self._counts = online, offline, counts
        self._rng, self._relabel, self._device = rng, relabel, device
        self._drawn: Iterator[tuple[Batch, Batch]] = iter(())
        self._seen = online.changes

    def next(self) -> tuple[Batch, Batch]:
        """Return the next batch, online transitions first, and its online part alone."""
        if self._online.changes != self._seen:
            self.forget()
        drawn = next(self._drawn, None)
        if drawn is None:
            self._drawn = self._draw()
            drawn = next(self._drawn)
        return drawn

    def forget(self) -> None:
        """Drop the batches drawn ahead; call before the state is saved for a resume."""
        self._drawn = iter(())
        self._seen = self._online.changes

    def _draw(self) -> Iterator[tuple[Batch, Batch]]:
        mine, others = self._counts
        online = self._parts(self._online, mine)
        whole = online
        if others:
            assert self._offline is not None
            offline = self._parts(self._offline, others)
            whole = {name: torch.cat([online[name], offline[name]], 1) for name in online}
        return iter([(Batch({name: each[i] for name, each in whole.items()}),
                      Batch({name: each[i] for name, each in online.items()}))
                     for i in range(AHEAD)])

    def _parts(self, replay: Replay, count: int) -> dict[str, torch.Tensor]:
        """Draw transitions (AHEAD, count, ...) from a replay."""
        drawn = replay.sample(AHEAD * count, self._rng, self._relabel).to(self._device)
        return {name: each.view(AHEAD, count, *each.shape[1:]) for name, each in drawn.items()}
