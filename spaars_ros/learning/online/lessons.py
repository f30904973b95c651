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

"""Lessons: human transitions of a run, added to the demonstrations and drawn for cloning."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.online.judged import Judged
from spaars_ros.learning.online.judged import Key

ROOM = 200_000
"""Maximum number of human transitions in the replay, in addition to the demonstrations."""


class Lessons:
    """
    Human transitions in the replay of the demonstrations.

    :param offline: replay of the demonstrations, with `ROOM` more transitions
    :param judged: tracks the episodes of `offline`
    :param seed: seed of the draws
    """

    def __init__(self, offline: Replay, judged: Judged, seed: int) -> None:
        self.taught = 0
        """Number of transitions added so far."""
        self.out_of_reach = float('nan')
        """Mean distance of human actions from the decoder's range; NaN before the first lesson."""
        self.new: list[tuple[str, int, int, float]] = []
        """(robot, episode, steps, distance) of each new lesson; the reader empties the list."""
        self._offline, self._judged, self._seed = offline, judged, seed

    def has_room(self, steps: int) -> bool:
        """Return whether `steps` more transitions fit without replacing others."""
        return self.taught + steps <= ROOM

    def add(self, episode: Key, observations: NDArray[Any], actions: NDArray[Any], ends: bool,
            distance: float, **columns: Any) -> None:
        """
        Add a part of an episode with human actions; arguments as in `Replay.add_episode`.

        :param distance: mean distance of the actions from the decoder's range
        """
        before = 0.0 if self.taught == 0 else self.out_of_reach * self.taught
        self.taught += len(actions)
        self.out_of_reach = (before + distance * len(actions)) / self.taught
        self.new.append((*episode, len(actions), distance))
        self._judged.add(episode, observations, actions, ends, **columns)

    def draw(self, count: int, update: int) -> tuple[Tensor, Tensor] | None:
        """
        Draw normalised observations (count, n) and actions (count, d); None without any.

        The draw depends on seed and update only, so that a resumed run draws the same.

        :param update: number of the update
        """
        places = self._offline.latest(Mode.HUMAN, self.taught, within=self.taught)
        if not len(places):
            return None
        rng = np.random.default_rng([self._seed, 11, update])
        return self._offline.pairs(places[rng.integers(0, len(places), count)])
