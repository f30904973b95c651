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

"""Offline data set of transitions in HDF5, with a check of every field before training."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import os
from pathlib import Path
from typing import Any
import warnings

import h5py
import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.dataset_checks import check_attributes
from spaars_ros.data.dataset_checks import check_episodes
from spaars_ros.data.dataset_checks import check_robot
from spaars_ros.data.dataset_checks import check_shapes
from spaars_ros.data.dataset_checks import check_task
from spaars_ros.data.dataset_checks import check_values
from spaars_ros.data.dataset_checks import DatasetError as DatasetError
from spaars_ros.data.dataset_checks import DatasetWarning as DatasetWarning
from spaars_ros.data.dataset_checks import STORED
from spaars_ros.data.dataset_checks import Task as Task
from spaars_ros.data.dataset_checks import WIDE
from spaars_ros.data.hdf5 import keys_of
from spaars_ros.data.hdf5 import read_hdf5
from spaars_ros.data.oddities import find_time_limits
from spaars_ros.data.oddities import unchanging
from spaars_ros.data.plausible import contradiction
from spaars_ros.data.robomimic import hint_of
from spaars_ros.robot.config import Robot
from spaars_ros.robot.resources import expanded

FORMAT = 'spaars_ros/dataset/1'
@dataclass
class Dataset:
    """Transitions in time order, one episode after another."""

    observations: NDArray[np.floating[Any]]
    """(N, n), in physical units; `attributes['observation_names']` names the n values."""
    actions: NDArray[np.floating[Any]]
    """(N, a), in [-1, 1]: the actions that the robot executed."""
    next_observations: NDArray[np.floating[Any]]
    """(N, n)."""
    efforts: NDArray[np.floating[Any]]
    """(N, d), N m per joint, measured together with the next observation."""
    terminations: NDArray[np.bool_]
    """(N,), a true end of the episode: the target does not bootstrap here."""
    truncations: NDArray[np.bool_]
    """(N,), a time limit or a stop: the target bootstraps from the next observation."""
    episode: NDArray[np.int64]
    """(N,), episode number; increases by one from each episode to the next."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """
    robot, joints, task, observation_names, action_scale, contract (JSON: the meaning of an action
    and of a tick, from `robot/contract.py`), source (the command that made the data set).
    """

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.observations)

    @property
    def episodes(self) -> int:
        """Return the number of episodes."""
        return len(np.unique(self.episode))

    def check(self, robot: Robot | None = None, task: Task | None = None,
              where: str = 'dataset') -> None:
        """
        Check that all fields fit together, and fit robot and task where these are given.

        :raises DatasetError: they do not; the message names the field and the index
        """
        check_shapes(self, where)
        check_attributes(self.attributes, where)
        kept = self.attributes.get('task')
        if task is not None and kept is not None and kept != task.attributes['task']:
            check_task(self, task, where)  # first, since its message names the terms
        if robot is not None:
            check_robot(self, robot, len(robot.joints) if task is None else task.action_dim,
                         where)
        if task is not None:
            check_task(self, task, where)
        check_values(self, where)
        check_episodes(self, where)


def save_dataset(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """
    Check a data set and write it atomically as compressed HDF5 with float32 values.

    :raises DatasetError: the data set is malformed; nothing is written
    :raises OSError: the file cannot be written; an existing file is kept
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
    Read a data set and check it, also against robot and task where these are given.

    Suspicious but usable data are reported with `warnings.warn` (DatasetWarning).

    :raises DatasetError: the data set is malformed; the message names the field and the index
    """
    path = expanded(path)
    where = str(path)
    if not path.is_file():
        raise DatasetError(f'{where}: no such file')
    arrays, attributes = read_hdf5(path, STORED.__contains__, DatasetError)
    attributes.pop('format', None)
    for name, kind in STORED.items():
        if name not in arrays:
            there = keys_of(path)
            raise DatasetError(f'{where}: field {name} is missing; found {there}{hint_of(there)}')
        arrays[name] = _stored(arrays[name], name, kind, where)
    dataset = Dataset(**arrays, attributes=attributes)
    dataset.check(robot, task, where)
    if robot is not None and task is not None:
        found = contradiction(dataset.observations, task.observation_names, robot)
        if found:
            raise DatasetError(f'{where}: {found}')
    late = find_time_limits(dataset.terminations, dataset.episode, dataset.observations,
                 dataset.next_observations, None if task is None else task.horizon)
    names = [] if task is None else task.observation_names
    for text in [*unchanging(dataset.observations, names), *([late] if late else [])]:
        warnings.warn(f'{where}: {text}', DatasetWarning, stacklevel=2)
    return dataset


def _stored(array: Any, name: str, kind: Any, where: str) -> NDArray[Any]:
    """Return an array in its stored type; raises DatasetError where that loses data."""
    if name not in WIDE:
        wrong = ~np.isin(array, (0, 1)) if kind is np.bool_ else ~np.isfinite(array) \
            | (array != np.floor(array))
        bad = np.argwhere(wrong)
        if len(bad):
            place = tuple(bad[0])
            raise DatasetError(f'{where}: {name} at {", ".join(map(str, place))} is '
                               f'{array[place]}, expected '
                               + ('0 or 1' if kind is np.bool_ else 'a whole number'))
    with np.errstate(over='ignore'):  # becomes infinite; check_values refuses it
        return np.asarray(array).astype(kind)


def concatenate(datasets: Sequence[Dataset]) -> Dataset:
    """
    Return data sets one after another, with consecutive episode numbers.

    :return: the joined data set, with the attributes of the first
    :raises DatasetError: there is no data set
    """
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
