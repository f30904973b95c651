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
"""Load the offline data of an environment."""

from collections.abc import Sequence
import hashlib
from typing import Any

import numpy as np

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.transitions import load_transitions
from spaars_ros.data.transitions import Transitions
from spaars_ros.robot.resources import resolve
from spaars_ros.sim.environments import is_arm
from spaars_ros.sim.environments import make_environment
from spaars_ros.sim.kitchen import flat
from spaars_ros.sim.kitchen import KITCHEN
from spaars_ros.sim.kitchen import KITCHEN_EVALUATION
from spaars_ros.training_file import Training


def find_data(env_id: str, data: str, training: Training, *, fix: bool = False,
              observe: Sequence[str] = ()) -> Transitions | Dataset | None:
    """
    Load the data set `data`; for an arm the default is the training file's demonstrations.

    Return None for SAC, which learns from scratch, and for other environments without a name.

    :param fix: whether to treat terminations that look like time limits as truncations
    :param observe: keys of the observations in a robomimic file
    :raises DataError: a malformed data set of transitions
    :raises DatasetError: malformed demonstrations of an arm
    :raises ConfigError: the package of a package:// path is not installed
    """
    if training.algorithm == 'sac':
        return None
    if is_arm(env_id):
        path = resolve(data or training.demonstrations)
        arm: Any = make_environment(env_id).unwrapped
        return load_dataset(path, arm.robot, arm.task)
    if not data:
        return None
    return load_transitions(data, make_environment(env_id), fix=fix, observe=list(observe),
                            flatten=flat if env_id in (KITCHEN, KITCHEN_EVALUATION) else None)


def digest_of(data: Transitions | Dataset | None) -> str:
    """Return an identifier of a run's data: number of transitions and SHA-256."""
    if data is None:
        return 'none'
    sha = hashlib.sha256()
    for name in ('observations', 'actions', 'rewards', 'next_observations', 'terminations',
                 'truncations', 'costs'):
        sha.update(np.ascontiguousarray(getattr(data, name, np.zeros(0))).data)
    return f'{len(data.observations)} transitions, SHA-256 {sha.hexdigest()[:12]}'
