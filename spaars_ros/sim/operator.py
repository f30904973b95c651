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

"""Demonstrations of a task's own scripted demonstrator, recorded in the simulation."""

import numpy as np

from spaars_ros.data.dataset import Dataset
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of
from spaars_ros.sim.env import ArmEnv
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.protocols import Demonstrator


def collect(robot: Robot, settings: TaskSettings, *, episodes: int, seed: int) -> Dataset:
    """
    Record demonstrations of the task's demonstrator; the same seed gives the same data.

    :raises ConfigError: the task has none
    """
    env = ArmEnv(robot, settings)
    if not isinstance(env.task, Demonstrator):
        raise ConfigError(f'task {env.task.name!r} has no scripted demonstrator: record a person '
                          'with the nodes, or give it `demonstrator(rng)`')
    operator = env.task.demonstrator(np.random.default_rng(seed))
    columns: dict[str, list[object]] = {name: [] for name in (
        'observations', 'actions', 'next_observations', 'efforts', 'terminations', 'truncations',
        'episode')}
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed * 100_003 + episode)
        operator.begin(observation)
        done = False
        while not done:
            action = operator.act(observation)
            following, _, terminated, truncated, info = env.step(action)
            truncated = truncated or operator.done
            done = terminated or truncated
            for name, value in (
                    ('observations', observation), ('actions', info['executed']),
                    ('next_observations', following), ('efforts', info['effort']),
                    ('terminations', terminated), ('truncations', truncated),
                    ('episode', episode)):
                columns[name].append(value)
            observation = following
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    return Dataset(**arrays, attributes={
        'robot': robot.name, 'joints': list(robot.joints),
        'observation_names': env.task.observation_names, **env.task.attributes,
        'action_scale': robot.control.action_scale,
        'contract': contract_of(robot, env.task.observation_names).model_dump_json(),
        'source': f'spaars collect --episodes {episodes} --seed {seed}'})
