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
"""The trainer and the algorithms that it drives, on a small environment without ROS."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.schema import Mode
from spaars_ros.data.transitions import transitions_from_fields
from spaars_ros.learning.algorithms.spaars.curriculum import Curriculum
from spaars_ros.learning.algorithms.spaars.curriculum import LEAST
from spaars_ros.learning.algorithms.spaars.trials import GateTrials
from spaars_ros.learning.algorithms.spaars.trials import LOOK
from spaars_ros.learning.core.draws import AHEAD
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.load_data import find_data
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import evaluate
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.environments import REACH
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

SMALL = {
    'width': 32, 'heads': 2, 'batch': 64, 'latent_dim': 1, 'cvae_steps': 150, 'iql_steps': 300,
    'align_steps': 50, 'warmup_steps': 100, 'critic_steps': 20, 'min_latent_steps': 150,
    'max_latent_steps': 200, 'bc_bound': 10.0, 'trust_start': 0.5, 'trust_steps': 100,
    'gamma': 0.5, 'n_step': 1, 'reward_scale': 1.0, 'offline_learning_rate': 3e-3,
    'learning_rate': 3e-3, 'checkpoint_every': 100, 'weight_average': 0.9}

FEW = {'cvae_steps': 40, 'iql_steps': 40, 'align_steps': 20}
"""Offline updates where nothing is asked of the policy."""


class Point(gymnasium.Env):
    """The best action is the observation itself; actions are in [-2, 2]."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        self.place = self.np_random.uniform(-1.0, 1.0, 2)
        return self.place, {}

    def step(self, action):
        reward = -float(np.square(action - self.place).sum())
        self.count += 1
        self.place = self.np_random.uniform(-1.0, 1.0, 2)
        return self.place, reward, False, self.count == 20, {'cost': float(action[0] > 0)}


def data_of(episodes=25, noise=0.5):
    """Return rollouts of a policy that goes half the way, with noise."""
    env, rng = Point(), np.random.default_rng(0)
    rows = {name: [] for name in ('observations', 'actions', 'rewards', 'next_observations',
                                  'terminations', 'truncations')}
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        done = False
        while not done:
            action = np.clip(0.5 * observation + noise * rng.standard_normal(2), -2.0, 2.0)
            after, reward, terminated, done, _ = env.step(action)
            for name, value in zip(rows, (observation, action, reward, after, terminated, done)):
                rows[name].append(value)
            observation = after
    return transitions_from_fields({name: np.asarray(values) for name, values in rows.items()})


def trainer_of(out, *, steps=600, data=True, seed=0, cost_limit=None, evaluate_offline=0,
               **changes):
    training = load_training('locomotion', **{**SMALL, **changes})
    return Trainer('Point', data_of() if data else None, training=training, seed=seed, out=out,
                   steps=steps, evaluate_every=200, evaluation_episodes=5, make_env=Point,
                   cost_limit=cost_limit, evaluate_offline=evaluate_offline)


def without_times(curve):
    return [{name: value for name, value in row.items() if name != 'seconds'} for row in curve]


class Reached(Point):
    """Every other episode ends in success."""

    def step(self, action):
        *first, info = super().step(action)
        return *first, {**info, 'success': self.place[0] > 0.0}


def test_an_evaluation_says_how_many_training_episodes_since_the_last_one_succeeded(tmp_path):
    training = load_training('locomotion', **{**SMALL, **FEW})
    trainer = Trainer('Point', data_of(), training=training, seed=0, out=tmp_path, steps=400,
                      evaluate_every=200, evaluation_episodes=1, make_env=Reached)
    curve = trainer.run()['curve']
    lines = (tmp_path / 'episodes.jsonl').read_text().splitlines()
    episodes = [json.loads(line) for line in lines]
    assert curve[0]['success_training'] is None
    for before, row in zip(curve, curve[1:]):
        since = [each['success'] for each in episodes
                 if before['steps'] < each['steps'] <= row['steps']]
        assert row['success_training'] == pytest.approx(np.mean(since))
    assert 0.0 < curve[-1]['success_training'] < 1.0


