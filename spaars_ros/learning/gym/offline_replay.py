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
"""Replay of a trainer's offline data."""

from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.transitions import check_transitions
from spaars_ros.data.transitions import Transitions
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.replay import replay_of_transitions
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Env
from spaars_ros.learning.online.pretrain import replay_of
from spaars_ros.tasks.base import Task
from spaars_ros.training_file import Training

CAPACITY = 1_000_000
"""Transitions of the online replay."""


@dataclass(frozen=True)
class OfflineReplay:
    """Replay of offline transitions, their normaliser, and their actions (N, d) in [-1, 1]."""

    replay: Replay
    normaliser: Normaliser
    actions: NDArray[np.float32]

    @classmethod
    def of(cls, data: Transitions | Dataset, *, env_id: str, env: Env, boxes: ActionScaler,
           task: Task | None, training: Training, constraints: int) -> 'OfflineReplay':
        """
        Check data against the environment and store them; the caller's data stay unchanged.

        :param task: task of an arm, which computes rewards and costs of demonstrations
        :param constraints: C, number of limited costs per step; 0 ignores the costs of the data
        :raises ValueError: the data do not fit to the environment
        :raises DataError: likewise, with a description
        """
        if isinstance(data, Dataset):
            if task is None:
                raise ValueError(f"{env_id} is no arm, and the data are an arm's demonstrations")
            normaliser = Normaliser.of(data.observations)
            return cls(replay_of(data, normaliser, task, training), normaliser,
                       data.actions.astype(np.float32))
        if not len(data):
            raise ValueError(f'{data.attributes.get("file", "the data set")} has no transition')
        data = replace(data)
        check_transitions(data, observation_space=env.observation_space,
                          action_space=env.action_space)
        if data.costs.shape[1] != constraints:
            if constraints:
                raise ValueError(f'the data set has {data.costs.shape[1]} costs a step, '
                                 f'{constraints} are limited')
            data.costs = np.zeros((len(data), 0), np.float32)
        data.actions = boxes.normalised(data.actions)
        normaliser = Normaliser.of(data.observations)
        replay = replay_of_transitions(data, normaliser, gamma=training.gamma,
                                       n_step=training.n_step, scale=training.reward_scale)
        return cls(replay, normaliser, data.actions)


def online_replay(boxes: ActionScaler, *, task: Task | None, normaliser: Normaliser,
                  training: Training, constraints: int) -> Replay:
    """Return the replay of a training's own transitions; arguments as for `OfflineReplay.of`."""
    t = training
    return Replay(CAPACITY, task, normaliser, action=boxes.action, constraints=constraints,
                  observation=boxes.observation, gamma=t.gamma, n_step=t.n_step,
                  scale=t.reward_scale, shaping=t.shaping if task is not None else 0.0)
