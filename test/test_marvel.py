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

"""Marvel: the sign of the alignment's entropies, strict warm start, CPQ, SAC-Lagrangian."""

import json
import os
from pathlib import Path
import sys

import numpy as np
import pytest
from scipy.stats import spearmanr
import torch

from benchmarks.constraint_report import plot
from benchmarks.constraint_tasks import find_task
from benchmarks.constraint_tasks import offline_data
from benchmarks.constraints import _refer
from benchmarks.constraints import run
from benchmarks.peer_environments import FOLDER
from benchmarks.peer_environments import PeerError
from benchmarks.peer_environments import python_of
from benchmarks.safe_drivers import drive
from benchmarks.safe_tasks import SafeTaskEnv
from benchmarks.safe_tasks import SafeTaskError
from spaars_ros.learning.algorithms.constrained.alignment import attainable
from spaars_ros.learning.algorithms.constrained.alignment import discounted_windows
from spaars_ros.learning.algorithms.constrained.alignment import soft_targets
from spaars_ros.learning.algorithms.constrained.cpq import from_floor
from spaars_ros.learning.algorithms.constrained.cpq import value_threshold
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import concatenate
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.training_file import load_training

N, D, B = 3, 2, 64
SMALL = {'width': 16, 'heads': 2, 'batch': B, 'cvae_steps': 4, 'iql_steps': 6, 'align_steps': 3,
         'offline_learning_rate': 1e-3, 'align_share': 0.0, 'align_push': False}


def make(name, seed=0, constraints=1, **changes):
    torch.manual_seed(seed)
    return make_algorithm(name, load_training('marvel', algorithm=name, **{**SMALL, **changes}),
                          observation=N, action=D, constraints=constraints,
                          normaliser=Normaliser(np.zeros(N), np.ones(N)), seed=seed)


def batch_of(seed=0, size=B, **columns):
    torch.manual_seed(seed)
    full = {'observation': torch.randn(size, N), 'action': torch.rand(size, D) * 2 - 1,
            'reward': torch.rand(size), 'cost': torch.rand(size, 1).round(),
            'next': torch.randn(size, N), 'discount': torch.full((size,), 0.9)}
    return Batch({**full, **columns})


# The alignment's targets

def test_targets_are_the_equations():
    batch = batch_of(size=2, reward=torch.tensor([1.0, 2.0]), cost=torch.tensor([[0.0], [1.0]]))
    pair = torch.tensor([[[10.0, 4.0], [20.0, 8.0]], [[12.0, 6.0], [18.0, 2.0]]])
    log_prob = torch.tensor([-1.0, 2.0])
    y = soft_targets(batch, pair, log_prob, entropy_reward=0.5, entropy_cost=0.1, cost_weight=3.0)
    # min of the heads' rewards, mean of their costs
    expected = [[1 + 0.9 * (10 + 0.5), 0 + 0.9 * (5 + 0.1)],
                [2 + 0.9 * (18 - 1.0), 3 + 0.9 * (5 - 0.2)]]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)


def test_the_entropy_has_one_weight_in_alignment_and_online(monkeypatch):
    """Fault of 0.1.0: alignment with 0, then 0.135 online: a mismatch of its own making."""
    marvel, seen = make('marvel', entropy=0.03), []
    targets = marvel.targets
    monkeypatch.setattr(marvel, 'targets', lambda *drawn, entropy_reward, **rest: seen.append(
        float(entropy_reward)) or targets(*drawn, entropy_reward=entropy_reward, **rest))
    marvel.align(batch_of())
    for _ in range(3):
        marvel.update_online(batch_of(), batch_of())
    assert seen == pytest.approx([0.03] * 4)


def test_the_shipped_weight_of_the_entropy_is_a_constant():
    assert load_training('marvel').entropy > 0.0


