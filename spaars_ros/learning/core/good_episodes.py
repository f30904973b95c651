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

"""Dataset of good episodes to clone: demonstrations, and own episodes above their mean return."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.core.replay import Normaliser

CAPACITY = 200_000
"""Maximum number of transitions; beyond it the oldest own transitions are dropped."""
NAMES = ('good/observation', 'good/action')


class GoodEpisodes:
    """
    Observations and actions of the episodes that behaviour cloning imitates.

    :param normaliser: normalises the observations of own episodes
    :param returns: (E,) return of each demonstration; their mean is the bar
    :param episodes: normalised observations (T, n) and actions (T, d) of each demonstration
    """

    def __init__(self, normaliser: Normaliser, returns: NDArray[Any],
                 episodes: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> None:
        self._normaliser = normaliser
        self.bar = float(np.mean(returns))
        better = [episode for earned, episode in zip(returns, episodes) if earned > self.bar]
        # If all returns are equal none is above the mean: clone all.
        self._shown = _joined(better or episodes)
        self._own = tuple(each[:0] for each in self._shown)
        self._all = self._shown

    @property
    def size(self) -> int:
        """Return the number of transitions to clone."""
        return len(self._all[1])

    def take(self, earned: float, observations: NDArray[Any], actions: NDArray[Any]) -> bool:
        """
        Add an own episode if its return is above the bar; return whether it is.

        :param earned: return of the episode
        :param observations: (T, n) physical units
        :param actions: (T, d) normalised, in [-1, 1]
        """
        if not earned > self.bar:
            return False
        added = self._normaliser(observations), np.asarray(actions, np.float32)
        room = max(0, CAPACITY - len(self._shown[1]))
        self._put(tuple(np.concatenate([old, new])[-room:] if room else old[:0]
                        for old, new in zip(self._own, added)))
        return True

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return normalised observations (B, n) and actions (B, d), drawn uniformly."""
        places = rng.integers(0, self.size, count)
        observation, action = (torch.from_numpy(each[places]) for each in self._all)
        return observation, action

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the own transitions by name (`NAMES`)."""
        return dict(zip(NAMES, self._own))

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`."""
        self._put(tuple(np.array(arrays[name], np.float32) for name in NAMES))

    def _put(self, own: tuple[NDArray[np.float32], ...]) -> None:
        self._own = own
        self._all = tuple(np.concatenate(pair) for pair in zip(self._shown, own))


def _joined(episodes: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
            ) -> tuple[NDArray[np.float32], ...]:
    return tuple(np.concatenate(each) for each in zip(*episodes))
