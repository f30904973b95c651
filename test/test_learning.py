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

"""The learning room: networks, replay, plateau, pretraining and fine-tuning."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from spaars_ros.checkpoint_files import steps_of
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent
from spaars_ros.learning.core.adam import Adam
from spaars_ros.learning.core.averaged import AveragedWeights
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.rnd import Plateau
from spaars_ros.learning.online.checkpoint_store import CheckpointStore
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import pretrain
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.scoring import episodes_from_steps
from spaars_ros.training_file import load_training

SMALL = {'width': 16, 'heads': 2, 'batch': 32, 'cvae_steps': 30, 'iql_steps': 30,
         'align_steps': 20, 'warmup_steps': 40, 'critic_steps': 20, 'min_latent_steps': 80,
         'max_latent_steps': 120, 'push_every': 40, 'bc_bound': 10.0, 'trust_steps': 40}


@pytest.fixture(scope='module')
def robot():
    return load_robot('panda')


@pytest.fixture(scope='module')
def settings():
    return load_task('reach').model_copy(update={'horizon': 40})


@pytest.fixture(scope='module')
def task(robot, settings):
    return ReachTask(robot, settings)


@pytest.fixture(scope='module')
def dataset(robot, settings):
    return collect(robot, settings, episodes=5, seed=0)


@pytest.fixture(scope='module')
def training():
    return load_training('spaars', **SMALL)


@pytest.fixture(scope='module')
def pretrained(robot, task, training, dataset):
    return pretrain(robot, task, training, dataset, seed=0)


def test_our_adam_gives_the_numbers_of_the_library():
    """It calls a private kernel: another torch has to fail here, not in a robot's policy."""
    torch.manual_seed(0)
    ours, theirs = ([torch.nn.Parameter(torch.linspace(-1.0, 1.0, 6).view(2, 3)),
                     torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(1))]
                    for _ in range(2))
    lean, library = Adam(ours, 0.01), torch.optim.Adam(theirs, lr=0.01, fused=True)
    for step in range(6):
        lean.clear(), library.zero_grad()
        for mine, other in zip(ours[:2], theirs[:2]):  # nothing asks the last one for anything
            gradient = torch.randn(mine.shape)
            mine.grad, other.grad = gradient, gradient.clone()
        if step == 1:  # the second one's count stays behind
            ours[1].grad = theirs[1].grad = None
        if step == 3:
            kept = {name: tensor.numpy().copy() for name, tensor in lean.tensors().items()}
            lean = Adam(ours, 0.1)
            lean.load(kept)
            library.param_groups[0]['lr'] = 0.1
        lean.advance(), library.step()
        for mine, other in zip(ours, theirs):
            assert torch.equal(mine, other)
    assert not torch.equal(ours[0], torch.linspace(-1.0, 1.0, 6).view(2, 3))
    assert torch.equal(ours[2], torch.ones(1)), 'a parameter without a gradient rests'
    for index, state in library.state_dict()['state'].items():
        for name, value in state.items():
            assert torch.equal(lean.tensors()[f'{index}/{name}'], value)
    with pytest.raises(ValueError, match='0/exp_avg of shape'):
        lean.load({'0/exp_avg': np.zeros((3, 2), np.float32)})


