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
"""The shipped tasks with a scene: physics, demonstrators, sources, rewards and costs."""

import mujoco
import numpy as np
import pytest

from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.environments import make_environment
from spaars_ros.sim.staged import StagedEnv
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.stages import STAGES
from spaars_ros.tasks.testing import check_task

NAMES = ('insert', 'pick')


def environment(name, **changes):
    settings = load_task(name)
    return ArmEnv(load_robot(settings.robot), settings.model_copy(update=changes))


def played(env, episodes, act=None):
    """Return (Episode, terminated) of each episode with the demonstrator, or `act`."""
    found = []
    operator = env.task.demonstrator(np.random.default_rng(0))
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        operator.begin(observation)
        states, actions, over = [observation], [], False
        while not over:
            asked = act(observation) if act is not None else operator.act(observation)
            observation, _, terminated, truncated, info = env.step(asked)
            states.append(observation)
            actions.append(info['executed'])
            over = terminated or truncated or (act is None and operator.done)
        found.append((Episode(np.asarray(states), np.asarray(actions)), terminated))
    return found


@pytest.fixture(scope='module', params=NAMES)
def task(request):
    return environment(request.param).task


def test_the_task_keeps_the_interface(task):
    check_task(task)


def test_its_environment_is_registered_with_the_robot_that_suits_it(task):
    env = make_environment(f'spaars_ros/{task.name}-v0')
    assert env.unwrapped.robot.name == task.settings.robot
    observation, _ = env.reset(seed=0)
    assert observation.shape == (task.observation_dim,)


def test_its_demonstrations_fit_and_are_small(task):
    path = resolve(task.settings.demonstrations)
    assert path.stat().st_size < 3e6
    data = load_dataset(path, task.robot, task)
    ends = data.terminations | data.truncations
    assert 0.2 < data.terminations.sum() / ends.sum() < 0.8, 'a person who misses often'


@pytest.mark.parametrize('name', NAMES)
def test_the_demonstrator_succeeds_at_times_and_fails_at_times(name):
    env = environment(name)
    ended = played(env, 12)
    assert 2 <= sum(terminated for _, terminated in ended) <= 10
    for episode, terminated in ended:
        assert (env.task.judge(episode) is Outcome.SUCCESS) == terminated


