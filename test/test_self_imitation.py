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

"""Self-imitation: own episodes that are better than the demonstrations are cloned, others not."""

import numpy as np
import pytest
import torch

from spaars_ros.learning.core.good_episodes import GoodEpisodes
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.training_file import load_training

N, D = 3, 2
NORMALISER = Normaliser(np.zeros(N), np.ones(N))


def episode(value, steps=10):
    return np.full((steps, N), value, np.float32), np.full((steps, D), value, np.float32)


def good_of(returns):
    return GoodEpisodes(NORMALISER, np.asarray(returns),
                        [episode(place / 10) for place, _ in enumerate(returns)])


def test_demonstrations_above_their_mean_are_cloned():
    good = good_of([-150.0, -90.0, -100.0, -150.0])
    _, actions = good.sample(200, np.random.default_rng(0))
    assert sorted({round(value, 1) for value in actions[:, 0].tolist()}) == [0.1, 0.2]


@pytest.mark.parametrize('returns', [[-150.0] * 3, [0.0]])
def test_where_all_earned_the_same_all_are_cloned(returns):
    assert good_of(returns).size == 10 * len(returns)


def test_an_own_episode_that_is_no_better_is_not_cloned():
    good = good_of([-150.0, -90.0])
    before = good.size
    assert not good.take(-120.0, *episode(0.9)) and good.size == before
    assert good.take(-119.0, *episode(0.9)) and good.size == before + 10


def test_what_was_taken_is_there_after_a_resume():
    good, other = good_of([-150.0, -90.0]), good_of([-150.0, -90.0])
    good.take(-10.0, *episode(0.9))
    other.load_arrays(good.arrays())
    for one, two in zip(good.sample(50, np.random.default_rng(0)),
                        other.sample(50, np.random.default_rng(0))):
        torch.testing.assert_close(one, two)


def replay_with(*returns):
    """Return episodes of ten steps, the action telling which one; rewards sum to `returns`."""
    replay = Replay(200, None, NORMALISER, action=D, constraints=0, gamma=0.9, n_step=1,
                    observation=N)
    rng = np.random.default_rng(0)
    for place, earned in enumerate(returns):
        replay.add_episode(rng.normal(size=(11, N)), np.full((10, D), 0.4 * (-1) ** place), False,
                           rewards=np.full(10, earned / 10))
    return replay


def test_episodes_of_a_replay_come_back_as_they_were_added():
    found = replay_with(-5.0, -1.0, -9.0).episodes()
    assert [float(each['reward'].sum()) for each in found] == pytest.approx([-5.0, -1.0, -9.0])
    assert [len(each['action']) for each in found] == [10, 10, 10]


def test_the_latent_policy_comes_to_do_what_the_better_episodes_did():
    torch.manual_seed(0)
    training = load_training(
        'spaars', floor=True, latent_candidates=4, self_imitation=True, latent_dim=2, width=32,
        heads=2, batch=32, learning_rate=3e-3, critic_steps=0)
    algorithm = make_algorithm('spaars', training, observation=N, action=D, constraints=0,
                               normaliser=NORMALISER, seed=0)
    replay = replay_with(-1.0, -9.0, -1.0, -9.0)  # the better ones do 0.4, the others -0.4
    algorithm.take_offline(replay)
    rng = np.random.default_rng(0)
    for _ in range(300):
        algorithm.agent.update_cvae(replay.sample(32, rng))
    algorithm.begin_online()
    o = replay.sample(64, rng)['observation']

    def done():
        with torch.no_grad():
            return float(algorithm.agent.latent_action(o).mean())
    before = done()
    for _ in range(300):
        batch = replay.sample(32, rng)
        algorithm.update_online(batch, batch)
    assert done() > 0.25 and done() > before + 0.1
    with torch.no_grad():  # the floor has not moved with it
        first = algorithm.agent.best_latent(algorithm.agent.critic, o, torch.arange(2))[1]
    assert abs(float(first.mean())) < 0.2