def test_a_learner_starts_without_the_compiler_of_torch():
    """It takes seconds to import, which a learner that was killed is away for longer."""
    code = """
import sys
from spaars_ros.robot.config import load_robot
from spaars_ros.tasks.registry import load_task
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.training_file import load_training
robot = load_robot('panda')
untrained_bundle(robot, ReachTask(robot, load_task()), load_training('spaars', width=16))
sys.exit(' '.join(sorted({'torch._dynamo', 'sympy'} & set(sys.modules))) or None)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr


def tuner_of(bundle, robot, task, training, dataset):
    return FineTuner(bundle, robot=robot, task=task, training=training, demonstrations=dataset,
                     seed=0)


def rollouts_of(bundle, robot, task):
    return Rollouts(PolicyRuntime(bundle), robot, task, seed=0, explore=True)


def learn(tuner, rollouts, episodes):
    for _ in range(episodes):
        for row in rollouts.episode():
            tuner.add(row)
        while tuner.updates_owed:
            tuner.update()


# Replay


class Line:
    """A task on a line: the observation is (place, goal), the reward the goal reached."""

    observation_dim = 2

    def reward(self, observation, action, next_observation):
        return (next_observation[..., 0] >= next_observation[..., 1]).astype(float)

    def sample_goal(self, rng):
        return np.zeros(1)

    def potential(self, observation):
        return observation[..., 0]

    def hindsight(self, observation, achieved, rng):
        return np.where(achieved[:, :1] < 3, achieved[:, :1], np.nan)

    def relabel(self, observation, goal):
        observation = observation.copy()
        observation[..., 1] = goal[..., 0]
        return observation


def line_replay(capacity=10, goal=0.0, steps=(4,), terminated=False, **changes):
    replay = Replay(capacity, Line(), Normaliser(np.zeros(2), np.ones(2)), action=1,
                    constraints=1, gamma=0.5, **{'n_step': 3, **changes})
    for count in steps:
        states = np.stack([np.arange(count + 1.0), np.full(count + 1, goal)], 1)
        replay.add_episode(states, np.zeros((count, 1)), terminated, costs=np.ones((count, 1)))
    return replay


def everything(replay, **options):
    class InOrder:
        """Every transition once; relabelled with the episode's second state."""

        def integers(self, low, high, size=None):
            return np.arange(high) if size is not None else low + 1

        def random(self, size):
            return np.zeros(size)
    return replay.sample(replay.size, InOrder(), **options)


def test_costs_of_another_shape_are_refused():
    replay = line_replay(steps=())
    with pytest.raises(ValueError, match=r'costs have shape \(2, 2\), expected \(2, 1\)'):
        replay.add_episode(np.zeros((3, 2)), np.zeros((2, 1)), False, costs=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r'costs have shape \(2, 0\), expected \(2, 1\)'):
        replay.add_episode(np.zeros((3, 2)), np.zeros((2, 1)), False)


def test_a_time_limit_bootstraps():
    batch = everything(line_replay())
    assert batch['reward'].tolist() == [1.75, 1.75, 1.5, 1.0]
    assert batch['cost'][:, 0].tolist() == [1.75, 1.75, 1.5, 1.0]
    assert batch['discount'].tolist() == [0.125, 0.125, 0.25, 0.5]
    assert batch['next'][:, 0].tolist() == [3, 4, 4, 4]


def test_a_true_termination_does_not_bootstrap():
    assert everything(line_replay(terminated=True))['discount'].tolist() == [0.125, 0, 0, 0]


def test_returns_do_not_reach_into_the_next_episode():
    batch = everything(line_replay(capacity=4, steps=(2, 2)))
    assert batch['reward'].tolist() == [1.5, 1.0, 1.5, 1.0]


def test_a_full_replay_drops_its_oldest_transitions_only():
    """Of episodes of 3 and 3 steps in a ring of 4, the last step and the second are left."""
    replay = line_replay(capacity=4, steps=(3, 3), n_step=1)
    batch = everything(replay)
    assert batch['observation'][:, 0].tolist() == [2, 0, 1, 2]
    assert batch['next'][:, 0].tolist() == [3, 1, 2, 3]


def test_hindsight_takes_no_overwritten_place_for_the_episodes_own():
    replay = line_replay(capacity=4, goal=9.0, steps=(3, 3), n_step=1)
    batch = replay.gather(np.zeros(200, int), np.random.default_rng(0), relabel=1.0)
    # The only place left of the first episode is state 3, which `hindsight` refuses.
    assert batch['observation'][:, 1].unique().tolist() == [8.0]  # clipped 9: the goal as it was


