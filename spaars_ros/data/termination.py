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

"""Detection of terminations that are probably time limits (`done` in old recordings)."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]


def suspicious_terminations(terminations: Flags, lengths: NDArray[np.int64],
                            next_observations: Floats, observations: Floats,
                            env: 'gymnasium.Env[Any, Any] | None',
                            limit: int | None = None) -> tuple[Flags, str]:
    """
    Return which terminations (N,) look like truncations, and why; '' if none does.

    One of three signs is enough. (1) The same state continues in the next row. (2) The episode is
    exactly as long as the time limit, more often than true ends are. (3) The environment calls the
    state healthy. A time limit stored as a termination teaches that the best states have no value.

    A step that repeats its own observation does not contain its next state
    (`transitions_from_fields`); signs 1 and 3 ignore such steps.

    :param terminations: (N,)
    :param lengths: (episodes,) transitions per episode
    :param next_observations: (N, n)
    :param observations: (N, n)
    :param env: environment for signs 2 and 3, None if there is none
    :param limit: time limit in transitions, used if there is no environment
    """
    last = np.cumsum(lengths) - 1
    size = np.zeros(len(terminations), np.int64)
    size[last] = lengths
    if env is not None and env.spec is not None:
        limit = env.spec.max_episode_steps
    known = terminations & (next_observations != observations).any(axis=1)
    goes_on = np.zeros(len(terminations), bool)
    goes_on[:-1] = known[:-1] & (next_observations[:-1] == observations[1:]).all(axis=1)
    timed = _at_limit(terminations, size, limit)
    found = [(goes_on, 'continue from the same state in the next row'),
             (timed, f'end exactly at the time limit of {size[timed].max(initial=0)} steps'),
             (_healthy(next_observations, known, env),
              'end in states that the environment calls healthy')]
    reasons = [f'{int(suspects.sum())} of {int(terminations.sum())} terminations, the first at '
               f'{int(np.flatnonzero(suspects)[0])}, {what}'
               for suspects, what in found if suspects.any()]
    return np.logical_or.reduce([suspects for suspects, _ in found]), ', and '.join(reasons)


def _at_limit(terminations: Flags, size: NDArray[np.int64], limit: int | None) -> Flags:
    """
    Return the terminations at the time limit if there are too many of them to be chance, (N,).

    If the limit is unknown, it is taken as the longest episode, provided that two or more
    terminations share its length. True ends are about as frequent in the last step before the
    limit as in the steps just before it.
    """
    ends = size[terminations]
    if not len(ends):
        return terminations
    longest = int(size.max()) if limit is None else limit
    there = int((ends == longest).sum())
    before = int(((ends < longest) & (ends >= 0.9 * longest)).sum())
    if limit is None and there < 2:
        return np.zeros_like(terminations)
    if there == len(ends) or (there >= 3 and there > before):
        return terminations & (size == longest)
    return np.zeros_like(terminations)


def _healthy(next_observations: Floats, terminations: Flags,
             env: 'gymnasium.Env[Any, Any] | None') -> Flags:
    """
    Return which of the terminated states a MuJoCo environment calls healthy, (N,).

    Only if the observation is the complete state except the first coordinate, and every unhealthy
    state terminates, as in Hopper and Walker2d; otherwise none.
    """
    found = np.zeros(len(terminations), bool)
    inner: Any = None if env is None else env.unwrapped
    if env is None or env.spec is None or not getattr(inner, '_terminate_when_unhealthy', False):
        return found
    nq, nv = inner.model.nq, inner.model.nv
    if next_observations.shape[1] != nq + nv - 1:
        return found
    probe: Any = gymnasium.make(env.spec).unwrapped  # a second one: the caller's keeps its state
    try:
        for i in np.flatnonzero(terminations):
            state = np.concatenate(([0.0], next_observations[i].astype(np.float64)))
            probe.set_state(state[:nq], state[nq:])
            found[i] = probe.is_healthy
    finally:
        probe.close()
    return found
