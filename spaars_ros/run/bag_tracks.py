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

"""Values of the topics of a bag over time, and whether their clocks agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.bags import NANO

APART = 0.05
"""s by which the median delays from stamp to recording may differ between two topics."""


@dataclass
class Track:
    """Time series of the values of one topic."""

    topic: str
    times: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    """s; time of recording minus header stamp."""
    late: float = APART
    """s by which its values may be recorded later after their stamp than the states."""
    came: list[int] | None = None
    """ns; times from which the values are known, None: their own times."""

    def add(self, stamp: int | None, log: int, value: Any, clock: str) -> None:
        """
        Append a value.

        :param stamp: ns, of the message's header; None: it has none
        :param log: ns, time of recording
        :param clock: stamp or log, see `ImportOptions`
        """
        if stamp is not None:
            self.offsets.append((log - stamp) / NANO)
        self.times.append(log if stamp is None or clock == 'log' else stamp)
        self.values.append(value)

    def before(self, time: int) -> int:
        """Return the index of the newest value known at a time in ns, -1 for none."""
        known = self.times if self.came is None else self.came
        return int(np.searchsorted(known, time, side='right')) - 1


def compare_clocks(bag: Bag, tracks: Sequence[Track]) -> None:
    """Raise BagError when the stamps of two topics come from different or drifting clocks."""
    first = tracks[0]
    for track in tracks[1:]:
        if not track.offsets or not first.offsets:
            continue
        apart = float(np.median(track.offsets) - np.median(first.offsets))
        if not -APART <= apart <= max(APART, track.late):
            raise BagError(
                f'{bag.path}: clocks differ: {track.topic} is stamped {abs(apart):.3f} s '
                f'{"behind" if apart > 0 else "ahead of"} {first.topic}, by when both were '
                'recorded: --clock log takes the times of recording')
        third = max(1, len(track.offsets) // 3)
        drift = float(np.median(track.offsets[-third:]) - np.median(track.offsets[:third]))
        if abs(drift) > APART:
            raise BagError(
                f'{bag.path}: the clock of {track.topic} drifts by {drift:.3f} s over '
                'the bag: --clock log takes the times of recording')


def shift_of(states: Track, clock: str) -> int:
    """Return ns to add to a time of recording to convert it to the clock of the states."""
    return 0 if clock == 'log' or not states.offsets \
        else -round(float(np.median(states.offsets)) * NANO)


def stamp_of(msg: Any) -> int | None:
    """Return the stamp in the header of a message in ns, None if it has no header."""
    header = getattr(msg, 'header', None)
    return None if header is None else int(header.stamp.sec) * NANO + int(header.stamp.nanosec)