def test_cost_entropy_raises_the_estimated_cost_of_uncertain_actions():
    """The accident it prevents: a policy that is unsure looks cheap, and goes on unsure."""
    gaps = {}
    for alpha in (0.0, 0.2):
        marvel = make('marvel', align_entropy_cost=alpha, width=32, tau=0.1)
        with torch.no_grad():
            # Unsure where the first observation is positive, and nowhere else.
            marvel.policy.net.layers[-1].weight.zero_()
            marvel.policy.net.layers[-1].bias.zero_()
        marvel.policy.forward = lambda o: (
            torch.zeros(len(o), D), torch.where(o[:, :1] > 0, 0.0, -3.0).expand(len(o), D))
        generator = np.random.default_rng(0)
        for step in range(200):
            o = torch.from_numpy(generator.normal(size=(B, N)).astype(np.float32))
            marvel.align(batch_of(step, observation=o, next=o, action=torch.zeros(B, D),
                                  cost=torch.zeros(B, 1)))
        o = torch.tensor([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]])
        with torch.no_grad():
            cost = marvel.critic(o, torch.zeros(2, D))[..., 1].mean(0)
        gaps[alpha] = float(cost[0] - cost[1])
    # log pi: about -3 unsure, +3 sure; times alpha, that is 0.9 / (1 - 0.9) = 9 of discounted sum
    assert abs(gaps[0.0]) < 0.5
    assert gaps[0.2] > 3.0


def test_alignment_improves_the_ranking_and_leaves_the_policy():
    """Q of a wrong policy is refitted to the one that acts: a chain whose action moves it."""
    marvel = make('marvel', width=32, tau=0.02, gamma=0.9, align_steps=0, reward_scale=1.0,
                  cost_weight=1.0)
    before = [p.clone() for p in marvel.policy.parameters()]
    rng = np.random.default_rng(0)

    def step(o, a):
        following = np.clip(o + 0.3 * a[:, :1] * np.array([1.0, 0.0, 0.0]), -2, 2)
        return following, following[:, 0], (following[:, 0] > 1.0).astype(np.float32)

    def act(o):
        return marvel.policy.sample(torch.from_numpy(o.astype(np.float32)))[0].numpy()

    o = rng.uniform(-2, 2, (4000, N))
    a = rng.uniform(-1, 1, (4000, D))
    following, reward, cost = step(o, a)
    columns = {'observation': o, 'action': a, 'reward': reward, 'cost': cost[:, None],
               'next': following, 'discount': np.full(4000, 0.9)}
    data = {name: torch.from_numpy(np.asarray(value, np.float32))
            for name, value in columns.items()}
    # Monte-Carlo returns of the policy, from 200 states of the data
    with torch.no_grad():
        state, action, returns = o[:200], a[:200], np.zeros((200, 2))
        for t in range(40):
            state, r, c = step(state, action)
            returns += 0.9 ** t * np.stack([r, c], 1)
            action = act(state)

        def ranks():
            q = marvel.critic(data['observation'][:200], data['action'][:200])
            q = q.mean(0).detach().numpy()
            return [spearmanr(q[:, i], returns[:, i]).statistic for i in (0, 1)]

        first = ranks()
    for _ in range(600):
        picked = torch.from_numpy(rng.integers(0, 4000, B))
        marvel.align(Batch({name: value[picked] for name, value in data.items()}))
    last = ranks()
    assert last[0] > max(0.8, first[0])
    assert last[1] > max(0.8, first[1])
    assert all(torch.equal(a, b) for a, b in zip(before, marvel.policy.parameters()))


def test_windows_are_of_one_length():
    windows = discounted_windows(np.array([1.0, 2.0, 4.0, 8.0]), 0.5, 2)
    assert windows.tolist() == [2.0, 4.0, 8.0]
    with pytest.raises(ValueError, match='window'):
        discounted_windows(np.ones(3), 0.5, 4)


# Strict warm start

def pretrained(name='cpq', **changes):
    algorithm = make(name, **changes)
    for step in range(algorithm.offline_steps):
        algorithm.update_offline(batch_of(step), step)
    return algorithm


def test_online_policy_is_the_offline_policy_on_random_states(tmp_path):
    cpq = pretrained()
    np.savez(tmp_path / 'start.npz', **cpq.arrays())
    marvel = make('marvel', seed=5, start=str(tmp_path / 'start.npz'))
    assert marvel.offline_steps == SMALL['align_steps']
    o = torch.randn(500, N)
    assert not torch.equal(make('marvel', seed=5).policy(o)[0], cpq.policy(o)[0])
    for step in range(marvel.offline_steps):
        marvel.update_offline(batch_of(step), step)
    marvel.begin_online()
    for offline, online in zip(cpq.policy(o), marvel.policy(o)):
        assert torch.equal(offline, online)
    rng = np.random.default_rng(0)
    first = marvel.choose(o[0].numpy().astype(float), rng, True).action
    rng = np.random.default_rng(0)
    assert np.array_equal(first, cpq.choose(o[0].numpy().astype(float), rng, True).action)


