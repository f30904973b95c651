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

"""The shipped tasks that see: what they observe, their demonstrators, their encoders."""

import mujoco
import numpy as np
import pytest

from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.environments import make_environment
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.seen import looking
from spaars_ros.tasks.testing import check_task

NAMES = ('insert_camera', 'pick_camera')


@pytest.fixture(scope='module', params=NAMES)
def env(request):
    settings = load_task(request.param)
    made = ArmEnv(load_robot(settings.robot), settings)
    yield made
    made.close()


def move(env, place):
    """Put what the task is about at a place (2,) m, and look again."""
    if env.task.name == 'pick_camera':
        env.arm.data.joint('cube').qpos[:2] = place
    else:
        env.arm.data.mocap_pos[0, :2] = place
    mujoco.mj_forward(env.arm.model, env.arm.data)
    env.arm.sight.clear()
    return env.task.observe(env._world(env.arm.state()), None)


def test_the_task_keeps_the_interface_and_is_registered(env):
    check_task(env.task)
    made = make_environment(f'spaars_ros/{env.task.name}-v0')
    assert made.unwrapped.robot.name == env.task.settings.robot
    made.close()


def test_the_camera_alone_tells_where_the_thing_is_and_its_vector_says_where(env):
    """By a linear map from the shipped encoder's values, to less than a centimetre."""
    s, eye = env.task.settings, env.task.spec.slices['eye']
    low, high = (s.cube_low, s.cube_high) if env.task.name == 'pick_camera' \
        else (s.hole_low, s.hole_high)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    places = rng.uniform(low, high, (200, 2))
    states = np.stack([move(env, place) for place in places])
    blind = np.delete(states, np.r_[eye], axis=1)
    still = np.ptp(blind, axis=0)
    assert still[:6].max() < 1e-9, 'nothing else that is observed knows of it'
    given = np.c_[states[:, eye], np.ones(len(states))]
    # So many values for so few places: those that hardly vary get no weight.
    fit = np.linalg.solve(given[:160].T @ given[:160] + 1e-6 * np.eye(given.shape[1]),
                          given[:160].T @ places[:160])
    error = np.abs(given[160:] @ fit - places[160:]).mean(axis=0)
    assert (error < 0.01).all(), error


def test_its_demonstrations_fit_its_encoder_and_are_small(env):
    path = resolve(env.task.settings.demonstrations)
    assert path.stat().st_size < 5e6
    data = load_dataset(path, env.task.robot, env.task)
    ends = data.terminations | data.truncations
    assert 0.2 < data.terminations.sum() / ends.sum() < 0.8, 'a person who misses often'


def test_the_demonstrator_is_told_what_the_policy_has_to_see(env):
    operator = env.task.demonstrator(np.random.default_rng(0))
    ended = []
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        operator.begin(env.task.informed(env.world))
        states, actions, over = [observation], [], False
        while not over:
            observation, _, terminated, truncated, info = env.step(
                operator.act(env.task.informed(env.world)))
            states.append(observation)
            actions.append(info['executed'])
            over = terminated or truncated or operator.done
        judged = env.task.judge(Episode(np.asarray(states), np.asarray(actions)))
        assert (judged is Outcome.SUCCESS) == terminated
        ended.append(terminated)
    assert 1 <= sum(ended) <= 5


def test_a_cube_that_is_held_over_the_bin_counts_only_once_it_is_let_go():
    settings = load_task('pick_camera')
    env = ArmEnv(load_robot(settings.robot), settings)
    env.reset(seed=0)
    data = env.arm.data
    data.joint('cube').qpos[:3] = [*settings.bin, settings.cube / 2]
    mujoco.mj_forward(env.arm.model, data)
    assert env.arm.scene.measure(env.arm.model, data)['binned'] == [1.0]
    for side in ('left', 'right'):
        data.joint(f'finger_{side}').qpos = settings.cube / 2
    assert env.arm.scene.measure(env.arm.model, data)['binned'] == [0.0]
    data.joint('cube').qpos[2] = 0.2
    assert env.arm.scene.measure(env.arm.model, data)['binned'] == [0.0]
    env.close()


def test_a_camera_looks_where_it_is_told_and_not_straight_down():
    axes = np.array(looking((1.0, 0.0, 1.0), (0.0, 0.0, 0.0)))
    np.testing.assert_allclose(np.cross(axes[:3], axes[3:]), np.array([1, 0, 1]) / np.sqrt(2),
                               atol=1e-9)
    assert axes[5] > 0, 'upright'
    with pytest.raises(ValueError, match='not straight down'):
        looking((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
