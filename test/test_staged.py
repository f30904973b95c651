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

"""The task with stages, its demonstrations, Franka Kitchen's conventions, bench skills."""

from importlib.util import find_spec
import json

import gymnasium
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import skills
from spaars_ros.cli import app
from spaars_ros.data.scores import normalised_score
from spaars_ros.data.transitions import DataError
from spaars_ros.data.transitions import load_transitions
from spaars_ros.data.transitions import save_transitions
from spaars_ros.learning.gym.load_data import find_data
from spaars_ros.sim import kitchen
from spaars_ros.sim.staged import DONE_AT
from spaars_ros.sim.staged import HORIZON
from spaars_ros.sim.staged import STAGED
from spaars_ros.sim.staged import StagedEnv
from spaars_ros.sim.staged import STAGES
from spaars_ros.sim.staged_operator import collect_staged
from spaars_ros.tasks.stages_operator import PAIRS
from spaars_ros.tasks.stages_operator import StagedOperator
from spaars_ros.training_file import load_training

TINY = {'cvae_steps': 10, 'iql_steps': 10, 'align_steps': 5, 'width': 16, 'heads': 2, 'batch': 16,
        'utd': 0.05, 'skill_steps': 10, 'skill_iql_steps': 10, 'skill_width': 16,
        'spar_base_steps': 10}
HAS_KITCHEN = find_spec('gymnasium_robotics') is not None
NO_KITCHEN = 'gymnasium-robotics is not installed: the extra kitchen'


@pytest.fixture(scope='module')
def env():
    return StagedEnv()


@pytest.fixture(scope='module')
def data():
    return collect_staged(episodes=6, seed=3)


def run_operator(env, stages, seed):
    operator = StagedOperator(env.robot, np.random.default_rng(seed))
    observation, info = env.reset(seed=seed)
    operator.begin(stages)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated or operator.done):
        observation, reward, terminated, truncated, info = env.step(operator.act(observation))
        rewards.append(reward)
    return rewards, terminated, truncated, info


# The environment


def test_the_whole_task_can_be_done_in_time_and_ends_there(env):
    rewards, terminated, truncated, info = run_operator(env, STAGES, 1)
    assert sum(rewards) == 4 and terminated and not truncated
    assert info['success'] and info['stages'] == [True] * 4 and len(rewards) < HORIZON


def test_an_arm_at_rest_does_no_sub_task_and_is_truncated(env):
    env.reset(seed=0)
    for tick in range(HORIZON):
        observation, reward, terminated, truncated, info = env.step(np.zeros(7))
        assert reward == 0.0 and not terminated and truncated == (tick == HORIZON - 1)
    # Stiction that creeps would do the button by its weight.
    assert np.abs(observation[17:21]).max() < 1e-3 and info['stages'] == [False] * 4


def test_a_sub_task_is_rewarded_once_and_stays_counted(env):
    env.reset(seed=0)
    place = env.arm.model.joint('slider').qposadr[0]
    env.arm.data.qpos[place] = DONE_AT[0] + 0.01
    observation, reward, *_ = env.step(np.zeros(7))
    assert reward == 1.0 and observation[-4] == 1.0
    env.arm.data.qpos[place] = 0.0
    _, reward, _, _, info = env.step(np.zeros(7))
    env.arm.data.qpos[place] = DONE_AT[0] + 0.01
    _, again, *_ = env.step(np.zeros(7))
    assert reward == again == 0.0 and info['stages'] == [True, False, False, False]


def test_a_new_episode_begins_with_no_sub_task_done_and_no_detent(env):
    run_operator(env, ('button',), 0)
    held = env.arm.model.dof_frictionloss.copy()
    observation, info = env.reset(seed=5)
    assert not observation[17:].any() and info['stages'] == [False] * 4
    assert (env.arm.model.dof_frictionloss < held).sum() == 1
    again, _ = env.reset(seed=5)
    assert np.array_equal(observation, again)
    assert not np.array_equal(observation, env.reset(seed=6)[0])


