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

"""Labels of episodes in a replay: change their outcome, or discard them, after they were added."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Outcome
from spaars_ros.learning.core.replay import Replay

Key = tuple[str, int]
"""Robot and number of an episode."""


class Judged:
    """
    Tracks the place of each episode in a replay.

    Episodes are added as consecutive blocks, so the place of a block follows from the number of
    transitions added after it.

    :param replay: from now on transitions must be added only here
    """

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._blocks: list[tuple[Key, int]] = []
        """(episode, transitions), oldest first."""

    def add(self, episode: Key, observations: NDArray[Any], actions: NDArray[Any],
            terminated: bool, **columns: Any) -> None:
        """Add a part of an episode; arguments as in `Replay.add_episode`."""
        self._replay.add_episode(observations, actions, terminated, **columns)
        self._blocks.append((episode, len(actions)))

    def judge(self, episode: Key, outcome: Outcome) -> bool:
        """
        Apply the outcome of an episode; return whether the replay has changed.

        A discarded episode is removed. Success or failure makes its last transition a true
        termination; 'unlabelled' makes it a truncation.
        """
        if all(number != episode for number, _ in self._blocks):
            return False
        arrays = self._replay.arrays()
        keep = np.ones(self._replay.size, bool)
        end, last, blocks = self._replay.size, -1, []
        for number, count in reversed(self._blocks):
            begin = end - count
            if number == episode and end > 0:
                keep[max(begin, 0):end] = False
                last = max(last, end - 1)
            elif end > 0:
                blocks.append((number, count))
            end = begin
        if outcome is Outcome.DISCARDED:
            if keep.all():
                return False
            self._blocks = blocks[::-1]
            self._replay.load_arrays({name: column[keep] for name, column in arrays.items()})
            return True
        ends = outcome is not Outcome.UNLABELLED
        if last < 0 or arrays['terminated'][last] == ends:
            return False
        arrays['terminated'][last] = ends
        self._replay.load_arrays(arrays)
        return True
