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

"""Transitions of any Gymnasium environment: fields, episodes, and checks before training."""

from dataclasses import dataclass
from dataclasses import field
import os
import re
from typing import Any
import warnings

import gymnasium
import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.oddities import find_unfilled
from spaars_ros.data.oddities import unchanging
from spaars_ros.data.termination import suspicious_terminations

Fields = dict[str, NDArray[Any]]

TWO_AXES = ('observations', 'actions', 'next_observations', 'costs')
FLAGS = ('terminations', 'truncations')
REQUIRED = ('observations', 'actions', 'rewards', 'terminations')
ROUNDING = 1e-5
"""Tolerance relative to a value's magnitude, for errors of float32 and of a format conversion."""


class DataError(ValueError):
    """Transitions are malformed; the message names the file, the field and the index."""


class DataWarning(UserWarning):
    """Transitions are usable, but something in them is probably not as intended."""


@dataclass
class Transitions:
    """Transitions in time order, one episode after another."""

    observations: NDArray[np.float32]
    """(N, n), in the environment's units."""
    actions: NDArray[np.float32]
    """(N, d), in the environment's units."""
    rewards: NDArray[np.float32]
    """(N,)."""
    next_observations: NDArray[np.float32]
    """(N, n)."""
    terminations: NDArray[np.bool_]
    """(N,), a true end of the episode: the target does not bootstrap here."""
    truncations: NDArray[np.bool_]
    """
    (N,), a time limit or the end of the recording: the target bootstraps from the next
    observation.
    """
    costs: NDArray[np.float32]
    """(N, C), costs per step; C may be 0."""
    episode: NDArray[np.int64]
    """(N,), episode number; increases by one from each episode to the next."""
    attributes: dict[str, str] = field(default_factory=dict)
    """file, source, env and all other attributes of the file."""
    warnings: list[str] = field(default_factory=list)
    """What was suspicious, or was corrected, when these transitions were read and checked."""

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.observations)

    @property
    def episodes(self) -> int:
        """Return the number of episodes."""
        return int(self.episode[-1]) + 1 if len(self) else 0

    @property
    def returns(self) -> NDArray[np.float64]:
        """Return the undiscounted return of each episode, (episodes,)."""
        returns = np.bincount(self.episode, self.rewards, minlength=self.episodes)
        return returns.astype(np.float64)  # bincount returns integers if there is no episode

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of transitions of each episode, (episodes,)."""
        return np.bincount(self.episode, minlength=self.episodes)


def check_transitions(transitions: Transitions, *, observation_space: gymnasium.Space[Any],
                      action_space: gymnasium.Space[Any]) -> list[str]:
    """
    Check transitions against the environment in which they are to be used for learning.

    Actions on a bound are accepted (the actors' log-probability treats them as just inside).
    Actions that are beyond a bound only by rounding are set to the bound, in place.

    :return: warnings about what is suspicious but usable
    :raises DataError: widths differ, an action is out of bounds, or a value is not finite
    """
    where = transitions.attributes.get('file', 'transitions')
    _check_finite(vars(transitions), where)
    for name, array, space in (('observations', transitions.observations, observation_space),
                               ('actions', transitions.actions, action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise DataError(f'{where}: {name} are rows of numbers, the environment has {space}')
        if array.shape[1] != space.shape[0]:
            raise DataError(f'{where}: {name} has {array.shape[1]} values a row, the environment '
                            f'{space.shape[0]}')
    assert isinstance(action_space, gymnasium.spaces.Box)
    _check_bounds(transitions, action_space, where)
    return _oddities(transitions)


def _check_finite(arrays: dict[str, Any], where: str) -> None:
    for name in ('observations', 'actions', 'rewards', 'next_observations', 'costs'):
        array = arrays.get(name, np.zeros(0))
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            index = tuple(bad[0])
            raise DataError(f'{where}: {name} at {", ".join(map(str, index))} is {array[index]}'
                            + (f', and {len(bad) - 1} more' if len(bad) > 1 else ''))


def _check_bounds(data: Transitions, space: gymnasium.spaces.Box, where: str) -> None:
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    size = np.maximum(np.abs(low), np.abs(high))  # bounds far from 0 are rounded more coarsely
    slack = ROUNDING * np.where(np.isfinite(high - low), np.maximum(size, high - low), 0.0)
    bad = np.argwhere((data.actions < low - slack) | (data.actions > high + slack))
    if len(bad):
        i, j = bad[0]
        raise DataError(f'{where}: actions at {i}, {j} is {data.actions[i, j]:g}, outside '
                        f'[{low[j]:g}, {high[j]:g}]'
                        + (f', and {len(bad) - 1} more' if len(bad) > 1 else ''))
    np.clip(data.actions, low, high, out=data.actions)


def _oddities(data: Transitions) -> list[str]:
    if not len(data):
        return ['no transition in it: nothing can be learned from it offline']
    if len(data) == 1:
        return ['one transition only: every batch repeats it']
    found = unchanging(data.observations)
    if data.episodes == 1:
        found.append('one episode only: what is learned is near to that episode')
    if np.ptp(data.rewards) == 0.0 and not data.terminations.any():
        found.append(f'every reward is {data.rewards[0]:g} and no episode terminates: nothing '
                     'says what was a success, so the policy is a clone, and values say nothing')
    return found


def _too_long(data: Transitions, env: 'gymnasium.Env[Any, Any]') -> list[str]:
    """Return a warning if an episode is longer than the environment's time limit."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    longest = int(data.lengths.argmax()) if len(data) else 0
    if not len(data) or limit is None or data.lengths[longest] <= limit:
        return []
    first = int(data.lengths[:longest].sum())
    return [f'rows {first} to {first + int(data.lengths[longest]) - 1} are one episode of '
            f'{data.lengths[longest]} steps, and the environment ends them after {limit}: without '
            'truncations, episode and next_observations a reset between them is not seen, and '
            'what is learned there is wrong']


def _of_another(data: Transitions, env: 'gymnasium.Env[Any, Any]') -> list[str]:
    """Return a warning if the file names another environment; versions may differ."""
    recorded, here = data.attributes.get('env', ''), env.spec.id if env.spec is not None else ''
    names = [re.sub(r'-v\d+$', '', name) for name in (recorded, here)]
    if not all(names) or names[0] == names[1]:
        return []
    return [f'recorded in {recorded}, and this is {here}: widths and bounds agree, what they mean '
            'may not']


def transitions_from_fields(fields: Fields, attributes: dict[str, str] | None = None, *,
                            where: str = 'transitions') -> Transitions:
    """
    Make transitions from named arrays; find the episodes and derive optional fields.

    An episode ends at a termination, at a truncation, where `episode` changes, and where an
    observation is not the next observation of the row before. The last two become truncations, as
    does the end of the data. A step with both flags is a termination: nothing follows it.

    :param fields: observations (N, n), actions (N, d), rewards (N,), terminations (N,); optional:
        truncations (N,), next_observations (N, n), costs (N,) or (N, C), episode (N,)
    :param attributes: of the file, kept with the transitions
    :param where: name of the source, for error messages
    :raises DataError: a field is missing, is not numeric, has the wrong shape or length, or is not
        finite
    """
    arrays = {name: _array(array, name, where) for name, array in fields.items()}
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise DataError(f'{where}: field {missing[0]} is missing; found {sorted(fields)}')
    size = len(arrays['observations'])
    arrays.setdefault('truncations', np.zeros(size, bool))
    arrays.setdefault('costs', np.zeros((size, 0), np.float32))
    for name, array in arrays.items():
        if len(array) != size:
            raise DataError(f'{where}: {name} has {len(array)} entries, observations {size}')
    notes: list[str] = []
    _settle_flags(arrays, notes)
    _check_finite(arrays, where)  # while the row numbers are still those of the file
    empty = find_unfilled(arrays['observations'], arrays['actions'],
                     arrays.get('episode', np.zeros(size, np.int64))) if size else ''
    if empty:
        raise DataError(f'{where}: {empty}')
    if 'next_observations' not in arrays:
        arrays = _derive_next(arrays, notes)
    elif arrays['next_observations'].shape != arrays['observations'].shape:
        raise DataError(f'{where}: next_observations has shape '
                        f'{arrays["next_observations"].shape}, observations '
                        f'{arrays["observations"].shape}')
    arrays.setdefault('episode', np.zeros(len(arrays['observations']), np.int64))
    data = Transitions(**arrays, attributes=dict(attributes or {}), warnings=notes)
    _find_episodes(data)
    return data


def _array(array: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    """Return the field in its stored type; raises DataError for an invalid shape or value."""
    if array.dtype.kind not in 'fiub':
        raise DataError(f'{where}: {name} holds {array.dtype}, no numbers')
    if name not in TWO_AXES and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if name == 'costs' and array.ndim == 1:
        array = array[:, None]
    axes = 2 if name in TWO_AXES else 1
    if array.ndim != axes:
        raise DataError(f'{where}: {name} has shape {array.shape}, expected {axes} axes')
    if name in FLAGS:
        bad = np.flatnonzero((array != 0) & (array != 1))
        if len(bad):
            raise DataError(f'{where}: {name} at {bad[0]} is {array[bad[0]]}, expected 0 or 1')
        return array.astype(np.bool_)
    if name == 'episode':
        bad = np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))
        if len(bad):
            raise DataError(f'{where}: episode at {bad[0]} is {array[bad[0]]}, expected a whole '
                            'number')
        return array.astype(np.int64)
    with np.errstate(over='ignore'):  # an overflow becomes infinite; _check_finite refuses it
        return array.astype(np.float32)


