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


"""Checks of foreign data for rows that were never filled and observations that never change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.termination import suspicious_terminations

HARDLY = 1e-3
"""Ratio of standard deviation to mean magnitude below which an observation hardly changes."""
CLIP = 8
"""Number of standard deviations at which an observation is clipped."""


def find_unfilled(observations: NDArray[Any], actions: NDArray[Any], episode: NDArray[Any]) -> str:
    """
    Return where the rows at the end of an episode are all zeros, as in a buffer made too long.

    :param observations: (N, n)
    :param actions: (N, a)
    :param episode: (N,)
    :return: the rows in words; '' if there are none, or if all rows are zeros
    """
    zero = np.asarray((observations == 0).all(axis=1) & (actions == 0).all(axis=1))
    if zero.all():
        return ''
    ends = np.flatnonzero(np.r_[np.diff(episode) != 0, True])
    for end in ends[zero[ends]]:
        filled = np.flatnonzero(~zero[:end])
        first = int(filled[-1]) + 1 if len(filled) else 0
        first = max(first, int(np.flatnonzero(episode == episode[end])[0]))
        if end - first >= 1:
            return (f'observations and actions at {first} to {end}, the end of episode '
                    f'{episode[end]}, are all 0: rows that were made and never filled? Cut them '
                    'off')
    return ''


def unchanging(observations: NDArray[Any], names: Sequence[str] = ()) -> list[str]:
    """
    Return one line for the observations that never change, and one for each that hardly changes.

    :param observations: (N, n)
    :param names: of the n values; (): their indices
    """
    if len(observations) < 2:
        return []
    called = list(names) or [str(index) for index in range(observations.shape[1])]
    spread = np.ptp(observations, axis=0)
    constant = np.flatnonzero(spread == 0)
    lines = [f'observations {", ".join(called[i] for i in constant)} never change'] \
        * bool(len(constant))
    std, size = observations.std(0, dtype=np.float64), np.abs(observations.mean(0))
    for i in np.flatnonzero((spread > 0) & (std < HARDLY * size)):
        lines.append(f'observations {called[i]} hardly changes ({size[i]:.3g} +- {std[i]:.1g}): '
                     f'a reading {CLIP * std[i]:.1g} off is clipped at {CLIP} standard deviations')
    return lines


def find_time_limits(terminations: NDArray[np.bool_], episode: NDArray[Any],
                     observations: NDArray[Any], next_observations: NDArray[Any],
                     limit: int | None) -> str:
    """
    Return why terminations (N,) look like time limits; '' if they do not.

    :param episode: (N,)
    :param observations: (N, n)
    :param next_observations: (N, n)
    :param limit: ticks per episode, None if unknown
    """
    _, lengths = np.unique(episode, return_counts=True)
    _, reason = suspicious_terminations(terminations, lengths, next_observations, observations,
                                        None, limit)
    return f'{reason}: time limits stored as terminations? They belong into truncations' \
        if reason else ''