def test_raw_that_imitates_does_what_the_better_episodes_did_and_never_climbs():
    torch.manual_seed(0)
    training = load_training(
        'spaars', floor=True, latent_candidates=4, self_imitation=True, raw_candidate='imitation',
        latent_dim=2, width=32, heads=2, batch=32, learning_rate=3e-3, critic_steps=0)
    algorithm = make_algorithm('spaars', training, observation=N, action=D, constraints=0,
                               normaliser=NORMALISER, seed=0)
    replay = replay_with(-1.0, -9.0, -1.0, -9.0)  # the better ones do 0.4, the others -0.4
    algorithm.take_offline(replay)
    algorithm.begin_online()
    agent, rng = algorithm.agent, np.random.default_rng(0)
    for gated in (False, True):  # one loss before and after the hand-over
        agent.gated = gated
        for _ in range(150):
            batch = replay.sample(32, rng)
            losses = algorithm.update_online(batch, batch)
            assert 'raw_policy' not in losses
    with torch.no_grad():
        done = agent.raw_policy(replay.sample(64, rng)['observation'])
    np.testing.assert_allclose(done, 0.4, atol=0.1)
    # The decoder, which learned nothing here, does worse: raw has no error beside it.
    assert float(agent.bc_error) < 0.01 and agent.margin < 0.02


def test_raw_that_imitates_worse_than_the_decoder_has_a_margin_until_it_is_as_good():
    training = load_training(
        'spaars', floor=True, latent_candidates=4, self_imitation=True, raw_candidate='imitation',
        latent_dim=2, width=32, heads=2, batch=32, learning_rate=3e-3)
    algorithm = make_algorithm('spaars', training, observation=N, action=D, constraints=0,
                               normaliser=NORMALISER, seed=0)
    agent = algorithm.agent
    with torch.no_grad():  # raw does 1 in every state
        agent.raw_policy.net.layers[-1].bias.fill_(9.0)
    o = torch.zeros(32, N)
    with torch.no_grad():
        action = agent.latent_action(o)
    agent.imitate(o, action)
    assert float(agent.bc_error) > 0.5 and agent.margin > 0.0
    worst = agent.margin
    for _ in range(1500):
        agent.imitate(o, action)
    assert agent.margin < 0.3 * worst


@pytest.mark.parametrize('raw', ['policy', 'imitation'])
def test_the_learner_of_a_robot_clones_an_episode_that_was_given_good_rewards(raw):
    """And none that was given bad ones; its bundle is one that the policy server takes."""
    from spaars_ros.learning.online.finetuner import FineTuner
    from spaars_ros.learning.online.pretrain import untrained_bundle
    from spaars_ros.policy.runtime import check_bundle
    from spaars_ros.policy.runtime import PolicyRuntime
    from spaars_ros.robot.config import load_robot
    from spaars_ros.sim.evaluate import Rollouts
    from spaars_ros.sim.operator import collect
    from spaars_ros.tasks.reach import ReachTask
    from spaars_ros.tasks.registry import load_task
    robot = load_robot()
    settings = load_task('reach').model_copy(update={'horizon': 20})
    task = ReachTask(robot, settings)
    training = load_training('spaars', floor=True, latent_candidates=4, self_imitation=True,
                             champion=0.5, width=16, heads=2, batch=32, warmup_steps=10,
                             critic_steps=0, utd=0.2, raw_candidate=raw)
    bundle = untrained_bundle(robot, task, training)
    tuner = FineTuner(bundle, robot=robot, task=task, training=training, seed=0,
                      demonstrations=collect(robot, settings, episodes=2, seed=0))
    rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=0, explore=True)
    sizes, fields, sequence = [tuner.algorithm.good.size], tuner.schema.fields, 0
    for reward in (-100.0, 100.0):
        rows = rollouts.episode()
        rows[:, fields['sequence']] = sequence + np.arange(len(rows))[:, None]
        rows[:, fields['reward_given']], rows[:, fields['reward']] = 1.0, reward
        sequence += len(rows)
        for row in rows:
            tuner.add(row)
        sizes.append(tuner.algorithm.good.size)
    assert sizes[0] == sizes[1] < sizes[2]
    while tuner.updates_owed:
        tuner.update()
    check_bundle(tuner.deployed(), robot, task=task.name, spec=task.spec,
                 observation_dim=task.observation_dim)