@pytest.mark.parametrize('capacity', [16, 7])
def test_an_episode_that_comes_in_parts_is_as_one_that_comes_whole(capacity):
    """`spaars train` stores segments: hindsight goals and returns saw only their own."""
    whole = line_replay(capacity=capacity, steps=(3, 6))
    parts = line_replay(capacity=capacity, steps=(3,))
    observations = np.stack([np.arange(7.0), np.full(7, 0.0)], 1)
    for start, end in ((0, 2), (2, 3), (3, 6)):
        parts.add_episode(observations[start:end + 1], np.zeros((end - start, 1)), False,
                          costs=np.ones((end - start, 1)), continues=start)
    for name in ('before', 'after', 'observation', 'next'):
        mine, theirs = parts.arrays()[name], whole.arrays()[name]
        if name in ('observation', 'next'):
            mine, theirs = mine[:, 0], theirs[:, 0]
        assert mine.tolist() == theirs.tolist(), name


def test_an_episode_longer_than_the_replay_is_refused():
    with pytest.raises(ValueError, match='5 steps, room for 4'):
        line_replay(capacity=4, steps=(5,))


def test_a_replay_continues_from_its_arrays():
    replay, other = line_replay(capacity=4, steps=(3, 3)), line_replay(capacity=4, steps=())
    other.load_arrays(replay.arrays())
    one, two = everything(replay), everything(other)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_shaping_telescopes_over_the_n_steps():
    plain, shaped = everything(line_replay()), everything(line_replay(shaping=1.0))
    extra = shaped['reward'] - plain['reward']
    assert extra.tolist() == [0.125 * 3 - 0, 0.125 * 4 - 1, 0.25 * 4 - 2, 0.5 * 4 - 3]


def test_hindsight_changes_goal_and_reward_and_only_where_there_is_one():
    replay = line_replay(goal=9.0)
    assert everything(replay)['reward'].tolist() == [0, 0, 0, 0]
    batch = everything(replay, relabel=1.0)
    # The goal becomes place 2, reached from the second step on.
    assert batch['observation'].tolist() == [[0, 2], [1, 2], [2, 2], [3, 2]]
    assert batch['next'].tolist() == [[3, 2], [4, 2], [4, 2], [4, 2]]
    assert batch['reward'].tolist() == [0.75, 1.75, 1.5, 1.0]


# Plateau


def test_novelty_that_still_falls_is_no_plateau():
    plateau = Plateau(window=10, tolerance=0.05, windows=2)
    for i in range(100):
        plateau.add(0.99 ** i)
    assert not plateau.reached


def test_calm_novelty_is_a_plateau_after_the_windows():
    plateau = Plateau(window=10, tolerance=0.05, windows=2)
    for _ in range(30):
        assert not plateau.reached
        plateau.add(1.0)
    assert plateau.reached


def test_a_plateau_continues_from_its_state():
    one, two = (Plateau(window=10, tolerance=0.05, windows=2) for _ in range(2))
    for _ in range(25):
        one.add(1.0)
    two.restore(one.state())
    for _ in range(5):
        two.add(1.0)
    assert two.reached


# Agent


