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

"""Where the episodes of a bag begin and end: by a topic, by a service's calls, or by rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.bags import NANO
from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot

EVENTS = '/_service_event'
"""Topic of a service's calls, where its introspection is on, below its name."""
TOGETHER = 0.5
"""s: a service's request and answer are one event."""
STILL = 0.01
"""Of the velocity limit, below which a joint rests."""
SHORTEST = 0.3
"""s of motion that are a demonstration."""
WORDS = ('success', 'failure', 'discard')
FAR = 2**62


@dataclass(frozen=True)
class Cut:
    """An episode."""

    begin_ns: int
    end_ns: int
    outcome: str = 'unlabelled'


def cuts_by_topic(bag: Bag, name: str, shift: int) -> list[Cut]:
    """
    Return the episodes that end with each message of a topic, or each call of a service.

    A std_msgs/String says what the episode came to, if it is success, failure or discard; what is
    discarded is no episode. What follows the last message is none either.

    :param shift: ns to add to times of recording
    :raises BagError: no such topic
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
    """Return the error of a topic or service that a bag does not have."""
    kinds = ', '.join(f'{topic} ({kind.rpartition("/")[2]})'
                      for topic, kind in sorted(bag.types.items()))
    return BagError(f'{bag.path}: cut by {name!r}: neither a topic nor a service with recorded '
                    f'calls (introspection) in it; there are {kinds}')


def cuts_at_rest(stamps: Sequence[int], positions: Sequence[Array], rest: float,
                 robot: Robot) -> list[Cut]:
    """
    Return the episodes between rests of `rest` s or more, without the rest.

    :param stamps: ns, one a tick
    :param positions: (d,) rad of each
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
