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

"""Recordings of the scripted demonstrator of the task with stages."""

import numpy as np

from spaars_ros.data.transitions import Transitions
from spaars_ros.data.transitions import transitions_from_fields
from spaars_ros.sim.staged import STAGED
from spaars_ros.sim.staged import StagedEnv
from spaars_ros.tasks.stages_operator import PAIRS
from spaars_ros.tasks.stages_operator import StagedOperator


def collect_staged(*, episodes: int, seed: int) -> Transitions:
    """
    Record demonstrations, the pairs of `PAIRS` in turn; the same seed gives the same data.

    The stored action is the one after the safety filter. An episode is truncated when its two
    sub-tasks are done.
    """
    env = StagedEnv()
    operator = StagedOperator(env.robot, np.random.default_rng([seed, 1]))
    columns: dict[str, list[object]] = {name: [] for name in (
        'observations', 'actions', 'rewards', 'next_observations', 'terminations', 'truncations',
        'costs', 'episode')}
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed * 100_003 + episode)
        operator.begin(PAIRS[episode % len(PAIRS)])
        ended = False
        while not ended:
            following, reward, terminated, truncated, info = env.step(operator.act(observation))
            truncated = truncated or operator.done and not terminated
            ended = terminated or truncated
            for column, value in zip(columns.values(), (
                    observation, np.clip(info['executed'], -1.0, 1.0), reward, following,
                    terminated, truncated, info['cost'], episode)):
                column.append(value)
            observation = following
    data = transitions_from_fields({name: np.asarray(values) for name, values in columns.items()},
                                   where=STAGED)
    data.attributes.update(
        env=STAGED, seed=str(seed), episodes=str(episodes),
        source=f'spaars collect --env {STAGED} --episodes {episodes} --seed {seed}')
    return data