def test_an_action_towards_the_table_is_held_off_and_costs(env):
    env.reset(seed=0)
    operator = StagedOperator(env.robot, np.random.default_rng(0))
    observation, costs = env.reset(seed=0)[0], []
    for _ in range(60):
        tip, jacobian = operator.kinematics.tip_and_jacobian(observation[:7])
        down = np.linalg.pinv(jacobian) @ [0.0, 0.0, -0.3]
        observation, _, _, _, info = env.step(np.clip(down / env._scale, -1.0, 1.0))
        costs.append(info['cost'])
    assert env.robot.workspace is not None
    assert observation[16] > env.robot.workspace.low[2] and sum(costs) > 0


@pytest.mark.parametrize('action', [np.zeros(6), np.full(7, np.nan)])
def test_a_bad_action_is_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(ValueError, match='action'):
        env.step(action)


def test_gymnasium_makes_it_and_its_checker_agrees():
    from gymnasium.utils.env_checker import check_env
    made = gymnasium.make(STAGED)
    check_env(made.unwrapped, skip_render_check=True)


# Demonstrations


def test_every_link_of_the_chain_is_shown_and_never_the_whole(data):
    assert data.episodes == 6 and (data.returns == 2).all()
    shown = set()
    for episode in range(data.episodes):
        rows = data.episode == episode
        flags = data.next_observations[rows][:, -4:]
        order = sorted(np.flatnonzero(flags[-1]), key=lambda stage: int(flags[:, stage].argmax()))
        shown.add(tuple(STAGES[stage] for stage in order))
    assert shown == set(PAIRS)
    assert not data.terminations.any() and np.abs(data.actions).max() <= 1.0


def test_the_same_seed_collects_the_same_file(data, tmp_path):
    again = collect_staged(episodes=2, seed=3)
    assert np.array_equal(again.observations, data.observations[:len(again)])
    assert np.array_equal(again.actions, data.actions[:len(again)])
    other = collect_staged(episodes=1, seed=4)
    assert not np.array_equal(other.observations[0], data.observations[0])


def test_collect_writes_what_train_reads(tmp_path):
    file = tmp_path / 'staged.npz'
    result = CliRunner().invoke(app, ['collect', '--env', STAGED, '--episodes', '1', str(file)])
    assert result.exit_code == 0 and '1 episodes' in result.output, result.output
    read = load_transitions(file, gymnasium.make(STAGED))
    assert read.returns.tolist() == [2.0] and read.attributes['env'] == STAGED
    refused = CliRunner().invoke(
        app, ['collect', '--env', STAGED, '--transitions', '9', str(file)])
    assert refused.exit_code == 1 and '--transitions' in refused.output


def test_a_score_is_the_share_of_the_sub_tasks():
    assert normalised_score(STAGED, 3.0) == 75.0
    assert normalised_score(kitchen.KITCHEN_EVALUATION, 2.0) == 50.0


# Franka Kitchen


def test_positions_are_found_in_every_layout_of_the_kitchen():
    arm, things = np.arange(9.0), np.arange(9.0, 30.0)
    wanted = np.concatenate((arm, things))
    robotics = np.concatenate((arm, np.full(9, -1.0), things, np.full(20, -1.0)))
    assert np.array_equal(kitchen.flat(robotics), wanted)
    assert np.array_equal(kitchen.flat(np.concatenate((wanted, np.full(30, -1.0)))), wanted)
    assert np.array_equal(kitchen.flat(wanted), wanted)
    with pytest.raises(ValueError, match='observations have 45 values a row, expected 30, 59'):
        kitchen.flat(np.zeros((2, 45)))


def kitchen_file(path, width):
    with h5py.File(path, 'w') as file:
        file['observations'] = np.random.default_rng(0).normal(size=(20, width)).astype('f4')
        file['actions'] = np.zeros((20, 9), np.float32)
        file['rewards'] = np.ones(20, np.float32)
        file['terminals'] = np.zeros(20, bool)
        file['timeouts'] = np.arange(20) % 10 == 9
    return path


def test_the_goal_half_of_d4rls_file_is_cut(tmp_path):
    path = kitchen_file(tmp_path / 'kitchen.hdf5', 60)
    read = load_transitions(path, flatten=kitchen.flat)
    assert read.observations.shape == (18, 30) == read.next_observations.shape
    with h5py.File(path) as file:
        assert np.array_equal(read.observations[0], file['observations'][0, :30])
    with pytest.raises(DataError, match=r'other.hdf5: observations: .*have 31 values'):
        load_transitions(kitchen_file(tmp_path / 'other.hdf5', 31), flatten=kitchen.flat)