def test_whole_marvel_starts_from_its_own_offline_learner():
    marvel = pretrained('marvel')
    o = torch.randn(50, N)
    assert torch.equal(marvel.policy(o)[0], marvel.cpq.policy(o)[0])
    # the alignment moved the critic, and only it
    assert not torch.equal(marvel.critic(o, torch.zeros(50, D)),
                           marvel.cpq.critic(o, torch.zeros(50, D)))


@pytest.mark.parametrize('damage, message', [
    (lambda arrays: arrays.pop('net/policy.net.layers.0.bias'), 'Missing key'),
    (lambda arrays: arrays.update({'net/critic.extra': np.zeros(1)}), 'Unexpected key'),
    (lambda arrays: arrays.update({'net/policy.net.layers.0.bias': np.zeros(5, np.float32)}),
     'size mismatch'),
    (lambda arrays: arrays.pop('net/reward_floor'), 'not the tensors')])
def test_a_start_that_does_not_fit_is_refused(tmp_path, damage, message):
    """The released code keeps the matching keys and says nothing."""
    arrays = pretrained().arrays()
    damage(arrays)
    np.savez(tmp_path / 'start.npz', **arrays)
    with pytest.raises(ValueError, match=message):
        make('marvel', start=str(tmp_path / 'start.npz'))


def test_a_start_of_another_width_is_refused(tmp_path):
    np.savez(tmp_path / 'start.npz', **pretrained().arrays())
    with pytest.raises(ValueError, match='warm start of the policy'):
        make('marvel', width=32, start=str(tmp_path / 'start.npz'))


def test_a_missing_start_is_named():
    with pytest.raises(ValueError, match='nowhere.npz'):
        make('marvel', start='nowhere.npz')


def test_marvel_goes_on_from_a_checkpoint_within_its_offline_phase():
    whole, first = make('marvel'), make('marvel')
    for step in range(7):
        torch.manual_seed(step)
        first.update_offline(batch_of(step), step)
    second = make('marvel', seed=9)
    second.load_arrays(first.arrays())
    second.load_state(first.state())
    for step in range(13):
        whole.update_offline(batch_of(step), step)
        if step >= 7:
            second.update_offline(batch_of(step), step)
    for name, value in whole.arrays().items():
        np.testing.assert_array_equal(value, second.arrays()[name], err_msg=name)


# Alignment after the warm-up

def aligning(folder, steps=300, **changes):
    """Return a trainer on the arm whose alignment comes after 100 steps of warm-up."""
    task = find_task('reach', folder)
    training = task.training('marvel', **{
        **SMALL, 'align_steps': 40, 'align_share': 0.25, 'align_push': True, 'warmup_steps': 100,
        'utd': 0.1, 'checkpoint_every': 100, **changes})
    return Trainer('reach', offline_data(task, folder, folder, episodes=1), training=training,
                   seed=0, out=folder / 'run', steps=steps, make_env=task.make_env,
                   evaluate_every=100, evaluation_episodes=1, cost_limit=task.limit)


def test_alignment_after_the_warm_up_moves_the_values_and_leaves_the_policy(tmp_path):
    trainer = aligning(tmp_path, steps=100)
    marvel, seen = trainer.algorithm, []
    align = marvel.align

    def watched(offline, own):
        seen.append((trainer.steps, len(offline['reward']), len(own['reward']),
                     {name: value.numpy().copy() for name, value in marvel.policy.state_dict()
                      .items()}, marvel.critic.weights[0].detach().clone()))
        return align(offline, own)
    marvel.align = watched
    trainer.run()
    assert marvel.offline_steps == SMALL['cvae_steps'] + SMALL['iql_steps']
    assert [each[:3] for each in seen] == [(100, 48, 16)] * 40
    assert marvel.aligned == 40 and marvel.alignment_owed == 0
    for name, value in marvel.policy.state_dict().items():
        assert np.array_equal(value.numpy(), marvel.cpq.policy.state_dict()[name].numpy())
    assert not torch.equal(seen[0][4], marvel.critic.weights[0])
    # The online phase has its own rate, with fresh optimisers.
    assert marvel.optimisers['critic'].rate == trainer.training.learning_rate


