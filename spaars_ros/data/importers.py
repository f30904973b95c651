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

"""Readers and writers of transition files: NumPy archives, HDF5 (ours, D4RL's), Minari."""

from collections.abc import Callable
from collections.abc import Sequence
from importlib import import_module
import json
import os
from pathlib import Path
from typing import Any
import zipfile
import zlib

import h5py
import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.hdf5 import keys_of
from spaars_ros.data.hdf5 import read_hdf5
from spaars_ros.data.robomimic import hint_of
from spaars_ros.data.robomimic import is_robomimic
from spaars_ros.data.robomimic import read_robomimic
from spaars_ros.data.transitions import DataError
from spaars_ros.data.transitions import Fields
from spaars_ros.data.transitions import REQUIRED
from spaars_ros.data.transitions import Transitions
from spaars_ros.data.transitions import transitions_from_fields
from spaars_ros.robot.resources import expanded

FORMAT = 'spaars_ros/transitions/1'
STORED = ('observations', 'actions', 'rewards', 'next_observations', 'terminations',
          'truncations', 'costs', 'episode')
D4RL = {'terminals': 'terminations', 'timeouts': 'truncations'}
"""
D4RL's name -> our name; the other names are equal. D4RL's `infos` and `metadata` are not read.
"""
Flatten = Callable[[NDArray[Any]], NDArray[Any]]
ENDINGS = ('.npz', '.h5', '.hdf5')


def read_transitions(path_or_name: str | os.PathLike[str],
                     flatten: Flatten | None = None,
                     observe: Sequence[str] = ()) -> Transitions:
    """
    Read transitions of any known format; attribute `file` names the source.

    :param flatten: function that converts the file's observations to the environment's (N, n),
        such as `sim.kitchen.flat` for D4RL's 60 numbers, half of which are the goal; may raise
        ValueError
    :param observe: keys of the observations to concatenate to a row, for a file that stores them
        separately (robomimic); (): all keys that hold rows of numbers
    :raises DataError: unknown extension, unreadable or malformed
    """
    name = str(path_or_name)
    if not name.startswith('minari:'):
        name = str(expanded(name))
    if name.startswith('minari:'):
        fields, attributes = _read_minari(name)
    elif not name.endswith(ENDINGS):
        raise DataError(f'{name}: unknown format; expected {", ".join(ENDINGS)} or minari:<id>'
                        + _lerobot(Path(name)))
    elif not Path(name).is_file():
        raise DataError(f'{name}: no such file')
    else:
        fields, attributes = _read_npz(name) if name.endswith('.npz') \
            else _read_hdf5(name, observe)
    observed = attributes.get('observed', '')
    if observe and not observed:
        raise DataError(f'{name}: its observations are one array, and no keys choose from it')
    for key in ('observations', 'next_observations'):
        if flatten is not None and key in fields:
            try:
                fields[key] = flatten(fields[key])
            except ValueError as error:
                raise DataError(f'{name}: {key}: {error}') from None
    data = transitions_from_fields(fields, {**attributes, 'file': name}, where=name)
    if observed:
        data.warnings.append(f'robomimic: an observation is {observed}, in this order')
    return data


def _lerobot(path: Path) -> str:
    """Return the content of a LeRobot folder, in words; '' for anything else."""
    try:
        features = json.loads((path / 'meta' / 'info.json').read_text())['features']
        return (f'; this is a data set of LeRobot, with {list(features)}: write its columns as '
                'arrays of a .npz')
    except (OSError, ValueError, KeyError, TypeError):
        return ''


def _renamed(fields: Fields, where: str) -> Fields:
    """Return the fields by our names; raises DataError if both names of a field are present."""
    for theirs, ours in D4RL.items():
        if theirs in fields and ours in fields:
            raise DataError(f'{where}: both {theirs} and {ours} are there, which mean the same: '
                            'keep one')
    return {D4RL.get(name, name): array for name, array in fields.items()}


def _whole(fields: Fields, there: list[str], where: str) -> Fields:
    """Return the fields by our names; raises DataError if one is missing or present twice."""
    fields = _renamed(fields, where)
    missing = [name for name in REQUIRED if name not in fields]
    if missing:
        raise DataError(f'{where}: field {missing[0]} is missing; found {there}{hint_of(there)}')
    return fields