@pytest.mark.skipif(HAS_KITCHEN, reason='gymnasium-robotics is installed')
def test_a_missing_kitchen_names_its_extra(tmp_path):
    result = CliRunner().invoke(app, ['train', '--env', kitchen.KITCHEN, '--algorithm', 'sac',
                                      '--out', str(tmp_path)])
    assert result.exit_code == 1 and 'needs the extra kitchen: pip install' in result.output


@pytest.mark.skipif(not HAS_KITCHEN, reason=NO_KITCHEN)
def test_the_training_side_counts_every_tick_and_the_evaluation_side_once():
    returns = {}
    for name in (kitchen.KITCHEN, kitchen.evaluation_id(kitchen.KITCHEN)):
        made = gymnasium.make(name).unwrapped
        observation, _ = made.reset(seed=0)
        assert observation.shape == (30,)
        made._inner.unwrapped.data.qpos[22] = -0.75  # the microwave's door, open
        steps = [made.step(np.zeros(9)) for _ in range(3)]
        returns[name] = sum(step[1] for step in steps)
        assert steps[-1][4]['stages'] == [True, False, False, False]
        made.close()
    assert list(returns.values()) == [3.0, 1.0]


@pytest.mark.skipif(not HAS_KITCHEN, reason=NO_KITCHEN)
def test_d4rls_kitchen_file_fits_the_environment(tmp_path):
    training = load_training('staged', algorithm='bc')
    path = str(kitchen_file(tmp_path / 'kitchen.hdf5', 60))
    assert find_data(kitchen.KITCHEN, path, training).observations.shape == (18, 30)


# bench skills


@pytest.mark.timeout(200)
def test_the_table_has_both_phases_and_is_made_once(data, tmp_path):
    file = tmp_path / 'staged.npz'
    save_transitions(data, file)
    options = {'seeds': [0], 'steps': 300, 'jobs': 1, 'out': tmp_path / 'out', 'data': str(file),
               'methods': ['spaars-supe', 'supe'], 'offline_methods': ['spar:mlp'],
               'offline_tasks': {'staged': ''}, 'evaluate_every': 300, 'evaluation_episodes': 1,
               'overrides': TINY}
    rows = skills.run(**options)
    assert [(row['phase'], row['method']) for row in rows] == [
        ('online', 'spaars-supe'), ('online', 'supe'), ('offline', 'spar:mlp')]
    for row in rows:
        assert row['unit'] == 'normalised' and 0.0 <= row['score'] <= 100.0
        assert row['within_limit'] == (row['cost'] <= row['cost_limit'])
        assert len(row['curve']) == (2 if row['phase'] == 'online' else 1)
    assert rows[0]['reference'] == rows[1]['score'] and rows[2]['reference'] is None
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.json')}
    assert len(files) == 3 and skills.run(**{**options, 'methods': []}) == rows[2:]
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.json')}
    json.dumps(rows, allow_nan=False)


def online(method, score, reached=None):
    return {'phase': 'online', 'task': 'staged', 'method': method, 'score': score,
            'steps_to_reference': reached, 'steps': 1000}


def test_a_goal_that_is_missed_is_told_with_its_figure():
    rows = [online('spaars-supe', 80.0, 400), online('spaars-supe', 84.0, 200),
            online('supe', 75.0, 1000), online('spaars-supe:no-gate', 90.0)]
    gain, speed, gate = skills.goals(rows)
    assert gain['measured'] == 7.0 and not gain['met']
    assert speed['measured'] == pytest.approx(1000 / 300) and not speed['met']
    assert gate['measured'] == 82.0 and gate['wanted'] == 85.5 and not gate['met']
    never = skills.goals([*rows, online('spaars-supe', 82.0, None)])[1]
    assert never['measured'] is None and not never['met']
    offline = [{'phase': 'offline', 'task': 'reach', 'method': method, 'score': score}
               for method, score in (('spar:mlp', 3.0), ('spar:proj', 5.0), ('iql', 4.0))]
    assert [(goal['measured'], goal['wanted'], goal['met']) for goal in skills.goals(offline)] \
        == [(5.0, 4.0, True)]


def test_an_unknown_method_is_named():
    result = CliRunner().invoke(app, ['bench', 'skills', '--methods', 'sac'])
    assert result.exit_code == 1 and "method 'sac': none of spaars-supe" in result.output