def test_a_run_cut_after_its_alignment_aligns_no_second_time(tmp_path):
    whole = aligning(tmp_path / 'whole').run()

    def interrupt(line):
        if line.startswith('200 steps'):
            raise KeyboardInterrupt
    (tmp_path / 'cut').mkdir()
    with pytest.raises(KeyboardInterrupt):
        aligning(tmp_path / 'cut').run(say=interrupt)
    rest, again = aligning(tmp_path / 'cut'), []
    rest.algorithm.align = lambda offline, own: again.append(own)
    summary = rest.run()
    assert rest.algorithm.aligned == 40 and not again
    for old, new in zip(whole['curve'], summary['curve'], strict=True):
        assert {**old, 'seconds': 0} == {**new, 'seconds': 0}


@pytest.mark.parametrize(('share', 'own'), [(0.0, 64), (0.25, 48)])
def test_online_batches_have_the_share_of_offline_data_that_was_asked_for(tmp_path, share, own):
    trainer = aligning(tmp_path, steps=200, offline_share=share)
    seen, update = [], trainer.algorithm.update_online

    def watched(batch, online):
        seen.append((len(batch['reward']), len(online['reward'])))
        return update(batch, online)
    trainer.algorithm.update_online = watched
    trainer.run()
    assert set(seen) == {(64, own)}


def imitation_of(marvel, shown, own):
    """Return loss and gradient for a policy that does `own` where the data shows `shown`."""
    data = batch_of(0, action=torch.full((B, D), shown))
    action = torch.full((B, D), own, requires_grad=True)
    objective = marvel.lagrangian(marvel.critic(data['observation'], action.detach()))
    loss = marvel.imitation(data, action, objective, own=0)
    return loss.item(), torch.autograd.grad(loss, action)[0].mean()


def valued():
    """Return a Marvel whose values know that the first action's sign pays and costs."""
    marvel = make('marvel', offline_share=0.5, demonstration_weight=1.0, width=32,
                  learning_rate=5e-3, tau=0.05, reward_scale=1.0, cost_weight=1.0,
                  critic_steps=1000)
    for step in range(200):
        batch = batch_of(step, discount=torch.zeros(B))
        batch['reward'] = batch['action'][:, 0]
        batch['cost'] = (batch['action'][:, :1] > 0).float()
        marvel.update_online(batch, batch)
    return marvel


def test_demonstrations_are_copied_where_they_are_better_and_only_there():
    marvel = valued()
    loss, gradient = imitation_of(marvel, shown=0.8, own=-0.5)
    assert loss > 0.1
    assert gradient < 0
    loss, gradient = imitation_of(marvel, shown=-0.8, own=0.5)
    assert (loss, gradient) == (0, 0)


def test_demonstrations_over_the_limit_are_no_longer_copied_as_lambda_rises():
    marvel = valued()
    assert imitation_of(marvel, shown=0.8, own=-0.5)[0] > 0.1
    marvel.set_multipliers(np.array([20.0]))
    assert imitation_of(marvel, shown=0.8, own=-0.5)[0] == 0
    assert imitation_of(marvel, shown=-0.8, own=0.5)[0] > 0.1


