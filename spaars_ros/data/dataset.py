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

"""Offline data: transitions in HDF5, checked field by field before anyone learns from them."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import os
from pathlib import Path
from typing import Any
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from spaars_ros.data.hdf5 import keys_of
from spaars_ros.data.hdf5 import read_hdf5
from spaars_ros.data.plausible import contradiction
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import action_differences
from spaars_ros.robot.contract import Contract
from spaars_ros.robot.contract import contract_of

FORMAT = 'spaars_ros/dataset/1'
STORED = {'observations': np.float32, 'actions': np.float32, 'next_observations': np.float32,
          'efforts': np.float32, 'terminations': np.bool_, 'truncations': np.bool_,
          'episode': np.int64}
"""Field -> type in the file."""
WIDE = ('observations', 'actions', 'next_observations', 'efforts')
TOLERANCE = 1e-6
OWN = ': name demonstrations of this arm with --demonstrations; `spaars collect` makes some'


class DatasetError(ValueError):
    """A dataset is malformed; the message names the file, the field and the index."""


class Task(Protocol):
    """What a dataset has to know of the task."""

    @property
    def observation_names(self) -> list[str]:
        """Return a name for each value of an observation."""

    @property
    def action_dim(self) -> int:
        """Return the width of an action."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Return what a data set keeps of the task: task, terms, term_widths, action."""

    def differences(self, widths: Mapping[str, int], action: str) -> list[str]:
        """Return each way in which terms and action differ from the task's, in words."""


