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


"""Reader of robomimic's HDF5 layout, and hints about files with other layouts."""

from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.hdf5 import read_hdf5
from spaars_ros.data.hdf5 import shapes_of

DEMO = re.compile(r'data/([^/]+)/actions')
Fields = dict[str, NDArray[Any]]


def is_robomimic(names: Sequence[str]) -> bool:
    """Return whether array names of an HDF5 file are those of robomimic's layout."""
    return any(DEMO.fullmatch(name) for name in names)


def read_robomimic(path: str, observe: Sequence[str], error: type[ValueError]
                   ) -> tuple[Fields, dict[str, str]]:
    """
    Return the fields of transitions, and the attributes env and `observed` (observation parts).

    Episodes are ordered by their numbers. A last step with `dones` and a reward above 0 is a
    termination (robomimic's success). Any other last step is a truncation, since recorders set
    `dones` at the end of each demonstration.

    :param observe: keys under obs/, in this order; (): all keys that hold rows of numbers
    :param error: exception type to raise; its one-line message begins with the file
    """
    shapes = shapes_of(path)
    demos = sorted((match[1] for match in map(DEMO.fullmatch, shapes) if match), key=_numbered)
    keys = _chosen(path, shapes, demos[0], observe, error)
    wanted = {f'data/{demo}/{name}' for demo in demos for name in (
        'actions', 'rewards', 'dones', *(f'{part}/{key}' for key in keys
                                         for part in ('obs', 'next_obs')))}
    arrays, _ = read_hdf5(path, wanted.__contains__, error)
    whole = all(f'data/{demo}/next_obs/{key}' in arrays for demo in demos for key in keys)
    parts = [_of_demo(path, arrays, demo, keys, whole, error) for demo in demos]
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    fields['episode'] = np.repeat(np.arange(len(parts)), [len(part['rewards']) for part in parts])
    widths = [1 if len(shapes[f'data/{demos[0]}/obs/{key}']) == 1
              else shapes[f'data/{demos[0]}/obs/{key}'][1] for key in keys]
    return fields, {'observed': ', '.join(f'{key} ({width})' for key, width in zip(keys, widths))}


def hint_of(names: Sequence[str]) -> str:
    """Return '; ...' with advice for a file with these arrays; '' for an unknown layout."""
    if is_robomimic(names):
        return ('; this is the layout of robomimic, which `spaars train --data` reads; its '
                'actions are those of another controller')
    last = {name.rpartition('/')[2] for name in names}
    if 'dones' in last:
        return ('; dones says that an episode ended and not why: store true ends as terminations '
                'and time limits as truncations')
    if {'qpos', 'action'} <= last:
        return ('; this looks like the layout of ALOHA or LeRobot: write its states as '
                'observations and its action as actions')
    return ''


def _numbered(name: str) -> tuple[int, str]:
    number = re.search(r'\d+$', name)
    return (int(number[0]) if number else -1, name)


def _chosen(path: str, shapes: Mapping[str, tuple[int, ...]], demo: str, observe: Sequence[str],
            error: type[ValueError]) -> list[str]:
    """Return the keys under obs/ that form an observation; raises `error` if there are none."""
    prefix = f'data/{demo}/obs/'
    there = {name.removeprefix(prefix): shape for name, shape in shapes.items()
             if name.startswith(prefix)}
    rows = sorted(key for key, shape in there.items() if len(shape) in (1, 2))
    for key in observe:
        if key not in rows:
            what = f'has shape {there[key]}, not rows of numbers' if key in there else 'is missing'
            raise error(f'{path}: {prefix}{key} {what}; there are {rows}')
    if not rows:
        raise error(f'{path}: nothing under {prefix} is rows of numbers; found {list(shapes)}')
    return list(observe) or rows


def _of_demo(path: str, arrays: Fields, demo: str, keys: Sequence[str], whole: bool,
             error: type[ValueError]) -> Fields:
    """Return the fields of one demonstration; raises `error`."""
    def get(name: str) -> NDArray[Any]:
        array = arrays.get(f'data/{demo}/{name}')
        if array is None:
            raise error(f'{path}: data/{demo}/{name} is missing')
        if array.ndim not in (1, 2) or len(array) != len(arrays[f'data/{demo}/actions']):
            raise error(f'{path}: data/{demo}/{name} has shape {array.shape}, and actions '
                        f'{arrays[f"data/{demo}/actions"].shape}')
        return array

    def rows(part: str) -> NDArray[Any]:
        each = [get(f'{part}/{key}') for key in keys]
        return np.concatenate([array.reshape(len(array), -1) for array in each], axis=1)
    rewards = get('rewards').reshape(-1)
    size = len(rewards)
    if not size:
        raise error(f'{path}: data/{demo} has no step')
    done = get('dones').reshape(-1) if f'data/{demo}/dones' in arrays else np.zeros(size)
    bad = np.flatnonzero((done != 0) & (done != 1))
    if len(bad):
        raise error(f'{path}: data/{demo}/dones at {bad[0]} is {done[bad[0]]}, expected 0 or 1')
    inside = np.flatnonzero(done[:-1])
    if len(inside) and not done[inside[0]:].all():
        raise error(f'{path}: data/{demo}/dones at {inside[0]} is set, but the episode continues')
    last = np.arange(size) == size - 1
    terminated = last & (done != 0) & (rewards > 0)
    return {'observations': rows('obs'), 'actions': get('actions'), 'rewards': rewards,
            'terminations': terminated, 'truncations': last & ~terminated,
            **({'next_observations': rows('next_obs')} if whole else {})}
