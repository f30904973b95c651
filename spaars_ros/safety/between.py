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

"""Proof that a distance stays positive between two joint positions where it is positive."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.safety.distances import Distance

DEEPEST = 6
"""Number of times that a path is halved before it counts as blocked."""


@dataclass(frozen=True)
class Place:
    """A distance and the joint positions where it was measured."""

    position: Array
    """(d,) rad."""
    gap: float
    """m."""
    apart: Array
    """(3,) m, from `Distance.apart`."""
    normal: Array
    """(3,) unit vector: the direction in which the second object moves away."""


def look(one: Distance, position: Array) -> Place:
    """Measure a distance at the present state of its world, at joint positions (d,) rad."""
    gap = one.measure()
    return Place(position, gap, one.apart(), np.array(one.line()[3:]))


def stays_open(one: Distance, begin: Place, end: Place, measure: Callable[[Array], Place],
               least: float, deepest: int = DEEPEST) -> bool:
    """
    Return whether a distance is proved positive along a straight line of joint positions.

    Three proofs are tried in this order: the bound of the distance's rate (`levers`); the two
    planes that separate the objects at both ends, since each is a lower bound for convex objects;
    then both halves of the line. A point that moves with the joints by delta leaves the straight
    line between its two places by less than delta . bends . delta / 8. No point of an object turns
    about the object's centre by more than spins . delta. Reconstructed here.

    :param begin: the distance at the start of the line
    :param end: the distance at the end of the line
    :param measure: returns the distance at joint positions (d,) rad
    :param least: m, smallest allowed distance where one is measured in between
    :param deepest: how many more times the line may be halved
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
    """Return a lower bound, m, of the distance, from the planes that separate the objects."""
    chord, spin = end.apart - begin.apart, float(one.spins @ delta)
    falls = float(begin.normal @ chord) - spin
    rises = float(end.normal @ chord) + spin
    # Lower bounds begin.gap + s falls and end.gap - (1 - s) rises, s from 0 to 1: the greater
    # holds.
    apart = falls - rises
    cross = (end.gap - rises - begin.gap) / apart if apart else 0.0
    least = min(max(begin.gap + share * falls, end.gap - (1.0 - share) * rises)
                for share in (0.0, 1.0, min(max(cross, 0.0), 1.0)))
    return least - 0.125 * float(delta @ one.bends @ delta)
