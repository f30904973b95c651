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

"""Whether a distance stays positive on the way between two places where it is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.safety.distances import Distance

DEEPEST = 6
"""Times that a way is halved before it counts as closed."""


@dataclass(frozen=True)
class Place:
    """A distance where it was measured."""

    position: Array
    """(d,) rad."""
    gap: float
    """m."""
    apart: Array
    """(3,) m, of `Distance.apart`."""
    normal: Array
    """(3,) unit vector, in which the second thing moves off."""


def look(one: Distance, position: Array) -> Place:
    """Measure a distance where its world is, at joint positions (d,) rad."""
    gap = one.measure()
    return Place(position, gap, one.apart(), np.array(one.line()[3:]))


def stays_open(one: Distance, begin: Place, end: Place, measure: Callable[[Array], Place],
               least: float, deepest: int = DEEPEST) -> bool:
    """
    Return whether a distance is proved positive along the line of joint positions between.

    By its rate at most (`levers`); else by the two planes that part the things at both ends, of
    which each is a bound from below for things that are convex; else half by half. A point that
    the joints take along by delta leaves the line between its two places by less than
    delta . bends . delta / 8, and of the things about it no point turns further than
    spins . delta. Reconstructed here.

    :param measure: looks at the distance at joint positions (d,) rad
    :param least: m, that a distance measured in between has to have
    """
    delta = np.abs(end.position - begin.position)
    if begin.gap + end.gap >= float(one.levers @ delta):
        return True
    if _lowest(one, begin, end, delta) >= 0.0:
        return True
    if deepest == 0:
        return False
    middle = measure(0.5 * (begin.position + end.position))
    return middle.gap >= least \
        and stays_open(one, begin, middle, measure, least, deepest - 1) \
        and stays_open(one, middle, end, measure, least, deepest - 1)


def _lowest(one: Distance, begin: Place, end: Place, delta: Array) -> float:
    """Return what the distance is at least, by the planes that part the things at both ends."""
    chord, spin = end.apart - begin.apart, float(one.spins @ delta)
    falls = float(begin.normal @ chord) - spin
    rises = float(end.normal @ chord) + spin
    # begin.gap + s falls and end.gap - (1 - s) rises, s from 0 to 1: the greater of both counts.
    apart = falls - rises
    cross = (end.gap - rises - begin.gap) / apart if apart else 0.0
    least = min(max(begin.gap + share * falls, end.gap - (1.0 - share) * rises)
                for share in (0.0, 1.0, min(max(cross, 0.0), 1.0)))
    return least - 0.125 * float(delta @ one.bends @ delta)