def _settle_flags(arrays: Fields, notes: list[str]) -> None:
    both = np.flatnonzero(arrays['terminations'] & arrays['truncations'])
    if len(both):
        notes.append(f'{len(both)} steps, the first at {both[0]}, have both flags, terminations '
                     'and truncations: taken as terminations')
        arrays['truncations'] = arrays['truncations'] & ~arrays['terminations']


def _derive_next(arrays: Fields, notes: list[str]) -> Fields:
    """
    Take each next observation from the next row; drop the ends of episodes that have none.

    A terminated step is kept, since its value is only its reward: it repeats its own observation.
    """
    size = len(arrays['observations'])
    ended = arrays['terminations'] | arrays['truncations']
    if 'episode' in arrays:
        ended[:-1] |= np.diff(arrays['episode']) != 0
    ended[-1:] = True
    terminated = arrays['terminations']
    follower = np.where(ended, np.arange(size), np.arange(size) + 1)
    arrays = dict(arrays, next_observations=arrays['observations'][follower])
    keep = ~ended | terminated
    truncations = np.zeros(size, bool)  # the step before a dropped one now ends its episode
    truncations[:-1] = ~keep[1:] & keep[:-1] & ~ended[:-1]
    arrays['truncations'] = truncations
    notes.append('no next_observations: taken from the next row; '
                 f'{int(size - keep.sum())} last steps of truncated episodes dropped')
    return {name: array[keep] for name, array in arrays.items()}