def test_raw_that_imitates_is_handed_over_to_in_a_run_and_acts(tmp_path):
    trainer = trainer_of(
        tmp_path, steps=900, floor=True, latent_candidates=4, self_imitation=True, prior=1.0,
        independent_targets=True, bootstrap=0.8, raw_candidate='imitation', champion=0.5,
        trials=0.0, bc_bound=0.15, **FEW)
    last = trainer.run()['curve'][-1]
    episodes = [json.loads(line)
                for line in (tmp_path / 'episodes.jsonl').read_text().splitlines()]
    trainer.close()
    assert 150 <= last['gated_at'] <= 300 and 0.0 <= last['bc_error'] < 0.5
    after = [each for each in episodes if each['raw_share'] > 0.0]
    assert after and after[0]['version'] > 0  # a challenger's: the pretrained policy has none
    assert {'share_pretrained', 'share_latent', 'share_raw'} <= set(last)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Return the summary of a run of SPAARS from beginning to end."""
    return trainer_of(tmp_path_factory.mktemp('whole')).run()


@pytest.mark.parametrize('algorithm', ['spaars', 'bc', 'iql', 'rlpd', 'sac', 'plas'])
def test_every_algorithm_beats_the_policy_that_made_its_data(tmp_path, whole, algorithm):
    """That one has a return of about -13; standing still has -13 too."""
    summary = whole if algorithm == 'spaars' else \
        trainer_of(tmp_path, algorithm=algorithm, data=algorithm != 'sac').run()
    assert summary['return_final'] > -6.0
    assert summary['steps'] == (0 if algorithm == 'bc' else 600)


def test_the_same_seed_gives_the_same_run(tmp_path, whole):
    again = trainer_of(tmp_path).run()
    assert without_times(again['curve']) == without_times(whole['curve'])


def test_evaluating_offline_shows_the_way_there_and_changes_nothing(tmp_path, whole):
    def interrupt(line):
        if line.startswith('offline 300/500'):
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path, evaluate_offline=100).run(say=interrupt)
    summary = trainer_of(tmp_path, evaluate_offline=100).run()
    offline = summary['curve'][:4]
    assert [row['offline_updates'] for row in offline] == [100, 200, 300, 400]
    assert all(row['steps'] == 0 and row['return_mean'] < 0.0 for row in offline)
    assert without_times(summary['curve'][4:]) == without_times(whole['curve'])
    assert summary['return_offline'] == whole['return_offline'] != offline[0]['return_mean']
    lines = [json.loads(line) for line in (tmp_path / 'curve.jsonl').read_text().splitlines()]
    assert without_times(lines) == without_times(summary['curve'])


def test_what_is_evaluated_is_the_mean_of_the_weights_and_what_explores_the_newest(tmp_path):
    curves, episodes, trainers = {}, {}, {}
    for decay in (0.0, 0.9, 0.9999999):
        out = tmp_path / str(decay)
        trainer = trainer_of(out, algorithm='iql', steps=400, weight_average=decay, **FEW)
        curves[decay] = [row['return_mean'] for row in trainer.run()['curve']]
        episodes[decay] = (out / 'episodes.jsonl').read_text()
        trainers[decay] = trainer
    assert episodes[0.0] == episodes[0.9] == episodes[0.9999999]
    first, *later = curves[0.0]
    assert curves[0.9][0] == curves[0.9999999][0] == first  # the mean is of online updates
    assert curves[0.9999999][1:] == pytest.approx([first] * len(later), abs=0.05)
    for mean, newest in zip(curves[0.9][1:], later, strict=True):
        assert mean != newest and abs(newest - first) > 0.5

    def evaluated(trainer):
        return evaluate(Point(), trainer.boxes, trainer.algorithm, 5)['return_mean']
    averaging = trainers[0.9]
    with averaging._average.applied():
        assert evaluated(averaging) == curves[0.9][-1]
    assert evaluated(averaging) == evaluated(trainers[0.0]) == curves[0.0][-1]


@pytest.mark.parametrize('name', ['observation', 'reward', 'cost'])
def test_what_an_environment_returns_is_named_where_it_is_not_finite(tmp_path, name):
    class Broken(Point):
        def step(self, action):
            place, reward, terminated, truncated, info = super().step(action)
            if self.count == 7:
                reward = np.nan if name == 'reward' else reward
                info = {'cost': np.inf} if name == 'cost' else info
                place = np.array([0.0, np.nan]) if name == 'observation' else place
            return place, reward, terminated, truncated, info
    training = load_training('locomotion', **{**SMALL, **FEW})
    trainer = Trainer('Broken', data_of(), training=training, seed=0, out=tmp_path, steps=40,
                      make_env=Broken)
    said = {'observation': r'observation 1 = nan', 'reward': r'reward 0 = nan',
            'cost': r'cost 0 = inf'}[name]
    with pytest.raises(ValueError, match=f'returned {said} at step 6 of an episode'):
        trainer.run()


def test_an_action_that_cannot_vary_is_named(tmp_path):
    class Fixed(Point):
        action_space = gymnasium.spaces.Box(
            np.array([-1.0, 0.5]), np.array([1.0, 0.5]), dtype=np.float64)
    with pytest.raises(ValueError, match='Fixed: action 1 cannot vary: its bounds are 0.5 and'):
        ActionScaler.of('Fixed', Fixed())


def test_other_data_do_not_go_on_with_a_run(tmp_path):
    trainer_of(tmp_path, steps=0, **FEW).run()
    training = load_training('locomotion', **{**SMALL, **FEW})
    other = Trainer('Point', data_of(noise=0.4), training=training, seed=0, out=tmp_path,
                    steps=20, make_env=Point)
    with pytest.raises(ValueError, match="another run: data '500 transitions, SHA-256 .*, now "
                                         "'500 transitions, SHA-256"):
        other.run()
    trainer_of(tmp_path, steps=20, **FEW).run()


@pytest.mark.parametrize('algorithm', ['spaars', 'rlpd', 'iql', 'bc'])
def test_what_learns_from_data_does_not_start_without(tmp_path, algorithm):
    with pytest.raises(ValueError, match=f'{algorithm} starts from a data set'):
        trainer_of(tmp_path, data=False, algorithm=algorithm)


@pytest.mark.parametrize(('arguments', 'said'), [
    (['--algorithm', 'sac', '--data', 'none.npz'], '--data none.npz: sac learns from scratch'),
    (['--training', 'spaars', '--fix-truncations'], '--fix-truncations: only of --data')])
def test_options_that_would_do_nothing_are_refused(tmp_path, arguments, said):
    result = CliRunner().invoke(app, ['train', '--env', REACH, '--out', str(tmp_path), *arguments])
    assert result.exit_code and said in result.output + result.stderr


@pytest.mark.parametrize('algorithm', ['spaars', 'iql', 'rlpd', 'plas'])
def test_half_of_every_online_batch_is_offline(tmp_path, monkeypatch, algorithm):
    trainer = trainer_of(tmp_path, algorithm=algorithm, steps=200, **FEW)
    trainer._train_offline(lambda line: None)
    drawn = {trainer._offline: [], trainer._online: []}
    whole = Replay.sample

    def sample(replay, count, rng, relabel):
        drawn[replay].append(count)
        return whole(replay, count, rng, relabel)
    monkeypatch.setattr(Replay, 'sample', sample)
    trainer.algorithm.begin_online()
    while trainer.steps < 200:
        trainer._run_episode()
    offline, online = drawn.values()
    assert len(online) > 50 // AHEAD
    assert offline == online == [32 * AHEAD] * len(online)


@pytest.mark.parametrize('when', ['offline 500/500', '200 steps'])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, whole, when):
    def interrupt(line):
        if line.startswith(when):
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path / 'cut').run(say=interrupt)
    rest = trainer_of(tmp_path / 'cut').run()
    assert without_times(rest['curve']) == without_times(whole['curve'])
    lines = [json.loads(line)
             for line in (tmp_path / 'cut' / 'curve.jsonl').read_text().splitlines()]
    assert without_times(lines) == without_times(whole['curve'])


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    trainer_of(tmp_path, steps=100).run()
    with pytest.raises(ValueError, match='kappa 1.0, now 0.75'):
        trainer_of(tmp_path, steps=100, kappa=0.75).run()


def test_a_key_younger_than_the_checkpoint_had_its_default(tmp_path):
    trainer = trainer_of(tmp_path, algorithm='sac', data=False, steps=100)
    trainer.run()
    path = tmp_path / 'checkpoint.npz'
    with np.load(path) as archive:
        arrays = dict(archive)
    state = json.loads(arrays['state'].tobytes())
    del state['training']['cost_weight'], state['training']['setpoint']
    arrays['state'] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(path, **arrays)
    assert trainer_of(tmp_path, algorithm='sac', data=False, steps=120).run()['steps'] == 120
    with pytest.raises(ValueError, match='setpoint 0.7, now 0.5'):
        trainer_of(tmp_path, algorithm='sac', data=False, steps=120, setpoint=0.5).run()


@pytest.mark.parametrize(('changes', 'raw'), [
    ({'mode': 'latent-only'}, False), ({'mode': 'raw-only'}, True),
    ({'mode': 'hard-switch', 'plateau': False}, True)])
def test_ablations_act_by_one_policy(tmp_path, changes, raw):
    summary = trainer_of(tmp_path, steps=500, utd=0.25, **FEW, **changes).run()
    assert summary['curve'][-1]['raw_share_evaluated'] == float(raw)


def test_no_plateau_hands_over_at_the_fixed_step(tmp_path):
    trainer = trainer_of(tmp_path, steps=260, plateau=False, min_latent_steps=0, utd=0.25, **FEW)
    trainer.run()
    assert trainer.algorithm.curriculum.gated_at == 200


def test_no_bc_leaves_the_raw_policy_as_cloned(tmp_path):
    trainer = trainer_of(tmp_path, steps=140, concurrent_bc=False)
    trainer.run()
    agent = trainer.algorithm.agent
    for mine, cloned in zip(agent.raw_policy.parameters(), agent.raw_anchor.parameters()):
        assert torch.equal(mine, cloned)


def test_more_latent_than_action_dimensions_are_refused(tmp_path):
    with pytest.raises(ValueError, match='latent_dim 3: has to be at most the 2'):
        trainer_of(tmp_path, latent_dim=3)


def test_an_offline_algorithm_without_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match='iql starts from a data set'):
        trainer_of(tmp_path, algorithm='iql', data=False)


def test_a_cost_limit_drives_the_multiplier(tmp_path):
    data = data_of()
    data.costs = (data.actions[:, :1] > 0).astype(np.float32)
    training = load_training('locomotion', **{**SMALL, **FEW, 'utd': 0.25})
    trainer = Trainer('Point', data, training=training, seed=0, out=tmp_path, steps=300,
                      evaluate_every=300, evaluation_episodes=2, make_env=Point, cost_limit=1.0)
    summary = trainer.run()
    assert summary['cost_limit'] == 1.0
    assert float(trainer.algorithm.agent.multipliers[0]) > 0.1  # about half of 20 steps cost


def test_thresholds_and_run_have_one_limit(tmp_path):
    """It was to be given twice, and who gave it once trained for a limit of 20."""
    data = data_of()
    data.costs = (data.actions[:, :1] > 0).astype(np.float32)
    sizes = {'seed': 0, 'out': tmp_path, 'steps': 0, 'make_env': Point}

    def training(**changes):
        return load_training('marvel', **SMALL, algorithm='cpq', **changes)
    by_run = Trainer('Point', data, training=training(), cost_limit=3.0, **sizes)
    by_file = Trainer('Point', data, training=training(cost_limit=3.0), **sizes)
    assert by_run.algorithm.threshold == by_file.algorithm.threshold
    assert by_run.cost_limit == by_file.cost_limit == by_file.controllers[0].limit == 3.0
    with pytest.raises(ValueError, match='cost_limit 3 in the training file, but the run holds 2'):
        Trainer('Point', data, training=training(cost_limit=3.0), cost_limit=2.0, **sizes)
    with pytest.raises(ValueError, match='cpq needs a cost limit'):
        Trainer('Point', data, training=training(), **sizes)


@pytest.mark.parametrize(('algorithm', 'aligned'), [('spaars', 3), ('spaars-supe', 3),
                                                    ('spar', 0), ('iql', 0)])
def test_hindsight_goals_offline_are_for_the_alignment_alone(tmp_path, algorithm, aligned):
    """As in the learner node: what is cloned or judged offline keeps the goals it was done for."""
    training = load_training('spaars', **{
        **SMALL, 'algorithm': algorithm, 'cvae_steps': 4, 'iql_steps': 4, 'align_steps': 3,
        'skill_steps': 4, 'skill_iql_steps': 20, 'spar_base_steps': 2, 'relabel': 0.5})
    trainer = Trainer(REACH, find_data(REACH, '', training), training=training, seed=0,
                      out=tmp_path, steps=0, evaluation_episodes=1)
    shares = []
    sample = trainer._offline.sample

    def noting(batch, rng, relabel=0.0):
        shares.append(relabel)
        return sample(batch, rng, relabel)
    trainer._offline.sample = noting
    trainer._train_offline(lambda line: None)
    assert shares == [0.0] * (trainer.algorithm.offline_steps - aligned) + [0.5] * aligned
    trainer.close()


def test_a_limit_a_step_is_about_the_mean_cost_a_step(tmp_path):
    robot = load_robot('panda')
    limited = robot.model_copy(update={'constraints': [robot.constraints[0].model_copy(
        update={'kind': 'step', 'limit': 0.05})]})
    settings = load_task('reach').model_copy(update={'horizon': 50})
    training = load_training('spaars', algorithm='sac', **{**SMALL, 'warmup_steps': 1000})
    trainer = Trainer(REACH, None, training=training, seed=0, out=tmp_path, steps=50,
                      make_env=lambda: ArmEnv(limited, settings), evaluation_episodes=1)
    ((controller,),) = (trainer.controllers,)
    seen = []
    controller.update = seen.append
    trainer._run_episode()
    total = json.loads((tmp_path / 'episodes.jsonl').read_text())['cost']
    assert seen == [pytest.approx(total / 50)] and controller.unit == 0.05
    trainer.close()


def test_the_robot_file_has_the_limit_of_an_arm(tmp_path):
    training = load_training('spaars', algorithm='sac')
    with pytest.raises(ValueError, match='cost limit 3: the robot file has 5'):
        Trainer(REACH, None, training=training, seed=0, out=tmp_path, steps=0, cost_limit=3.0)


def test_unlimited_costs_of_the_data_are_left_aside(tmp_path):
    data = data_of()
    data.costs = np.ones((len(data), 1), np.float32)
    training = load_training('locomotion', **SMALL, algorithm='rlpd')
    trainer = Trainer('Point', data, training=training, seed=0, out=tmp_path, steps=0,
                      make_env=Point)
    assert trainer.controllers == []


def test_demonstrations_of_an_arm_are_refused_where_there_is_no_arm(tmp_path):
    data = find_data(REACH, '', load_training('spaars'))
    with pytest.raises(ValueError, match='Point is no arm'):
        Trainer('Point', data, training=load_training('locomotion', **SMALL), seed=0,
                out=tmp_path, steps=10, make_env=Point)


def test_a_discrete_action_space_is_refused(tmp_path):
    with pytest.raises(ValueError, match='action space Discrete'):
        Trainer('CartPole-v1', None, training=load_training('locomotion', algorithm='sac'),
                seed=0, out=tmp_path, steps=10)


# The watch over the gate


def watched(raw_error, **changes):
    """
    Return a curriculum whose critic promises what it does not.

    :param raw_error: Q - y after raw actions, in turns; after latent ones it is 1 and -1
    """
    training = load_training('locomotion', **SMALL, **{
        'gate_watch': 'promise', 'gate_tolerance': 1.0, **changes})
    torch.manual_seed(0)
    spaars = make_algorithm('spaars', training, observation=2, action=2, constraints=0,
                            normaliser=Normaliser(np.zeros(2), np.ones(2)), seed=0)
    spaars.agent.gated = True
    with torch.no_grad():
        for parameter in [*spaars.agent.critic.parameters(), *spaars.agent.target.parameters()]:
            parameter.zero_()  # Q = 0, so that the error is the reward that was missed
    replay = Replay(1000, None, spaars.normaliser, action=2, constraints=0, gamma=0.5, n_step=1,
                    observation=2)
    modes = np.tile([Mode.RAW, Mode.LATENT], LEAST)
    rewards = np.zeros(len(modes))
    rewards[modes == Mode.RAW] = -np.resize(raw_error, LEAST)
    rewards[modes == Mode.LATENT] = np.resize([1.0, -1.0], LEAST)
    states = np.random.default_rng(0).normal(size=(len(modes) + 1, 2))
    replay.add_episode(states, np.zeros((len(modes), 2)), False, rewards=rewards,
                       modes=modes)
    curriculum = Curriculum(spaars.agent, training)
    curriculum.end_episode(states[1:].astype(np.float32), modes, 1000, replay)
    return curriculum


def test_the_gate_shuts_while_raw_actions_bring_less_than_was_promised():
    curriculum = watched(raw_error=[1.2])
    assert curriculum.promised == pytest.approx(1.2)
    assert curriculum.agent.closed
    assert not curriculum.agent.gate_open


def test_the_gate_stays_open_where_both_errors_are_alike():
    curriculum = watched(raw_error=[0.9])
    assert (curriculum.td_raw, curriculum.td_latent) == pytest.approx((0.9, 1.0))
    assert curriculum.agent.gate_open


@pytest.mark.parametrize('raw_error', [[-2.5], [4.0, -4.0]])
def test_an_error_that_is_no_promise_does_not_shut_the_gate(raw_error):
    """Better than promised, or uncertain: shut, it would have no raw actions to learn from."""
    curriculum = watched(raw_error)
    assert curriculum.td_raw > 2.0 * curriculum.td_latent
    assert curriculum.agent.gate_open


@pytest.mark.parametrize(('raw_error', 'closed'), [([2.1, -2.1], True), ([1.9, -1.9], False)])
def test_a_watch_for_errors_looks_at_their_size(raw_error, closed):
    assert watched(raw_error, gate_watch='error', gate_tolerance=2.0).agent.closed == closed


def test_a_gate_that_was_shut_opens_again():
    curriculum = watched(raw_error=[1.2])
    replay = Replay(10, None, Normaliser(np.zeros(2), np.ones(2)), action=2, constraints=0,
                    gamma=0.5, n_step=1, observation=2)
    replay.add_episode(np.zeros((3, 2)), np.zeros((2, 2)), False, rewards=np.zeros(2))
    curriculum.end_episode(np.zeros((2, 2), np.float32), np.full(2, Mode.LATENT), 2000, replay)
    assert curriculum.agent.gate_open


def test_the_watch_finds_latent_actions_where_raw_ones_have_taken_over():
    """The gate that is open everywhere is the one to watch."""
    curriculum = watched([0.0])
    replay = Replay(6000, None, Normaliser(np.zeros(2), np.ones(2)), action=2, constraints=0,
                    gamma=0.5, n_step=1, observation=2)
    modes = np.repeat([Mode.LATENT, Mode.RAW], [LEAST, 5000])
    replay.add_episode(np.zeros((len(modes) + 1, 2)), np.zeros((len(modes), 2)), False,
                       rewards=np.where(modes == Mode.RAW, -100.0, np.resize([1, -1], len(modes))),
                       modes=modes)
    curriculum.end_episode(np.zeros((2, 2), np.float32), np.full(2, Mode.RAW), 6000, replay)
    assert curriculum.promised == pytest.approx(100.0)
    assert curriculum.agent.closed


# Control episodes


def tried(gated, latent, episodes=20, trials=None, steps=LOOK):
    """Return trials after episodes that earn what is given, and a little noise."""
    trials, rng = trials or GateTrials(0.25), np.random.default_rng(0)
    for _ in range(episodes):
        earned = latent if trials.control else gated
        trials.take(earned + 0.1 * rng.standard_normal(), steps)
    return trials


@pytest.mark.parametrize(('gated', 'latent', 'pays'), [(2.0, 1.0, True), (1.0, 2.0, False)])
@pytest.mark.parametrize('steps', [LOOK, 10 * LOOK, LOOK // 3])
def test_the_gate_is_used_where_episodes_with_it_earn_more(gated, latent, pays, steps):
    a_look = -(-LOOK // steps)  # episodes
    assert tried(gated, latent, episodes=20 * a_look, steps=steps).gate_pays == pays


def test_a_gate_that_got_worse_is_no_longer_used():
    trials = tried(2.0, 1.0)
    assert trials.gate_pays
    assert not tried(0.0, 1.0, episodes=8, trials=trials).gate_pays


def test_a_gate_that_is_worse_by_less_than_two_standard_errors_stays_in_use():
    trials = tried(2.0, 1.0)
    trials.with_gate[:], trials.without[:] = [1.0, 3.0] * 3, [1.0 + 1.2, 3.0 + 1.2] * 3
    trials._weigh()
    assert trials.gate_pays  # 1.2 worse, the standard error is 0.63: 1.9 of them
    trials.without[:] = [value + 0.1 for value in trials.without]
    trials._weigh()
    assert not trials.gate_pays  # 2.06 of them


@pytest.mark.parametrize('paid', [True, False])
@pytest.mark.parametrize('steps', [1, LOOK])
def test_one_episode_that_failed_early_does_not_change_what_is_used(paid, steps):
    trials = tried(*((2.0, 1.0) if paid else (1.0, 2.0)))
    while trials.control != (not paid):
        trials.take(1.0 if trials.control == paid else 2.0, LOOK)
    assert trials.gate_pays == paid
    trials.take(-2.0, steps)
    assert trials.gate_pays == paid


def test_a_spell_of_early_falls_is_one_look_and_leaves_the_gate_in_use():
    """Eight falls in 96 steps took it away on Hopper, from weights whose mean did not fall."""
    spell, looks = tried(2.0, 1.0), tried(2.0, 1.0)
    for trials, steps in ((spell, LOOK // 8), (looks, LOOK)):
        falls = 0
        while falls < 8:
            falls += not trials.control
            trials.take(1.0 if trials.control else -2.0, steps)
    assert spell.gate_pays
    assert not looks.gate_pays


def test_an_unfinished_look_goes_on_after_a_resume():
    whole, resumed = tried(2.0, 1.0, steps=LOOK // 3), GateTrials(0.25)
    resumed.restore(json.loads(json.dumps(whole.state())))
    for trials in (whole, resumed):
        for total in range(12):
            trials.take(float(total), LOOK // 3)
    assert resumed.state() == whole.state()


def test_a_checkpoint_without_unfinished_looks_is_taken():
    state, trials = tried(2.0, 1.0).state(), GateTrials(0.25)
    del state['unfinished']
    trials.restore(state)
    assert trials.gate_pays


def test_the_gate_stays_shut_in_use_until_there_is_something_to_compare():
    trials = GateTrials(0.0)  # no control episodes
    for _ in range(10):
        trials.take(100.0, 10)
    assert not trials.gate_pays


def test_long_control_episodes_leave_the_steps_to_the_others_that_they_are_to_leave():
    trials, spent = GateTrials(0.2), {True: 0, False: 0}
    for _ in range(200):
        steps = 1000 if trials.control else 100
        spent[trials.control] += steps
        trials.take(1.0, steps)
    assert spent[True] / sum(spent.values()) == pytest.approx(0.2, abs=0.05)


def test_the_gate_is_shut_in_a_control_episode_and_where_it_does_not_pay(tmp_path):
    trainer = trainer_of(tmp_path, trials=0.2, explore_kappa=-1e6)  # always for raw
    trainer.run()
    trials = trainer.algorithm.curriculum.trials
    rng = np.random.default_rng(0)

    def mode(explore):
        return trainer.algorithm.choose(np.full(2, 0.3), rng, explore).mode

    for control in (True, False):
        trials.control = control
        assert mode(explore=True) == (Mode.LATENT if control else Mode.RAW)
    for trials.gate_pays in (True, False):
        assert mode(explore=False) == (Mode.RAW if trials.gate_pays else Mode.LATENT)


def test_costs_weigh_in_what_a_trial_earned():
    training = load_training('locomotion', **{**SMALL, 'reward_scale': 0.5})
    agent = make_algorithm('spaars', training, observation=2, action=2, constraints=1,
                           normaliser=Normaliser(np.zeros(2), np.ones(2)), seed=0).agent
    agent.multipliers.fill_(3.0)
    assert agent.weighed_return(np.full(4, 2.0), np.ones((4, 1))) == pytest.approx(
        0.5 * (8.0 - 3.0 * 4.0) / 4.0)


# The squashed Gaussian


def test_the_log_probability_of_a_sample_is_that_of_its_action():
    torch.manual_seed(0)
    policy = SquashedGaussian(3, 2, 16)
    o = torch.randn(200, 3)
    action, log_prob = policy.sample(o)
    inside = (action.abs() < 0.99).all(-1)
    assert inside.sum() > 100
    assert torch.allclose(policy.log_prob(o, action)[inside], log_prob[inside], atol=1e-3)


def test_an_action_on_its_bound_has_a_finite_probability():
    policy = SquashedGaussian(3, 2, 16)
    assert torch.isfinite(policy.log_prob(torch.zeros(1, 3), torch.ones(1, 2))).all()


# Bad data


def test_a_data_set_of_one_transition_trains(tmp_path):
    data = data_of(episodes=1)
    one = transitions_from_fields({
        name: getattr(data, name)[:1] for name in (
            'observations', 'actions', 'rewards', 'next_observations', 'terminations',
            'truncations')})
    for algorithm in ('spaars', 'iql', 'plas', 'rlpd'):
        training = load_training('locomotion', **{
            **SMALL, **FEW, 'algorithm': algorithm})
        trainer = Trainer('Point', one, training=training, seed=0, out=tmp_path / algorithm,
                          steps=150, evaluation_episodes=1, make_env=Point)
        assert np.isfinite(trainer.run()['return_final'])


def test_an_empty_data_set_is_refused(tmp_path):
    data = data_of(episodes=1)
    none = transitions_from_fields({
        name: getattr(data, name)[:0] for name in (
            'observations', 'actions', 'rewards', 'next_observations', 'terminations',
            'truncations')})
    with pytest.raises(ValueError, match='has no transition'):
        Trainer('Point', none, training=load_training('locomotion', **SMALL), seed=0,
                out=tmp_path, steps=10, make_env=Point)


def test_the_callers_data_set_is_left_as_it_is(tmp_path):
    data = data_of()
    before = data.actions.copy()
    Trainer('Point', data, training=load_training('locomotion', **SMALL), seed=0, out=tmp_path,
            steps=10, make_env=Point)
    assert np.array_equal(data.actions, before)


@pytest.mark.parametrize('algorithm', ['sac', 'rlpd'])
def test_the_temperature_of_a_baseline_begins_at_1_on_the_tasks_own_rewards(algorithm):
    from spaars_ros.learning.core.replay import Normaliser
    from spaars_ros.learning.registry import make_algorithm
    training = load_training('locomotion', **{**SMALL, 'reward_scale': 0.1}, algorithm=algorithm)
    made = make_algorithm(algorithm, training, observation=3, action=2, constraints=0, seed=0,
                          normaliser=Normaliser(np.zeros(3), np.ones(3)))
    assert float(made.log_alpha.detach().exp()) == pytest.approx(0.1)
