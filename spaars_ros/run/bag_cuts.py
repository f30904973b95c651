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

"""Split a bag into episodes: by messages of a topic, by calls of a service, or at rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.bags import NANO
from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot

EVENTS = '/_service_event'
"""Suffix of the topic that carries a service's calls when service introspection is on."""
TOGETHER = 0.5
"""s after a cut in which further events are ignored: a call has request and response events."""
STILL = 0.01
"""Fraction of the velocity limit below which a joint counts as at rest."""
SHORTEST = 0.3
"""s; shorter motions are not demonstrations."""
WORDS = ('success', 'failure', 'discard')
FAR = 2**62


@dataclass(frozen=True)
class Cut:
    """Begin and end of one episode, in ns, and its outcome."""

    begin_ns: int
    end_ns: int
    outcome: str = 'unlabelled'


def cuts_by_topic(bag: Bag, name: str, shift: int) -> list[Cut]:
    """
    Return the episodes of a bag; each message of a topic, or call of a service, ends one.

    A std_msgs/String gives the outcome if its first word is success, failure or discard. A
    discarded episode is left out. Data after the last message belongs to no episode.

    :param shift: ns to add to recording times, to convert them to the clock of the joint states
    :raises BagError: the bag has neither a topic nor recorded service calls of this name
    """
    try:
        topic = bag.find(name, 'cut by')
    except BagError:
        try:
            topic = bag.find(name.rstrip('/') + EVENTS, 'cut by')
        except BagError:
            raise bag_error(bag, name) from None
    marks: list[tuple[int, str]] = []
    said = bag.types[topic].endswith('/String')
    if said:
        marks = [(time, str(msg.data).split(' ')[0]) for _, time, msg in bag.messages([topic])]
    else:
        marks = [(each.time_ns, '') for each in bag.raw([topic])]
    cuts, begin = [], -FAR
    for time, word in marks:
        end = time + shift
        if (end - begin) / NANO < TOGETHER:
            continue
        if word != 'discard':
            cuts.append(Cut(begin, end, word if word in WORDS else 'unlabelled'))
        begin = end
    return cuts


def bag_error(bag: Bag, name: str) -> BagError:
    """Return the error for a topic or service that the bag does not contain."""
    kinds = ', '.join(f'{topic} ({kind.rpartition("/")[2]})'
                      for topic, kind in sorted(bag.types.items()))
    return BagError(f'{bag.path}: cut by {name!r}: neither a topic nor a service with recorded '
                    f'calls (introspection) in it; there are {kinds}')


def cuts_at_rest(stamps: Sequence[int], positions: Sequence[Array], rest: float,
                 robot: Robot) -> list[Cut]:
    """
    Return the episodes between rests longer than `rest` s; the rests themselves are left out.

    :param stamps: ns, one per tick, ascending
    :param positions: joint positions (d,) in rad, one per tick
    """
    limit = STILL * np.asarray(robot.limits.velocity)
    times, places = np.array(stamps), np.array(positions)
    gaps = np.maximum(np.diff(times)[:, None] / NANO, 1e-9)
    moving = np.flatnonzero((np.abs(np.diff(places, axis=0)) / gaps > limit).any(axis=1))
    if not len(moving):
        return []
    breaks = np.flatnonzero(np.diff(times[moving]) / NANO > rest)
    firsts = moving[np.r_[0, breaks + 1]]
    lasts = moving[np.r_[breaks, len(moving) - 1]] + 1
    return [Cut(int(times[first]), int(times[last])) for first, last in zip(firsts, lasts)
            if (times[last] - times[first]) / NANO >= SHORTEST]