def _find_episodes(data: Transitions) -> None:
    ended = data.terminations | data.truncations
    inside = ~ended[:-1]
    gap = np.abs(data.next_observations[:-1] - data.observations[1:])
    torn = inside & (gap > ROUNDING * (1.0 + np.abs(data.observations[1:]))).any(axis=1)
    torn |= inside & (np.diff(data.episode) != 0)
    found = np.flatnonzero(torn)
    if len(found):
        data.warnings.append(f'{len(found)} episodes end without a flag, the first at {found[0]}: '
                             'taken as truncations')
        data.truncations[found] = True
    if len(data) and not ended[-1]:
        data.truncations[-1] = True
    ended = data.terminations | data.truncations
    data.episode = np.concatenate(([0], np.cumsum(ended[:-1])))[:len(data)].astype(np.int64)


def load_transitions(path_or_name: str | os.PathLike[str],
                     env: 'gymnasium.Env[Any, Any] | None' = None, *,
                     fix: bool = False, flatten: Any = None,
                     observe: 'tuple[str, ...] | list[str]' = ()) -> Transitions:
    """
    Read transitions and check them, against an environment if one is given.

    Suspicious but usable data are reported with `warnings.warn` (DataWarning) and kept in
    `Transitions.warnings`.

    :param path_or_name: `.npz`, `.h5` or `.hdf5` (our layout, D4RL's or robomimic's), or
        `minari:<id or path>`
    :param env: source of widths, action bounds and time limit for the checks; never stepped or
        changed
    :param fix: convert terminations that look like time limits to truncations
    :param flatten: see `importers.read_transitions`
    :param observe: see `importers.read_transitions`
    :raises DataError: malformed; the message names the file, the field and the index
    """
    # Imported here, since the readers load HDF5 and, for its data sets, Minari.
    from spaars_ros.data.importers import read_transitions
    data = read_transitions(path_or_name, flatten, observe)
    if env is None:
        data.warnings += _oddities(data)
    else:
        data.warnings += check_transitions(data, observation_space=env.observation_space,
                                           action_space=env.action_space)
        data.warnings += _too_long(data, env)
        if flatten is None:  # flattened observations come from an environment with another name
            data.warnings += _of_another(data, env)
    suspects, reason = suspicious_terminations(
        data.terminations, data.lengths, data.next_observations, data.observations, env)
    if reason and fix:
        data.terminations &= ~suspects
        data.truncations |= suspects
        data.warnings.append(f'{reason}: taken as truncations')
    elif reason:
        data.warnings.append(f'{reason}: truncation stored as termination? No value is '
                             'bootstrapped there unless they are taken as truncations (fix)')
    for text in data.warnings:
        warnings.warn(f'{path_or_name}: {text}', DataWarning, stacklevel=2)
    return data


def save_transitions(transitions: Transitions, path: str | os.PathLike[str]) -> None:
    """
    Write transitions atomically as `.npz`, `.h5` or `.hdf5`.

    :raises DataError: a value is not finite, or the file name has another extension; nothing is
        written
    :raises OSError: the file cannot be written; an existing file is kept
    """
    from spaars_ros.data.importers import write_transitions
    _check_finite(vars(transitions), str(path))
    write_transitions(transitions, path)