def test_only_the_data_s_rows_are_copied():
    marvel = valued()
    own = batch_of(1, B // 2, action=torch.full((B // 2, D), 0.8))
    data = batch_of(2, B // 2, action=torch.full((B // 2, D), -0.8))
    both = concatenate(own, data)
    action = torch.zeros(B, D, requires_grad=True)
    loss = marvel.imitation(both, action, torch.full((B,), -1e3), own=len(own['action']))
    gradient = torch.autograd.grad(loss, action)[0]
    assert (gradient[:B // 2] == 0).all()
    assert (gradient[B // 2:] > 0).all()


def test_without_a_weight_the_policy_s_loss_has_no_imitation():
    marvel = make('marvel', offline_share=0.5)
    batch = batch_of()
    assert marvel.imitation(batch, batch['action'], torch.zeros(B), own=0) == 0.0


def test_a_demonstration_weight_without_demonstrations_is_refused():
    with pytest.raises(ValueError, match='demonstration_weight 1: offline_share is 0'):
        make('marvel', demonstration_weight=1.0)


def test_a_benchmark_without_demonstrations_is_refused_before_its_offline_phase(tmp_path):
    with pytest.raises(ValueError, match='demonstration_weight 3: offline_share is 0'):
        run(tasks=['reach'], methods=['marvel'], seeds=[0], out=tmp_path, peers=tmp_path,
            settings={'offline_share': 0.0})
    assert not list(tmp_path.glob('start_*'))


def test_a_warm_start_s_settings_are_not_those_of_a_run_from_scratch(tmp_path):
    small = {'cvae_steps': 5, 'iql_steps': 5, 'align_steps': 5, 'warmup_steps': 100, 'utd': 0.1,
             'width': 16, 'demonstration_weight': 1.0}
    result = run(tasks=['reach'], methods=['marvel', 'sac-lagrangian'], seeds=[0], steps=200,
                 out=tmp_path, peers=tmp_path, jobs=1, rollouts=1, evaluation_episodes=1,
                 settings=small)
    assert {row['method'] for row in result['rows']} == {'marvel', 'sac-lagrangian'}
    shares = {}
    for path in tmp_path.glob('reach_*/checkpoint.npz'):
        with np.load(path) as archive:
            training = json.loads(archive['state'].tobytes())['training']
        shares[training['algorithm']] = (training['offline_share'], training['actor_rate'])
    assert shares == {'marvel': (0.5, 0.1), 'sac-lagrangian': (0.0, 1.0)}


def test_costs_of_the_arm_are_stored_once(tmp_path):
    """They are the task's own, which the replay computes, and stood in `info` as well."""
    task = find_task('reach', tmp_path)
    training = task.training('sac-lagrangian', **{**SMALL, 'utd': 0.0, 'checkpoint_every': 10**9})
    trainer = Trainer('reach', None, training=training, seed=0, out=tmp_path / 'run', steps=800,
                      make_env=task.make_env, evaluate_every=10**9, evaluation_episodes=1,
                      cost_limit=task.limit)
    trainer.run()
    lines = (tmp_path / 'run' / 'episodes.jsonl').read_text().splitlines()
    spent = sum(json.loads(line)['cost'] for line in lines)
    assert spent > 1.0
    assert trainer._online.arrays()['cost'].sum() == pytest.approx(spent, rel=1e-5)


def test_a_start_without_the_data_that_it_was_made_of_is_refused(tmp_path):
    task = find_task('reach', tmp_path)
    np.savez(tmp_path / 'start.npz', **aligning(tmp_path).algorithm.cpq.arrays())
    training = task.training('marvel', **{**SMALL, 'start': str(tmp_path / 'start.npz')})
    with pytest.raises(ValueError, match='starts from a data set'):
        Trainer('reach', None, training=training, seed=0, out=tmp_path / 'run', steps=100,
                make_env=task.make_env, cost_limit=task.limit)


def test_the_push_keeps_foreign_actions_dear_and_the_published_alignment_forgets_them():
    """The data says that everything is free; only the push knows better."""
    costs = {}
    for push in (False, True):
        marvel = make('marvel', align_push=push, align_steps=0, cost_limit=20.0, tau=0.1)
        for step in range(300):
            marvel.align(batch_of(step, cost=torch.zeros(B, 1)))
        o, a = marvel.cpq.outside(batch_of(1000)['observation'])
        with torch.no_grad():
            costs[push] = float(marvel.critic(o, a)[..., 1].mean())
    assert costs[False] < 0.3 * marvel.cpq.threshold < costs[True]


def test_ties_bound_the_correlation_that_a_faultless_critic_has():
    assert attainable(np.arange(50.0)) == pytest.approx(1.0)
    assert attainable(np.zeros(50)) is None
    few = attainable(np.where(np.arange(100) < 92, 0.0, 1.0))
    assert few == pytest.approx(np.sqrt(3 * 0.08 * 0.92), abs=0.01)


# CPQ

def test_threshold_is_the_sourced_figure():
    for steps, expected in ((200, 8.66), (300, 6.34), (100, 12.68), (500, 3.97)):
        assert value_threshold(20.0, 0.99, steps) == pytest.approx(expected, abs=0.005)


def test_cpq_needs_a_cost():
    with pytest.raises(ValueError, match='cost limit'):
        make('cpq', constraints=0)


def test_cpq_gives_unsafe_states_no_value_and_pushes_up_the_cost_outside():
    cpq = make('cpq', width=32, cvae_steps=100, iql_steps=0, tau=0.1, cost_limit=1.0,
               reward_scale=1.0, cost_weight=1.0)
    narrow = {'action': 0.1 * torch.randn(B, D).clamp(-1, 1), 'reward': torch.ones(B)}
    for step in range(100):
        cpq.update_offline(batch_of(step, **narrow), step)
    o = torch.randn(200, N)
    far = cpq.divergence(o, torch.full((200, D), 0.9)).mean()
    assert far > cpq.divergence(o, torch.zeros(200, D)).mean()
    for step in range(100, 350):
        cpq.update_offline(batch_of(step, **narrow, cost=torch.zeros(B, 1)), step)
    # The data costs nothing; where the data does not reach, the penalty raised the estimate.
    with torch.no_grad():
        inside = cpq.critic(o, torch.zeros(200, D))[..., 1].mean()
        outside = cpq.critic(o, torch.full((200, D), 0.9))[..., 1].mean()
    assert outside > inside + 0.1 * cpq.threshold
    # All costs far above the threshold: the target is the reward alone.
    for step in range(350, 650):
        cpq.update_offline(batch_of(step, **narrow, cost=torch.full((B, 1), 50.0)), step)
    with torch.no_grad():
        values = cpq.critic(o, torch.zeros(200, D))
    assert float(values[..., 1].min()) > cpq.threshold
    assert float(values[..., 0].mean()) == pytest.approx(1.0, abs=0.5)


def test_a_policy_that_is_safe_nowhere_is_led_down_the_cost():
    """The accident it prevents: the published objective has no gradient there."""
    cpq = make('cpq', width=32, cvae_steps=0, iql_steps=150, cost_limit=0.0, tau=0.1,
               offline_learning_rate=5e-3, clone_weight=0.0)
    o = torch.randn(200, N)
    before = float(cpq.policy.mode(o)[:, 0].detach().mean())
    for step in range(150):
        batch = batch_of(step, discount=torch.zeros(B), reward=torch.zeros(B))
        batch['cost'] = 2.0 + batch['action'][:, :1]
        cpq.update_offline(batch, step)
    assert float(cpq.policy.mode(o)[:, 0].detach().mean()) < before - 0.3


def test_the_policy_begins_as_a_clone_of_the_data():
    cpq = make('cpq', width=32, cvae_steps=200, iql_steps=0, offline_learning_rate=5e-3)
    for step in range(200):
        batch = batch_of(step)
        batch['action'] = 0.8 * torch.tanh(batch['observation'][:, :D])
        cpq.update_offline(batch, step)
    o = torch.randn(200, N)
    error = (cpq.policy.mode(o) - 0.8 * torch.tanh(o[:, :D])).abs().mean()
    assert float(error.detach()) < 0.2


def test_the_clone_weight_holds_the_policy_to_the_data():
    means = {}
    for weight in (0.0, 3.0):
        cpq = make('cpq', width=32, cvae_steps=0, iql_steps=150, cost_limit=20.0, tau=0.1,
                   offline_learning_rate=5e-3, clone_weight=weight)
        for step in range(150):
            batch = batch_of(step, discount=torch.zeros(B), cost=torch.zeros(B, 1))
            batch['action'] = 0.1 * batch['action']
            batch['reward'] = 5.0 * batch['action'][:, 0]
            cpq.update_offline(batch, step)
        means[weight] = float(cpq.policy.mode(torch.randn(200, N))[:, 0].detach().mean())
    assert means[0.0] > 0.5
    assert abs(means[3.0]) < 0.3


def test_negative_rewards_are_counted_from_the_least():
    """An unsafe action is worth 0: with negative rewards that would be the best there is."""
    cpq = make('cpq')
    cpq.update_offline(batch_of(0, reward=torch.linspace(-3.0, -1.0, B)), 0)
    assert float(cpq.reward_floor) == -3.0
    cpq.update_offline(batch_of(1, reward=torch.ones(B)), 1)
    assert float(cpq.reward_floor) == -3.0


# SAC-Lagrangian

def test_the_objective_is_divided_by_one_plus_lambda():
    sac = make('sac-lagrangian')
    values = torch.tensor([[[2.0, 1.0]], [[3.0, 3.0]]])
    assert float(sac.lagrangian(values)) == 2.0
    sac.set_multipliers(np.array([3.0]))
    assert float(sac.lagrangian(values)) == pytest.approx((2.0 - 3.0 * 2.0) / 4.0)
    # A large multiplier asks for the least cost, at a step no larger than before.
    sac.set_multipliers(np.array([1e6]))
    assert float(sac.lagrangian(values)) == pytest.approx(-2.0, abs=1e-4)


@pytest.mark.parametrize('wrong', [[-1.0], [float('nan')], [1.0, 1.0]])
def test_a_wrong_multiplier_is_refused(wrong):
    with pytest.raises(ValueError, match='multipliers'):
        make('sac-lagrangian').set_multipliers(np.array(wrong))


def test_the_policy_turns_from_reward_to_safety_with_lambda():
    """Both reward and cost grow with the first action: lambda decides on which side it goes."""
    means = {}
    for multiplier in (0.0, 5.0):
        sac = make('sac-lagrangian', width=32, learning_rate=5e-3, tau=0.05, entropy=0.01,
                   reward_scale=1.0, cost_weight=1.0, critic_steps=0)
        sac.set_multipliers(np.array([multiplier]))
        for step in range(200):
            batch = batch_of(step, discount=torch.zeros(B))
            batch['reward'] = batch['action'][:, 0]
            batch['cost'] = batch['action'][:, :1]
            sac.update_online(batch, batch)
        means[multiplier] = float(sac.policy.mode(torch.randn(200, N))[:, 0].detach().mean())
    assert means[0.0] > 0.5
    assert means[5.0] < -0.5


def test_time_limits_bootstrap_and_true_ends_do_not():
    batch = batch_of(size=2, reward=torch.zeros(2), cost=torch.zeros(2, 1),
                     discount=torch.tensor([0.99, 0.0]))
    pair = torch.full((2, 2, 2), 7.0)
    y = soft_targets(batch, pair, torch.zeros(2), entropy_reward=0.0)
    assert y[0].tolist() == pytest.approx([6.93, 6.93])
    assert y[1].tolist() == [0.0, 0.0]


def test_counting_rewards_from_a_floor_moves_every_value_by_the_same(gamma=0.9):
    """-1 a step until the end: without what comes after it, an end would be worth nothing."""
    training = load_training('marvel', gamma=gamma, n_step=2)
    floor = torch.tensor(-1.0 - gamma)  # of two steps
    batch = batch_of(size=2, reward=torch.tensor([-1.0 - gamma, -1.0]),
                     discount=torch.tensor([gamma ** 2, 0.0]))
    shifted = from_floor(batch, floor, training)
    everywhere = 1.0 / (1.0 - gamma)
    assert float(shifted[0]) == pytest.approx(0.0)
    # V is -1 at the last step before the end, and `everywhere` higher once shifted.
    assert float(shifted[1]) == pytest.approx(-1.0 + everywhere)


def test_methods_differ_in_the_controller_alone():
    adaptive = make('marvel').gains
    assert adaptive.kp_rate > 0
    assert make('marvel', multiplier='plain').gains.kp_rate == 0
    assert make('sac-pid').gains.kp > 0
    assert make('sac-lagrangian').gains.kp == 0
    assert make('sac-lagrangian').gains.ki == adaptive.ki
    for name in ('marvel', 'sac-pid', 'sac-lagrangian'):
        assert make(name, setpoint=0.4).gains.setpoint == 0.4
        assert make(name, violation_rate=0.1).gains.violation_rate == 0.1
    assert make('marvel', multiplier='plain', setpoint=0.4).gains.kp_rate == 0


# The benchmark

def test_reference_is_that_of_safe_runs_from_scratch():
    point = {'return_mean': 5.0, 'cost_mean': 1.0}
    curve = [{'steps': 0, 'updates': 0, 'return_mean': 9.0, 'cost_mean': 30.0},
             {'steps': 10, 'updates': 5, **point},
             {'steps': 20, 'updates': 15, 'return_mean': 8.0, 'cost_mean': 2.0}]
    rows = [{'task': 't', 'method': method, 'return_final': final, 'cost_final': cost,
             'cost_limit': 20.0, 'curve': curve, 'reference': None, 'steps_to_reference': None,
             'updates_to_reference': None}
            for method, final, cost in (('sac-lagrangian', 6.0, 5.0),
                                        ('sac-lagrangian', 60.0, 50.0), ('marvel', 8.0, 2.0))]
    _refer(rows)
    assert [row['reference'] for row in rows] == [6.0] * 3
    assert rows[2]['steps_to_reference'] == 20
    assert rows[2]['updates_to_reference'] == 15


def test_unknown_methods_and_tasks_are_named(tmp_path):
    with pytest.raises(ValueError, match='marvle'):
        run(tasks=['reach'], methods=['marvle'], seeds=[0], out=tmp_path, peers=tmp_path)
    with pytest.raises(ValueError, match='BallSquare'):
        run(tasks=['BallSquare'], methods=['marvel'], seeds=[0], out=tmp_path, peers=tmp_path)


def test_a_missing_environment_says_how_to_make_it(tmp_path):
    with pytest.raises(PeerError, match='spaars bench peers'):
        run(tasks=['BallCircle'], methods=['marvel'], seeds=[0], out=tmp_path, peers=tmp_path)


def test_a_run_on_the_arm_leaves_rows_alignment_and_plot_and_goes_on(tmp_path):
    wanted = {'tasks': ['reach'], 'methods': ['marvel', 'marvel:neither', 'sac-lagrangian', 'cpq'],
              'seeds': [0], 'out': tmp_path, 'peers': tmp_path, 'steps': 200, 'jobs': 2,
              'evaluate_every': 100, 'evaluation_episodes': 1, 'rollouts': 2,
              'settings': {**SMALL, 'warmup_steps': 50, 'utd': 0.2}}
    result = run(**wanted)
    rows = {row['method']: row for row in result['rows']}
    assert list(rows) == wanted['methods']
    assert rows['marvel']['updates'] == 30 == rows['sac-lagrangian']['updates']
    assert rows['marvel']['offline_updates'] == 13
    assert rows['marvel:neither']['offline_updates'] == 10
    assert rows['sac-lagrangian']['offline_updates'] == 0
    assert rows['cpq']['within_limit'] is None
    assert rows['marvel']['cost_limit'] == 5.0
    assert len(rows['marvel']['episodes']['cost']) == 2
    # Online begins where offline ended: the first evaluation is the offline policy's.
    assert rows['marvel']['curve'][0]['return_mean'] == rows['cpq']['return_final']
    assert rows['marvel:neither']['curve'][0]['return_mean'] == rows['cpq']['return_final']
    assert set(result['alignment'][0]['alignment']['before']) == {'reward', 'cost'}
    plot(result['rows'], 'reach', tmp_path / 'reach.png')
    assert (tmp_path / 'reach.png').read_bytes().startswith(b'\x89PNG')
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.npz')}
    assert run(**wanted)['rows'] == result['rows']
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.npz')}


# The tasks of bullet-safety-gym

PEERS = Path(os.environ.get('SPAARS_PEERS', FOLDER))
PYTHON = python_of('bullet', PEERS)
needs_bullet = pytest.mark.skipif(PYTHON is None, reason='no environment with bullet-safety-gym')


def test_an_interpreter_without_the_package_is_named():
    with pytest.raises(SafeTaskError, match='bullet_safety_gym'):
        SafeTaskEnv('BallCircle', Path(sys.executable))


@needs_bullet
@pytest.mark.parametrize('name', ['BallCircle', 'CarRun'])
def test_a_task_repeats_itself_with_its_seed(name):
    paths = []
    for seed in (3, 3, 4):
        env = SafeTaskEnv(name, PYTHON)
        path = [env.reset(seed=seed)[0]]
        for step in range(30):
            path.append(env.step(np.array([np.sin(step), 0.5]))[0])
        assert path[0].shape == env.observation_space.shape
        env.close()
        paths.append(np.asarray(path))
    assert np.array_equal(paths[0], paths[1])
    assert not np.array_equal(paths[0], paths[2])


@needs_bullet
def test_the_ball_costs_beyond_six_metres_and_time_runs_out():
    env = SafeTaskEnv('BallCircle', PYTHON)
    observation, _ = env.reset(seed=0)
    for _ in range(200):
        observation, _, terminated, truncated, info = env.step(np.array([1.0, 0.0]))
        assert not terminated
        assert info['cost'] == float(abs(10.0 * observation[0]) > 6.0)
    assert truncated
    assert info['cost'] == 1.0
    env.close()


@needs_bullet
def test_wrong_actions_and_a_dead_process_are_errors():
    env = SafeTaskEnv('CarRun', PYTHON)
    env.reset(seed=0)
    for wrong in ([0.0], [0.0, float('nan')]):
        with pytest.raises(ValueError, match='expected'):
            env.step(np.array(wrong))
    env._process.kill()
    with pytest.raises(SafeTaskError, match='ended with -9'):
        env.step(np.zeros(2))
    env.close()


@needs_bullet
@pytest.mark.parametrize('name', ['BallCircle', 'CarRun'])
def test_drivers_are_careful_and_reckless(name):
    data = drive(name, PYTHON, episodes=6, seed=1)
    costs = np.bincount(data.episode, data.costs[:, 0])
    assert len(data) == 1200
    assert (costs == 0).any()
    assert (costs > 20).any()
    assert not data.terminations.any()
    assert (np.abs(data.actions) <= 1.0).all()