@dataclass
class Dataset:
    """Transitions in time order, episode after episode."""

    observations: NDArray[np.floating[Any]]
    """(N, n), physical units, as `attributes['observation_names']` says."""
    actions: NDArray[np.floating[Any]]
    """(N, d), in [-1, 1]: what the robot executed."""
    next_observations: NDArray[np.floating[Any]]
    """(N, n)."""
    efforts: NDArray[np.floating[Any]]
    """(N, d), N m, measured with the next observation."""
    terminations: NDArray[np.bool_]
    """(N,), a true end: nothing follows, so nothing is bootstrapped."""
    truncations: NDArray[np.bool_]
    """(N,), a time limit or a stop: the state itself goes on."""
    episode: NDArray[np.int64]
    """(N,), counts up by one from episode to episode."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """
    robot, joints, task, observation_names, action_scale, contract (JSON: what an action and a
    tick mean, of `robot/contract.py`), source (the command that made it).
    """

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def episodes(self) -> int:
        """Return the number of episodes."""
        return len(np.unique(self.episode))

    def check(self, robot: Robot | None = None, task: Task | None = None,
              where: str = 'dataset') -> None:
        """Raise DatasetError, naming field and index, unless everything fits together."""
        _check_shapes(self, where)
        if robot is not None:
            _check_robot(self, robot, len(robot.joints) if task is None else task.action_dim,
                         where)
        if task is not None:
            _check_task(self, task, where)
        _check_values(self, where)
        _check_episodes(self, where)


def _check_shapes(data: Dataset, where: str) -> None:
    for name in STORED:
        array = getattr(data, name)
        if array.ndim != (2 if name in WIDE else 1):
            raise DatasetError(f'{where}: {name} has shape {array.shape}, expected '
                               f'{2 if name in WIDE else 1} axes')
        if len(array) != len(data.observations):
            raise DatasetError(f'{where}: {name} has {len(array)} entries, observations '
                               f'{len(data.observations)}')
    if not len(data):
        raise DatasetError(f'{where}: no transition in it')
    for name, like in (('next_observations', 'observations'),):
        got, wanted = getattr(data, name).shape[1], getattr(data, like).shape[1]
        if got != wanted:
            raise DatasetError(f'{where}: {name} is {got} wide, {like} {wanted}')


def _check_robot(data: Dataset, robot: Robot, action_dim: int, where: str) -> None:
    d = len(robot.joints)
    for name, width in (('actions', action_dim), ('efforts', d)):
        got = getattr(data, name).shape[1]
        if got != width:
            what = f'robot {robot.name} has {d} joints' if width == d \
                else f'the task acts with {width}'
            raise DatasetError(f'{where}: {name} has {got} values a row, {what}{OWN}')
    joints = data.attributes.get('joints')
    if joints is not None and list(joints) != list(robot.joints):
        pairs = enumerate(zip(joints, robot.joints, strict=False))
        index = next((i for i, (a, b) in pairs if a != b), min(len(joints), d))
        raise DatasetError(f'{where}: joints differ at {index}: {list(joints)}, robot '
                           f'{robot.name} has {list(robot.joints)}{OWN}')
    scale = data.attributes.get('action_scale')
    if scale is not None and not np.isclose(float(scale), robot.control.action_scale):
        raise DatasetError(f'{where}: action_scale {float(scale):g}, robot {robot.name} has '
                           f'{robot.control.action_scale:g}: its actions mean other velocities')
    _check_contract(data, robot, where)


def _check_contract(data: Dataset, robot: Robot, where: str) -> None:
    text = data.attributes.get('contract')
    if text is None:
        return  # of 0.1.0
    try:
        made = Contract.model_validate_json(text)
    except (ValidationError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise DatasetError(f'{where}: attribute contract: {first}') from None
    differ = action_differences(made, contract_of(robot, made.observation_names))
    if differ:
        raise DatasetError(f'{where}: its actions mean something else on robot {robot.name}: '
                           f'{differ}: restore that, or record demonstrations for this file')


def _check_task(data: Dataset, task: Task, where: str) -> None:
    kept = data.attributes
    if 'terms' in kept:  # not in those of 0.1.0
        differs = task.differences(dict(zip(kept['terms'], map(int, kept['term_widths']))),
                                   str(kept.get('action', '')))
        if differs:
            raise DatasetError(f'{where}: made for other observations or actions: '
                               + '; '.join(differs))
    wanted = list(task.observation_names)
    if data.observations.shape[1] != len(wanted):
        raise DatasetError(f'{where}: observations has {data.observations.shape[1]} values a '
                           f'row, the task observes {len(wanted)}')
    names = data.attributes.get('observation_names')
    if names is not None and list(names) != wanted:
        pairs = enumerate(zip(names, wanted, strict=False))
        index = next((i for i, (a, b) in pairs if a != b), min(len(names), len(wanted)))
        got, want = ((list(some) + ['nothing'] * (index + 1))[index] for some in (names, wanted))
        raise DatasetError(f'{where}: observation_names differ at {index}: {got!r}, the task '
                           f'has {want!r}')


def _check_values(data: Dataset, where: str) -> None:
    for name in WIDE:
        array = getattr(data, name)
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            i, j = bad[0]
            raise DatasetError(f'{where}: {name} at {i}, {j} is {array[i, j]}')
    bad = np.argwhere(np.abs(data.actions) > 1.0 + TOLERANCE)
    if len(bad):
        i, j = bad[0]
        raise DatasetError(f'{where}: actions at {i}, {j} is {data.actions[i, j]:g}, outside '
                           '[-1, 1]')


def _check_episodes(data: Dataset, where: str) -> None:
    step = np.diff(data.episode)
    bad = np.flatnonzero((step != 0) & (step != 1))
    if len(bad):
        i = int(bad[0])
        raise DatasetError(f'{where}: episode at {i + 1} is {data.episode[i + 1]} after '
                           f'{data.episode[i]}: episodes are not contiguous')
    inside = step == 0
    ended = (data.terminations | data.truncations)[:-1]
    bad = np.flatnonzero(inside & ended)
    if len(bad):
        i = int(bad[0])
        name = 'terminations' if data.terminations[i] else 'truncations'
        raise DatasetError(f'{where}: {name} at {i} is set, but episode {data.episode[i]} goes '
                           'on after it')
    apart = ~np.isclose(data.next_observations[:-1], data.observations[1:],
                        rtol=1e-5, atol=1e-5).all(axis=1)
    bad = np.flatnonzero(inside & apart)
    if len(bad):
        i = int(bad[0])
        raise DatasetError(f'{where}: next_observations at {i} is not observations at {i + 1}, '
                           f'within episode {data.episode[i]}')


def save_dataset(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """
    Write a checked dataset as compressed HDF5, float32, in one atomic step.

    :raises DatasetError: it is malformed; nothing is written
    :raises OSError: the file cannot be written; an old one stays
    """
    target = Path(path)
    dataset.check(where=str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f'.{target.name}.{os.getpid()}')
    try:
        with h5py.File(fresh, 'w') as file:
            for name, kind in STORED.items():
                file.create_dataset(name, data=getattr(dataset, name).astype(kind),
                                    compression='gzip', compression_opts=6, shuffle=True)
            file.attrs['format'] = FORMAT
            for name, value in dataset.attributes.items():
                file.attrs[name] = value
        with open(fresh, 'rb') as written:
            os.fsync(written.fileno())
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


def load_dataset(path: str | os.PathLike[str], robot: Robot | None = None,
                 task: Task | None = None) -> Dataset:
    """
    Read a dataset and check it, against robot and task where they are given.

    :raises DatasetError: malformed; the message names the field and the index
    """
    where = str(path)
    if not Path(path).is_file():
        raise DatasetError(f'{where}: no such file')
    arrays, attributes = read_hdf5(path, STORED.__contains__, DatasetError)
    attributes.pop('format', None)
    for name, kind in STORED.items():
        if name not in arrays:
            raise DatasetError(f'{where}: field {name} is missing; found {keys_of(path)}')
        arrays[name] = _stored(arrays[name], name, kind, where)
    dataset = Dataset(**arrays, attributes=attributes)
    dataset.check(robot, task, where)
    if robot is not None and task is not None:
        found = contradiction(dataset.observations, task.observation_names, robot)
        if found:
            raise DatasetError(f'{where}: {found}')
    return dataset


def _stored(array: Any, name: str, kind: Any, where: str) -> NDArray[Any]:
    """Return an array in the type that it is kept in; raises DatasetError where that loses."""
    if name not in WIDE:
        wrong = ~np.isin(array, (0, 1)) if kind is np.bool_ else ~np.isfinite(array) \
            | (array != np.floor(array))
        bad = np.argwhere(wrong)
        if len(bad):
            place = tuple(bad[0])
            raise DatasetError(f'{where}: {name} at {", ".join(map(str, place))} is '
                               f'{array[place]}, expected '
                               + ('0 or 1' if kind is np.bool_ else 'a whole number'))
    with np.errstate(over='ignore'):  # becomes infinite, which is refused with its index
        return np.asarray(array).astype(kind)


def concatenate(datasets: Sequence[Dataset]) -> Dataset:
    """Return datasets one after the other, episodes counted on; attributes of the first."""
    if not datasets:
        raise DatasetError('no dataset to concatenate')
    parts: dict[str, Any] = {
        f.name: np.concatenate([getattr(data, f.name) for data in datasets])
        for f in fields(Dataset) if f.name not in ('episode', 'attributes')}
    counted, first = [], 0
    for data in datasets:
        counted.append(data.episode - data.episode[0] + first)
        first = int(counted[-1][-1]) + 1
    return Dataset(**parts, episode=np.concatenate(counted),
                   attributes=dict(datasets[0].attributes))
