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

"""Batches drawn ahead: what they hold, and when they are drawn anew."""

import numpy as np
import torch

from spaars_ros.learning.core.draws import AHEAD
from spaars_ros.learning.core.draws import Draws
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay


def replay(value, steps=20):
    """Return a replay the observations of which all have a value."""
    made = Replay(1000, None, Normaliser(np.zeros(2), np.ones(2)), action=1, constraints=0,
                  gamma=0.9, n_step=1, observation=2)
    add(made, value, steps)
    return made


def add(to, value, steps):
    to.add_episode(np.full((steps + 1, 2), value), np.zeros((steps, 1)), False,
                   rewards=np.arange(steps) / 10.0)


def test_a_batch_has_its_online_transitions_first_and_its_offline_ones_behind():
    draws = Draws(replay(1.0), replay(2.0), (3, 5), np.random.default_rng(0))
    rewards = set()
    for _ in range(2 * AHEAD):
        batch, online = draws.next()
        assert batch['observation'][:, 0].tolist() == [1.0] * 3 + [2.0] * 5
        torch.testing.assert_close(online['reward'], batch['reward'][:3])
        rewards.add(tuple(batch['reward'].tolist()))
    assert len(rewards) == 2 * AHEAD  # no batch twice


def test_what_is_new_is_drawn_at_once():
    online = replay(1.0)
    draws = Draws(online, None, (64, 0), np.random.default_rng(0))
    draws.next()
    add(online, 3.0, 900)
    assert (draws.next()[0]['observation'] == 3.0).any()


def test_what_goes_on_from_a_saved_state_draws_the_same():
    rng = np.random.default_rng(0)
    draws = Draws(replay(1.0), None, (8, 0), rng)
    draws.next()
    draws.forget()
    state = rng.bit_generator.state
    expected = [draws.next()[0]['reward'] for _ in range(AHEAD + 1)]
    rng = np.random.default_rng(1)
    rng.bit_generator.state = state
    other = Draws(replay(1.0), None, (8, 0), rng)
    for reward in expected:
        torch.testing.assert_close(other.next()[0]['reward'], reward)