def test_the_same_seed_gives_the_same_episode():
    first, second = (played(environment('insert'), 1)[0][0].observations for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_stages_are_the_fixtures_of_the_environment_of_before():
    """The scene adds by hand what the model of `SpaarsStaged-v0` has as a file."""
    mine, before = environment('stages').arm.model, StagedEnv().arm.model
    assert {mine.joint(j).name for j in range(mine.njnt)} \
        == {before.joint(j).name for j in range(before.njnt)}
    for name in STAGES:
        one, other = mine.joint(name), before.joint(name)
        a, b = one.dofadr[0], other.dofadr[0]
        np.testing.assert_allclose(one.range, other.range)
        np.testing.assert_allclose(one.axis, other.axis)
        for field in ('dof_damping', 'dof_frictionloss', 'dof_armature'):
            assert getattr(mine, field)[a] == pytest.approx(getattr(before, field)[b]), name
        np.testing.assert_allclose(mine.geom(name).size, before.geom(name).size)
        np.testing.assert_allclose(mine.geom(name).pos, before.geom(name).pos)
        turn = abs(mine.geom(name).quat @ before.geom(name).quat)
        assert turn == pytest.approx(1.0, abs=1e-4)
        np.testing.assert_allclose(mine.body(name).pos, before.body(name).pos)
        assert mine.body(name).mass == pytest.approx(before.body(name).mass)
    assert mine.npair == before.npair
    np.testing.assert_allclose(mine.pair_friction, before.pair_friction)


def test_the_stages_keep_the_interface_and_their_demonstrator_does_two_of_four():
    env = environment('stages')
    check_task(env.task, sources={'stages': np.zeros(8)})
    for episode, terminated in played(env, 3):
        assert not terminated and env.task.metrics(episode)['stages'].value == 2.0
        done = episode.observations[:, env.task.spec.slices['done']]
        rewards = env.task.reward(episode.observations[:-1], episode.actions,
                                  episode.observations[1:])
        assert rewards.sum() == 2.0 and (np.diff(done, axis=0) >= 0).all(), 'done stays done'


def pressing(observation):
    return np.array([0.0, 0.0, -1.0, 0.0, 0.0])


def test_a_peg_beside_the_hole_stays_out_and_presses_too_hard():
    """Straight down from home, 30 mm beside the hole, at full speed: onto the plate."""
    env = environment('insert', hole_low=(0.53, 0.0), hole_high=(0.53, 0.0), start_noise=0.0,
                      horizon=22)
    (episode, terminated), = played(env, 1, pressing)
    assert not terminated
    metrics = env.task.metrics(episode)
    assert metrics['depth'].value == 0.0
    assert metrics['peak_force'].value > env.task.settings.force_limit
    assert metrics['over_limit'].value > 2
    force = episode.observations[18:, env.task.spec.slices['force']].mean(0)
    assert force[2] > abs(force[0]) + abs(force[1]), 'the plate pushes up'


@pytest.mark.parametrize(('beside', 'enters'), [(0.0, True), (0.002, True), (-0.006, False)])
def test_the_chamfer_leads_a_peg_in_and_the_plate_does_not(beside, enters):
    """What is pressed on the plate slides on, forwards: away from a hole behind it."""
    env = environment('insert', hole_low=(0.5 + beside, 0.0), hole_high=(0.5 + beside, 0.0),
                      start_noise=0.0, pose_bias=0.0, pose_noise=0.0, force_noise=0.0)
    (_, terminated), = played(env, 1, lambda _: 0.5 * pressing(None))
    assert terminated == enters


def test_the_hole_is_measured_a_little_wrongly_and_the_free_peg_feels_next_to_nothing():
    env = environment('insert')
    found = []
    for seed in range(30):
        env.reset(seed=seed)
        env.step(np.zeros(5))
        read = env.arm.sources()
        found.append(read['hole'].values - env.arm.data.mocap_pos[0])
        assert np.linalg.norm(read['wrench'].values[:3]) < 3.0
    assert 0.0005 < np.std(found) < 0.002


def test_a_cube_that_is_held_over_the_bin_counts_only_once_it_is_let_go():
    env = environment('pick')
    env.reset(seed=0)
    task, model, data = env.task, env.arm.model, env.arm.data
    data.joint('cube').qpos[:3] = [*task.settings.bin, task.settings.cube / 2]
    mujoco.mj_forward(model, data)
    open_ = env.step(np.array([0.0, 0.0, 0.0, -1.0]))
    assert open_[2] and open_[1] == 0.0 and open_[4]['success']
    held = open_[0].copy()
    held[task.spec.slices['opening']] = task.settings.cube
    assert not task.binned(held) and task.reward(held, np.zeros(4), held) == -1.0


def test_the_gripper_holds_the_cube_against_gravity_and_lets_go_of_it():
    """Down on the cube, close, up: lifted; open: it falls."""
    env = environment('pick', cube_low=(0.5, 0.0), cube_high=(0.5, 0.0), start_noise=0.0,
                      pose_noise=0.0)
    env.reset(seed=0)
    cube = env.arm.data.joint('cube')
    for action, ticks in (([0, 0, -1, -1], 15), ([0, 0, 0, 1], 12), ([0, 0, 0.5, 1], 20)):
        for _ in range(ticks):
            env.step(np.asarray(action, float))
    assert cube.qpos[2] > 0.08
    for _ in range(10):
        env.step(np.array([0.0, 0.0, 0.0, -1.0]))
    assert cube.qpos[2] < 0.03
