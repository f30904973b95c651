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

"""A reward of progress needs the state before an action and the state after it."""

import numpy as np
import pytest

from spaars_ros.learning.algorithms.supe.chunks import Chunks
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay


class Progress:
    """The observation is (place, goal); the reward is how far an action went, times its size."""

    observation_dim = 2

    def reward(self, before, action, after):
        return (after[..., 0] - before[..., 0]) * action[..., 0]

    def potential(self, observation):
        return np.zeros(observation.shape[:-1])

    def sample_goal(self, rng):
        return np.zeros(1)

    def hindsight(self, observation, achieved, rng):
        return achieved[:, :1] + 100.0

    def relabel(self, observation, goal):
        observation = observation.copy()
        observation[..., 1] = goal[..., 0]
        return observation


PLACES = np.array([0.0, 1.0, 4.0, 9.0, 16.0])
"""Steps of 1, 3, 5 and 7."""


@pytest.fixture
def replay():
    made = Replay(8, Progress(), Normaliser(np.zeros(2), np.ones(2)), action=1, constraints=0,
                  gamma=0.5, n_step=2)
    made.add_episode(np.stack([PLACES, np.zeros(5)], 1), np.full((4, 1), 2.0), False)
    return made


def test_a_replayed_return_takes_the_state_before_each_action(replay):
    """With the state after in both places every reward of progress would be 0."""
    for relabel in (0.0, 1.0):
        batch = replay.gather(np.arange(4), np.random.default_rng(0), relabel)
        assert batch['reward'].tolist() == [2.0 + 3.0, 6.0 + 5.0, 10.0 + 7.0, 14.0]


def test_a_chunk_takes_the_state_before_each_action(replay):
    chunks = Chunks(replay, 2, discount=0.25)
    rewards = chunks.batch(np.arange(3), np.zeros((3, 1), np.float32))['reward']
    assert rewards.tolist() == [5.0, 11.0, 17.0]
