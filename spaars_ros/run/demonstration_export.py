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

"""Export of demonstration sets: HDF5, NumPy, LeRobot, Minari."""

from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import save_dataset
from spaars_ros.data.lerobot import export_lerobot
from spaars_ros.data.transitions import save_transitions
from spaars_ros.data.transitions import transitions_from_fields
from spaars_ros.run.demonstration_set import DemonstrationSet
from spaars_ros.run.demonstration_set import LEROBOT

MINARI = 'minari:'


def write(some: DemonstrationSet, out: str) -> str:
    """
    Write a set in the format that prefix or suffix of `out` names; return a line about it.

    :raises DatasetError: the format is unknown, or it needs rewards and the task is not known
    :raises ImportError: a package that the format needs is not installed; the message names it
    """
    count = f'{len(some.slices)} episodes, {len(some.data)} transitions'
    if out.startswith(LEROBOT):
        name = str(some.data.attributes.get('task', 'task'))
        export_lerobot(some.data, Path(out.removeprefix(LEROBOT)), rate=1.0 / some.period,
                       robot=str(some.data.attributes.get('robot', '')), task=name,
                       rewards=some.rewards,
                       successes=[word == 'success' for word in some.outcomes])
    elif out.startswith(MINARI):
        _minari(some, out.removeprefix(MINARI))
    elif out.endswith(('.h5', '.hdf5')):
        save_dataset(some.data, out)
    elif out.endswith('.npz'):
        save_transitions(transitions_from_fields(
            _with_rewards(some), {'source': some.where}, where=some.where), out)
    else:
        raise DatasetError(f'{out}: unknown format; expected FILE.h5, FILE.npz, lerobot:FOLDER or '
                           'minari:ID')
    return f'{out}: {count}'


def _with_rewards(some: DemonstrationSet) -> dict[str, Any]:
    if some.task is None:
        raise DatasetError(f"{some.where}: rewards are the task's: name --robot and --task")
    data = some.data
    return {'observations': data.observations, 'actions': data.actions, 'rewards': some.rewards,
            'next_observations': data.next_observations, 'terminations': data.terminations,
            'truncations': data.truncations, 'costs': some.costs, 'episode': data.episode}


def _minari(some: DemonstrationSet, name: str) -> None:
    fields = _with_rewards(some)
    try:
        minari = import_module('minari')
        buffer = import_module('minari.data_collector').EpisodeBuffer
    except ImportError as error:
        raise ImportError(f'minari:{name}: needs the package minari: pip install "minari[hdf5]" '
                          f'({error})') from None
    episodes = [buffer(
        id=number, observations=some.states(part).astype(np.float32),
        actions=np.asarray(some.data.actions[part], np.float32),
        rewards=np.asarray(fields['rewards'][part], np.float64),
        terminations=np.asarray(some.data.terminations[part], bool),
        truncations=np.asarray(some.data.truncations[part], bool))
        for number, part in enumerate(some.slices)]
    width, acts = some.data.observations.shape[1], some.data.actions.shape[1]
    try:
        minari.create_dataset_from_buffers(
            dataset_id=name, buffer=episodes,
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (acts,), np.float32),
            description=' '.join(str(some.data.attributes.get(name, '')) for name in (
                'task', 'robot', 'source')))
    except (ValueError, AssertionError, OSError) as error:
        raise DatasetError(f'minari:{name}: {" ".join(str(error).split())}') from None