def test_the_cost_critic_is_not_pessimistic_downwards(training):
    """The target takes the larger of two cost heads: an under-estimate would be unsafe."""
    agent = SpaarsAgent(training, 4, 2, 1)
    agent.seed(0)
    zeros = torch.zeros(8, 4)
    batch = {'observation': zeros, 'action': torch.zeros(8, 2), 'reward': torch.zeros(8),
             'cost': torch.zeros(8, 1), 'next': zeros, 'discount': torch.ones(8)}
    with torch.no_grad():
        values = agent.target(zeros, agent.latent_action(zeros))
        want = torch.stack([values[..., 0].min(0).values, values[..., 1].max(0).values], -1)
        expected = (agent.critic(zeros, batch['action']) - want).square().mean((1, 2)).sum()
    loss = agent.update_critic(batch) * agent.training_file.heads
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_the_decoder_is_frozen_online(pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    before = [p.clone() for p in tuner.agent.decoder.parameters()]
    learn(tuner, rollouts_of(pretrained, robot, task), 5)
    assert tuner.updates > 100
    for old, new in zip(before, tuner.agent.decoder.parameters()):
        assert torch.equal(old, new)


def test_warm_up_makes_no_update_and_the_critic_moves_before_the_policies(
        pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    policy = [p.clone() for p in tuner.agent.latent_policy.parameters()]
    rollouts = rollouts_of(pretrained, robot, task)
    for row in rollouts.episode():
        tuner.add(row)
    assert tuner.updates_owed == 0  # 40 steps: warm-up
    for row in rollouts.episode():
        tuner.add(row)
    critic = tuner.agent.critic.weights[0].clone()
    for _ in range(40):
        tuner.update()
    assert not torch.equal(critic, tuner.agent.critic.weights[0])
    assert all(torch.equal(a, b) for a, b in zip(policy, tuner.agent.latent_policy.parameters()))
    for _ in range(tuner.updates_owed):
        tuner.update()
    assert not all(torch.equal(a, b)
                   for a, b in zip(policy, tuner.agent.latent_policy.parameters()))


# Pretraining and fine-tuning


def test_pretraining_is_deterministic_given_a_seed(pretrained, robot, task, training, dataset):
    again = pretrain(robot, task, training, dataset, seed=0)
    other = pretrain(robot, task, training, dataset, seed=1)
    assert again.graphs == pretrained.graphs
    assert other.graphs != pretrained.graphs


def test_updates_wait_for_the_first_episode_to_end(
        pretrained, robot, task, training, dataset):
    """With a warm-up shorter than an episode there is nothing to sample from yet."""
    impatient = training.model_copy(update={'warmup_steps': 5})
    tuner = tuner_of(pretrained, robot, task, impatient, dataset)
    rows = rollouts_of(pretrained, robot, task).episode()
    for row in rows[:-1]:
        tuner.add(row)
    assert tuner.steps > 5
    assert tuner.updates_owed == 0
    tuner.add(rows[-1])
    assert tuner.updates_owed > 0
    tuner.update()


def test_the_policy_online_starts_equal_to_the_policy_offline(
        pretrained, robot, task, training, dataset):
    exported = tuner_of(pretrained, robot, task, training, dataset).export()
    offline, online = PolicyRuntime(pretrained), PolicyRuntime(exported)
    rng = np.random.default_rng(0)
    scale = np.asarray(pretrained.manifest.observation_std)
    for _ in range(100):
        observation = rng.normal(size=scale.size) * scale
        one, two = offline.decide(observation), online.decide(observation)
        np.testing.assert_array_equal(one.latent_action, two.latent_action)
        np.testing.assert_array_equal(one.action, two.action)


def test_exported_graphs_compute_what_torch_computes(pretrained, robot, task, training, dataset):
    agent = tuner_of(pretrained, robot, task, training, dataset).agent
    runtime = PolicyRuntime(pretrained)
    o = np.random.default_rng(0).normal(size=(64, task.observation_dim)).astype(np.float32)
    with torch.no_grad():
        x = torch.from_numpy(o)
        latent = agent.latent_policy(x)
        action = agent.decoder(x, latent)
        noise = torch.randn(64, training.latent_dim)
        explored = agent.decoder(x, (latent + noise).clamp(-2, 2))
        raw = agent.trusted(agent.raw_policy(x), action)
        q = agent.critic(x, raw).permute(1, 0, 2).numpy()
    out = runtime.run(o, noise.numpy())
    np.testing.assert_allclose(out['latent'], latent, atol=1e-5)
    np.testing.assert_allclose(out['latent_action'], action, atol=1e-5)
    np.testing.assert_allclose(out['explored_action'], explored, atol=1e-5)
    np.testing.assert_allclose(out['raw_action'], raw, atol=1e-5)
    np.testing.assert_allclose(out['q_raw'], q, atol=1e-4)


def test_a_bundle_with_another_network_width_is_not_loaded_in_part(
        robot, task, training, dataset):
    wide = untrained_bundle(robot, task, load_training('spaars', **{**SMALL, 'width': 24}))
    with pytest.raises(BundleError, match='wrong_shape'):
        tuner_of(wide, robot, task, training, dataset)


def test_a_pushed_bundle_cannot_be_fine_tuned_and_says_so(
        pretrained, robot, task, training, dataset):
    pushed = Bundle(pretrained.manifest, pretrained.graphs, pretrained.golden_outputs)
    with pytest.raises(BundleError, match='no learner tensors'):
        tuner_of(pushed, robot, task, training, dataset)


def test_a_record_out_of_order_is_refused(pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    rows = rollouts_of(pretrained, robot, task).episode()
    tuner.add(rows[0])
    with pytest.raises(ValueError, match='record 2 where 1'):
        tuner.add(rows[2])


def test_an_aborted_episode_keeps_its_transitions(pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    rows = rollouts_of(pretrained, robot, task).episode()[:8]
    tuner.schema.set(rows[-1], 'flag', Flag.ABORTED)
    for row in rows:
        tuner.add(row)
    assert tuner.steps == 7
    assert tuner._online.size == 7


def test_an_episode_closed_between_two_ticks_invents_no_transition(
        pretrained, robot, task, training, dataset):
    """An estop's record repeats the newest state; (o, a, o) never happened."""
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    rollouts = rollouts_of(pretrained, robot, task)
    rollouts.loop.begin(rollouts.arm.state())
    for _ in range(5):
        state = rollouts.arm.state()
        tick = rollouts.loop.tick(state)
        rollouts.arm.step(tick.command)
        tuner.add(tick.record)
    tuner.add(rollouts.loop.abort(state))
    assert tuner.steps == 4
    assert tuner._online.size == 4
    assert tuner.received == 6
    for row in rollouts.episode():
        tuner.add(row)
    assert tuner.steps == 44


def test_a_checkpoint_of_another_run_goes_on_learning(
        pretrained, robot, task, training, dataset, tmp_path):
    first = tuner_of(pretrained, robot, task, training, dataset)
    learn(first, rollouts_of(pretrained, robot, task), 4)
    first.save(tmp_path / 'first.spaars')
    second = tuner_of(load_bundle(tmp_path / 'first.spaars'), robot, task, training, dataset)
    assert second.steps == first.steps
    for row in rollouts_of(pretrained, robot, task).episode():
        second.add(row)
    assert second.steps == first.steps + 40
    assert second.updates_owed == training.utd * 40


def test_a_loss_that_is_not_finite_stops_learning(pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    rollouts = rollouts_of(pretrained, robot, task)
    for row in np.concatenate([rollouts.episode(), rollouts.episode()]):
        tuner.add(row)
    with torch.no_grad():
        tuner.agent.critic.biases[-1][0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match='critic loss is nan'):
        tuner.update()


def test_multipliers_that_are_not_finite_are_refused(pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    for bad in ([np.nan], [-1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match='multipliers'):
            tuner.multipliers = np.array(bad)
    assert tuner.multipliers.tolist() == [0.0]


def test_the_hand_over_waits_for_the_bc_bound(pretrained, robot, task, training, dataset):
    strict = training.model_copy(update={'bc_bound': 1e-9})
    held = tuner_of(pretrained, robot, task, strict, dataset)
    free = tuner_of(pretrained, robot, task, training, dataset)
    for tuner in (held, free):
        learn(tuner, rollouts_of(pretrained, robot, task), 6)
    assert held.phase == 1
    assert free.phase == 2
    assert not held.export().manifest.gate_open
    assert free.export().manifest.gate_open
    assert free.export().manifest.margin >= float(
        free.agent.lipschitz) * float(free.agent.bc_error) * 0.999


def test_a_checkpoint_resumes_with_nothing_lost(
        pretrained, robot, task, training, dataset, tmp_path):
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    rollouts = rollouts_of(pretrained, robot, task)
    rows = np.concatenate([rollouts.episode() for _ in range(5)])
    for row in rows[:100]:
        tuner.add(row)
    while tuner.updates_owed:
        tuner.update()
    torch.rand(1)  # what algorithms with a stochastic policy draw of it
    tuner.save(tmp_path / 'half.spaars')
    drawn = torch.get_rng_state()
    again = tuner_of(pretrained, robot, task, training, dataset)
    assert not torch.equal(torch.get_rng_state(), drawn)
    again.restore(load_bundle(tmp_path / 'half.spaars'))
    assert torch.equal(torch.get_rng_state(), drawn)
    for row in rows[:100]:
        again.add(row)
    assert (again.steps, again.updates, again.received) == (97, tuner.updates, 100)
    assert again.updates_owed == 0
    for one, two in zip(tuner.agent.arrays().values(), again.agent.arrays().values()):
        np.testing.assert_array_equal(one, two)
    for row in rows[100:]:
        tuner.add(row)
        again.add(row)
    assert again.steps == tuner.steps == 200
    assert again.updates_owed == tuner.updates_owed > 0
    for one in (tuner, again):
        torch.set_rng_state(drawn)
        one.update()
    for one, two in zip(tuner.agent.arrays().values(), again.agent.arrays().values()):
        np.testing.assert_array_equal(one, two)


@pytest.fixture
def averaging(pretrained, robot, task, training, dataset):
    """Return a tuner whose average is half way behind, after four episodes."""
    tuner = tuner_of(pretrained, robot, task, training.model_copy(
        update={'weight_average': 0.99}), dataset)
    learn(tuner, rollouts_of(pretrained, robot, task), 4)
    return tuner


def test_what_acts_is_the_mean_of_the_weights_and_what_learns_the_newest(averaging):
    newest = [value.detach().clone() for value in averaging.agent.parameters()]
    before = averaging.export()
    for one, two in zip(newest, averaging.agent.parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.detach().numpy())
    with torch.no_grad():
        for one, two in zip(averaging.agent.parameters(), averaging._average._mean, strict=True):
            one.copy_(two)
    means = averaging.export()
    np.testing.assert_array_equal(before.golden_outputs['latent'], means.golden_outputs['latent'])
    averaging._average._decay = 0.0
    with torch.no_grad():
        for one, two in zip(averaging.agent.parameters(), newest, strict=True):
            one.copy_(two)
    averaging._average.update()
    assert (averaging.export().golden_outputs['latent'] != before.golden_outputs['latent']).any()


def test_the_mean_counts_every_update_less_as_it_ages(pretrained, robot, task, training, dataset):
    tuner = tuner_of(pretrained, robot, task, training.model_copy(
        update={'weight_average': 0.75, 'warmup_steps': 5}), dataset)
    weight = next(iter(tuner.agent.raw_policy.parameters()))
    place = [id(one) for one in tuner.agent.parameters()].index(id(weight))
    expected = weight.detach().numpy().copy()
    for row in rollouts_of(pretrained, robot, task).episode():
        tuner.add(row)
    assert tuner.updates_owed > 3
    while tuner.updates_owed:
        tuner.update()
        expected = 0.75 * expected + 0.25 * weight.detach().numpy()
    np.testing.assert_allclose(tuner._average._mean[place].numpy(), expected, atol=1e-6)


def test_a_checkpoint_keeps_the_mean_of_the_weights(
        averaging, pretrained, robot, task, dataset, tmp_path):
    averaging.save(tmp_path / 'half.spaars')
    again = tuner_of(pretrained, robot, task, averaging.training, dataset)
    again.restore(load_bundle(tmp_path / 'half.spaars'))
    for one, two in zip(averaging._average._mean, again._average._mean, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    for name, value in averaging.agent.arrays().items():
        np.testing.assert_array_equal(again.agent.arrays()[name], value)


def test_the_mean_of_other_networks_is_refused(averaging, tmp_path):
    with pytest.raises(ValueError, match='other shapes'):
        averaging._average.load(AveragedWeights(torch.nn.Linear(2, 3), 0.5).to_bytes())


def test_the_filters_interventions_reach_the_learners_costs(task, training, dataset, robot,
                                                            pretrained):
    """A constraint on interventions would drive lambda against a critic that learns nothing."""
    limited = robot.model_copy(update={'constraints': [
        robot.constraints[0].model_copy(update={'terms': ['intervention']})]})
    of_limited = ReachTask(limited, task.settings)
    tuner = tuner_of(pretrained, limited, of_limited, training, dataset)
    rows = rollouts_of(pretrained, robot, task).episode()
    rows[:, tuner.schema.fields['intervention']] = 0.0
    rows[3, tuner.schema.fields['intervention']] = 2.0
    episodes = []
    tuner.algorithm.store_episode = episodes.append  # what the memory of skills is given
    for row in rows:
        tuner.add(row)
    assert np.flatnonzero(tuner._online.arrays()['cost'][:, 0]).tolist() == [3]
    assert np.flatnonzero(episodes[0].costs[:, 0]).tolist() == [3]
    assert episodes_from_steps(tuner.schema, rows, of_limited)[0]['cost'] == 1.0


# A learner that lags behind its arm


def test_what_was_not_learned_from_neither_hands_over_nor_opens_the_trust_box(
        task, dataset, robot, pretrained):
    """The arm does not wait for a slow learner; steps alone would have let raw actions act."""
    training = load_training('spaars', **SMALL)
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    rollouts = rollouts_of(pretrained, robot, task)
    for _ in range(10):  # 400 steps, where 120 hand over at the latest
        for row in rollouts.episode():
            tuner.add(row)
    assert tuner.steps == 400 and tuner.learned_steps == training.warmup_steps
    assert tuner.phase <= 1 and not tuner.agent.gated
    assert tuner.agent.trust == training.trust_start
    while tuner.updates_owed:
        tuner.update()
    for row in rollouts.episode():
        tuner.add(row)
    assert tuner.phase == 2


def test_steps_that_go_back_do_not_shrink_the_trust_box(
        task, dataset, robot, pretrained, training):
    """Counted by what was learned, a short episode after a long one is behind it."""
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    curriculum, modes = tuner.algorithm.curriculum, np.full(4, Mode.LATENT)
    reached = np.zeros((4, task.observation_dim), np.float32)
    tuner.agent.gated = True
    trusts = []
    for steps in (200, 220, 140, 150, 230):
        curriculum.end_episode(reached, modes, steps)
        trusts.append(tuner.agent.trust)
    assert np.all(np.diff(trusts) >= 0.0) and trusts[0] == training.trust_start
    assert curriculum.grown == pytest.approx(30 / training.trust_steps)


# Checkpoints


def test_the_checkpoint_after_a_million_steps_is_the_newest(task, training, dataset, robot,
                                                           pretrained, tmp_path):
    store = CheckpointStore(tmp_path, every=1)
    tuner = tuner_of(pretrained, robot, task, training, dataset)
    for steps in (995_000, 997_500, 999_999, 1_000_000, 1_002_500):
        tuner.steps = steps
        assert store.save(tuner)
    assert [steps_of(path) for path in store.paths()] == [999_999, 1_000_000, 1_002_500]
    again = CheckpointStore(tmp_path, every=1)
    assert again.newest(tuner.manifest) is not None, again.skipped
    (tmp_path / 'step_copy.spaars').touch()  # not one of ours
    assert store.paths()[-1] == store.last