def _read_npz(name: str) -> tuple[Fields, dict[str, str]]:
    try:
        with np.load(name, allow_pickle=False) as archive:
            there = [key for key in archive.files if key != 'attributes']
            fields = {key: archive[key] for key in there if D4RL.get(key, key) in STORED}
            attributes = json.loads(str(archive['attributes'])) \
                if 'attributes' in archive.files else {}
            if not isinstance(attributes, dict):
                raise ValueError('attributes is no mapping')
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError,
            zipfile.BadZipFile, zlib.error) as error:
        # ValueError: NumPy refuses to unpickle objects, or the file is not an archive.
        raise DataError(f'{name}: not a readable NumPy archive of numbers: {error}') from None
    return _whole(fields, there, name), {str(key): str(value)
                                         for key, value in attributes.items()}


def _read_hdf5(name: str, observe: Sequence[str]) -> tuple[Fields, dict[str, str]]:
    there = keys_of(name)
    if is_robomimic(there):
        return read_robomimic(name, observe, DataError)
    fields, attributes = read_hdf5(name, lambda key: D4RL.get(key, key) in STORED, DataError)
    attributes.pop('format', None)
    return _whole(fields, there, name), {key: str(value) for key, value in attributes.items()}


def _read_minari(name: str) -> tuple[Fields, dict[str, str]]:
    try:
        # Imported by name: only users of Minari data sets need the package.
        minari = import_module('minari')
    except ImportError as error:
        raise DataError(f'{name}: needs the package minari: pip install "minari[hdf5]" '
                        f'({error})') from None
    wanted = name.removeprefix('minari:')
    path = Path(wanted)
    try:
        if path.is_dir():
            data = minari.MinariDataset(path / 'data' if (path / 'data').is_dir() else path)
        else:
            data = minari.load_dataset(wanted)
        parts = [_of_episode(item, i, name) for i, item in enumerate(data.iterate_episodes())]
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise DataError(f'{name}: {error}. `minari download {wanted}` fetches a public set') \
            from None
    if not parts:
        raise DataError(f'{name}: no episode in it')
    fields = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    fields['episode'] = np.repeat(np.arange(len(parts)), [len(part['rewards']) for part in parts])
    spec = data.spec.env_spec
    return fields, {'source': name, **({} if spec is None else {'env': str(spec.id)})}


def _of_episode(episode: Any, index: int, name: str) -> Fields:
    """
    Return the fields of one Minari episode, which holds T + 1 observations.

    :raises DataError: a field is not an array, or has the wrong length
    """
    for field in ('observations', 'actions'):
        if not isinstance(getattr(episode, field), np.ndarray):
            raise DataError(f'{name}: {field} of episode {index} is a '
                            f'{type(getattr(episode, field)).__name__}; only arrays can be '
                            'learned from')
    steps = len(episode.actions)
    for field, wanted in (('observations', steps + 1), ('rewards', steps),
                          ('terminations', steps), ('truncations', steps)):
        if len(getattr(episode, field)) != wanted:
            raise DataError(f'{name}: {field} of episode {index} has '
                            f'{len(getattr(episode, field))} entries, expected {wanted} for '
                            f'{steps} actions')
    return {'observations': episode.observations[:-1], 'actions': episode.actions,
            'rewards': episode.rewards, 'next_observations': episode.observations[1:],
            'terminations': episode.terminations, 'truncations': episode.truncations}


def write_transitions(transitions: Transitions, path: str | os.PathLike[str]) -> None:
    """
    Write `.npz` (fast, not compressed) or `.h5`, `.hdf5` (compressed), atomically.

    :raises DataError: the file name has another extension
    :raises OSError: the file cannot be written; an existing file is kept
    """
    target = Path(path)
    if target.suffix not in ENDINGS:
        raise DataError(f'{target}: unknown format; expected {", ".join(ENDINGS)}')
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f'.{target.stem}.{os.getpid()}{target.suffix}')
    arrays = {name: getattr(transitions, name) for name in STORED}
    attributes = {key: value for key, value in transitions.attributes.items() if key != 'file'}
    try:
        if target.suffix == '.npz':
            np.savez(fresh, allow_pickle=False, **arrays,
                     attributes=np.array(json.dumps(attributes)))
        else:
            with h5py.File(fresh, 'w') as file:
                for name, array in arrays.items():
                    compression = {'compression': 'gzip', 'compression_opts': 4, 'shuffle': True}
                    file.create_dataset(name, data=array, **(compression if array.size else {}))
                file.attrs['format'] = FORMAT
                for key, value in attributes.items():
                    file.attrs[key] = value
        with open(fresh, 'rb') as written:
            os.fsync(written.fileno())
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
