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

"""What people did in a run: added to the demonstrations, measured, and drawn to be cloned."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.online.judged import Judged
from spaars_ros.learning.online.judged import Key

ROOM = 200_000
"""A person's transitions that the demonstrations have room for, beside those of the data set."""


class Lessons:
    """
    A person's transitions in the replay of the demonstrations.

    :param offline: the demonstrations, with `ROOM`
    :param judged: who knows its episodes
    """

    def __init__(self, offline: Replay, judged: Judged, seed: int) -> None:
        self.taught = 0
        """Transitions that were added."""
        self.out_of_reach = float('nan')
        """Mean distance of a person's actions from what the decoder makes: raw's own ground."""
        self.new: list[tuple[str, int, int, float]] = []
        """Robot, episode, steps and distance of what was taught; whoever reads it empties it."""
        self._offline, self._judged, self._seed = offline, judged, seed

    def has_room(self, steps: int) -> bool:
        """Return whether so many transitions more would take the place of nothing."""
        return self.taught + steps <= ROOM

    def add(self, episode: Key, observations: NDArray[Any], actions: NDArray[Any], ends: bool,
            distance: float, **columns: Any) -> None:
        """
        Add a part of an episode in which a person acted.

        :param distance: of the actions from what the decoder makes
        """
        before = 0.0 if self.taught == 0 else self.out_of_reach * self.taught
        self.taught += len(actions)
        self.out_of_reach = (before + distance * len(actions)) / self.taught
        self.new.append((*episode, len(actions), distance))
        self._judged.add(episode, observations, actions, ends, **columns)

    def draw(self, count: int, update: int) -> tuple[Tensor, Tensor] | None:
        """
        Return some observations and actions, None where there are none.

        The draw depends on the update alone, so that a run that goes on draws the same.
        """
        places = self._offline.latest(Mode.HUMAN, self.taught, within=self.taught)
        if not len(places):
            return None
        rng = np.random.default_rng([self._seed, 11, update])
        return self._offline.pairs(places[rng.integers(0, len(places), count)])
