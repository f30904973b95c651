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

"""Checks of a data set before training; each error names what does not fit."""

from collections.abc import Mapping
import json
from typing import Any
from typing import Protocol
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from spaars_ros.data.oddities import find_unfilled
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import action_differences
from spaars_ros.robot.contract import Contract
from spaars_ros.robot.contract import contract_of

if TYPE_CHECKING:
    from spaars_ros.data.dataset import Dataset

STORED = {'observations': np.float32, 'actions': np.float32, 'next_observations': np.float32,
          'efforts': np.float32, 'terminations': np.bool_, 'truncations': np.bool_,
          'episode': np.int64}
"""Field -> type in the file."""
WIDE = ('observations', 'actions', 'next_observations', 'efforts')
TOLERANCE = 1e-6
OWN = ': name demonstrations of this arm with --demonstrations; `spaars collect` makes some'


class DatasetError(ValueError):
    """A data set is malformed; the message names the file, the field and the index."""


class DatasetWarning(UserWarning):
    """A data set is usable, but something in it is probably not as intended."""


class Task(Protocol):
    """What the checks need to know of the task."""

    @property
    def observation_names(self) -> list[str]:
        """Return one name per value of an observation."""

    @property
    def action_dim(self) -> int:
        """Return the width of an action."""

    @property
    def horizon(self) -> int:
        """Return the number of ticks per episode."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the task's attributes: task, terms, term_widths, action, encoders."""

    def differences(self, widths: Mapping[str, int], action: str,
                    encoders: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
        """Return each difference of terms, action and encoders from the task's, in words."""


def check_shapes(data: 'Dataset', where: str) -> None:
    """Raise DatasetError if an array has the wrong number of axes, length or width."""
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


def check_attributes(attributes: dict[str, Any], where: str) -> None:
    """Raise DatasetError if an attribute has the wrong type."""
    for name in ('joints', 'observation_names', 'terms', 'term_widths'):
        value, kind = attributes.get(name, []), int if name == 'term_widths' else str
        if not isinstance(value, (list, tuple)) or not all(
                isinstance(item, kind) for item in value):
            raise DatasetError(f'{where}: attribute {name} is {value!r}, expected a list of '
                               + ('widths' if kind is int else 'names'))
    scale = attributes.get('action_scale', 1.0)
    if isinstance(scale, bool) or not isinstance(scale, (int, float)):
        raise DatasetError(f'{where}: attribute action_scale is {scale!r}, expected a number')


def check_robot(data: 'Dataset', robot: Robot, action_dim: int, where: str) -> None:
    """Raise DatasetError if the data do not fit the robot (widths, joints, scale, contract)."""
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


def _check_contract(data: 'Dataset', robot: Robot, where: str) -> None:
    text = data.attributes.get('contract')
    if text is None:
        return  # data set of release 0.1.0
    try:
        made = Contract.model_validate_json(text)
    except (ValidationError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise DatasetError(f'{where}: attribute contract: {first}') from None
    differ = action_differences(made, contract_of(robot, made.observation_names))
    if differ:
        raise DatasetError(f'{where}: its actions mean something else on robot {robot.name}: '
                           f'{differ}: restore that, or record demonstrations for this file')


def _encoders(kept: Mapping[str, Any], where: str) -> dict[str, dict[str, str]]:
    """Return term -> what made its values (the encoder's attributes); raises DatasetError."""
    try:
        found = json.loads(kept.get('encoders', '{}'))
        return {str(term): {str(place): str(text) for place, text in by.items()}
                for term, by in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DatasetError(f'{where}: attribute encoders is {str(kept["encoders"])[:80]!r}, '
                           'expected JSON') from None


def check_task(data: 'Dataset', task: Task, where: str) -> None:
    """Raise DatasetError if the data were made for another task."""
    kept = data.attributes
    if 'terms' in kept:  # absent in data sets of release 0.1.0
        differs = task.differences(dict(zip(kept['terms'], map(int, kept['term_widths']))),
                                   str(kept.get('action', '')), _encoders(kept, where))
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


def check_values(data: 'Dataset', where: str) -> None:
    """Raise DatasetError if a value is not finite or an action is outside [-1, 1]."""
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


def check_episodes(data: 'Dataset', where: str) -> None:
    """
    Raise DatasetError if the episodes are not consistent.

    Checked: unfilled rows at an end, contiguous numbers, no end flag inside an episode, and
    next_observations equal to the following observations (tolerance 1e-5).
    """
    empty = find_unfilled(data.observations, data.actions, data.episode)
    if empty:
        raise DatasetError(f'{where}: {empty}')
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
