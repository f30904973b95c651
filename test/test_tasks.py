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

"""The task's interface: reach gives the numbers of 0.1.0, and what a wrong task is told."""

import gzip
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.environments import register_tasks
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import goal_of
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.spec import ActionSpace
from spaars_ros.tasks.spec import differing
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term
from spaars_ros.tasks.testing import check_task
from spaars_ros.tasks.testing import TaskError

RECORDED = Path(__file__).parent / 'fixtures' / '0.1.0' / 'reach.json.gz'
ROBOT = load_robot().model_copy(update={'constraints': []})


@pytest.fixture(scope='module')
def recorded():
    return json.loads(gzip.decompress(RECORDED.read_bytes()))


def test_reach_gives_the_numbers_of_0_1_0(recorded):
    """One whole episode through filter and physics: observations, rewards, costs, success."""
    env = ArmEnv(load_robot(), load_task())
    observation, _ = env.reset(seed=7)
    rng = np.random.default_rng(3)
    found = {'observation': [observation], 'reward': [], 'cost': [], 'executed': []}
    for i in range(100):
        action = rng.uniform(-1, 1, 7) if i % 3 else np.ones(7)
        observation, reward, _, _, info = env.step(action)
        if i % 10 == 9 or i < 3:
            found['observation'].append(observation)
        found['reward'].append(reward)
        found['cost'].append(info['costs'])
        found['executed'].append(info['executed'])
    for name, values in found.items():
        np.testing.assert_allclose(values, recorded[name], atol=1e-9, err_msg=name)
    assert info['success'] == recorded['success']


def test_reach_scores_relabels_and_draws_as_0_1_0_did(recorded):
    robot = load_robot()
    task = ReachTask(robot, load_task())
    states = np.asarray(recorded['observation'])
    assert task.observation_names == recorded['names']
    np.testing.assert_array_equal(goal_of(task, np.random.default_rng([0, 4, 0])),
                                  recorded['goal'])
    np.testing.assert_array_equal(sample_start(robot, 0.05, np.random.default_rng([5, 4])),
                                  recorded['start'])
    np.testing.assert_allclose(task.relabel(states, np.asarray(recorded['goal'])),
                               recorded['relabelled'], atol=1e-12)
    np.testing.assert_allclose(
        np.nan_to_num(task.hindsight(states, states[::-1], np.random.default_rng(5)), nan=-9.0),
        recorded['hindsight'], atol=1e-12)
    np.testing.assert_allclose(task.potential(states), recorded['potential'], atol=1e-12)
    np.testing.assert_allclose(task.tip_error(states), recorded['tip_error'], atol=1e-12)
    np.testing.assert_array_equal(
        task.constraint_costs(states, np.zeros((len(states), 7)), np.asarray(recorded['effort'])),
        recorded['costs_of_states'])


# Tasks of others


class Lift(Task):
    """Raise the first joint; no goal, no potential, one source."""

    class Settings(TaskSettings):
        height: float = 0.3

    def __init__(self, robot, settings):
        super().__init__(robot, settings)
        self.spec = TaskSpec(
            name=settings.name or 'lift', action=ActionSpace(joints=len(robot.joints)),
            terms=(Term('angle', 1, 'rad'), Term('force', 3, 'N')), sources=('force',),
            costs=('push',), metrics=(MetricSpec('angle', 'rad', 'higher', shown='deg'),),
            horizon=settings.horizon)

    def observe(self, world, goal):
        return np.append(world.joints.position[0], world.sources['force'].values[:3])

    def reward(self, before, action, after):
        return after[..., 0] - before[..., 0]

    def costs(self, after, action):
        return {'push': (np.abs(after[..., 1:]) > 5.0).any(-1).astype(float)}

    def outcome(self, after, world):
        return Outcome.SUCCESS if after[0] > self.settings.height else Outcome.RUNNING

    def metrics(self, episode):
        return {'angle': Metric(float(episode.observations[:, 0].max()), 'rad', 'higher')}


LIFT = f'{__name__}:Lift'


@pytest.fixture
def lift():
    return make_task(ROBOT, load_task(LIFT))


def test_the_tasks_that_ship_and_one_without_any_protocol_conform(lift):
    check_task(make_task(load_robot(), load_task('reach')))
    check_task(lift)


def changed(method, value):
    """Return a Lift whose method returns something else."""
    return type('Changed', (Lift,), {method: value})(ROBOT, Lift.Settings(task=LIFT))


@pytest.mark.parametrize('method, value, message', [
    ('observe', lambda self, world, goal: np.zeros(3), r'observe returns shape \(3,\)'),
    ('observe', lambda self, world, goal: np.full(4, np.nan), 'observe returns nan'),
    ('observe', lambda self, world, goal: np.random.rand(4), 'keep no state'),
    ('reward', lambda self, b, a, s: s[0] - b[0], 'reward'),
    ('reward', lambda self, b, a, s: s.__imul__(0.0)[..., 0], 'reward changes its arguments'),
    ('costs', lambda self, s, a: {}, r"costs returns \[\], spec.costs says \['push'\]"),
    ('costs', lambda self, s, a: {'push': -np.ones(s.shape[:-1])}, 'push is -1'),
    ('outcome', lambda self, s, w: True, 'outcome returns True'),
    ('metrics', lambda self, e: {}, r"metrics returns \[\], spec.metrics says \['angle'\]"),
    ('metrics', lambda self, e: {'angle': Metric(1.0, 'deg', 'higher')}, "in 'deg'"),
    ('metrics', lambda self, e: 1 / 0, 'metrics.*, line .*: ZeroDivisionError|<lambda>.*Zero'),
])
def test_a_task_that_breaks_the_interface_is_told_where(method, value, message):
    with pytest.raises(TaskError, match=message) as error:
        check_task(changed(method, value))
    assert '\n' not in str(error.value)


def test_an_unknown_task_is_one_clear_line(tmp_path):
    path = tmp_path / 'task.yaml'
    path.write_text('task: nonsense\n')
    with pytest.raises(ConfigError, match=r"task.yaml:1: task 'nonsense': none of .*'reach'"):
        load_task(str(path))
    for name, words in (('no_such_module:X', 'ModuleNotFoundError'),
                        ('spaars_ros.tasks.spec:Term', 'no class derived from')):
        path.write_text(f'task: {name}\n')
        with pytest.raises(ConfigError, match=words) as error:
            load_task(str(path))
        assert '\n' not in str(error.value)


def test_a_task_file_is_checked_by_its_own_class(tmp_path):
    path = tmp_path / 'lift.yaml'
    path.write_text(f'task: {LIFT}\nheight: 0.2\n')
    assert load_task(str(path)).height == 0.2
    path.write_text(f'task: {LIFT}\nheigth: 0.2\n')
    with pytest.raises(ConfigError, match="lift.yaml:2: unknown key 'heigth'"):
        load_task(str(path))


def test_a_file_of_0_1_0_means_reach():
    path = RECORDED.parent / 'task.yaml'
    assert 'task:' not in path.read_text()
    assert isinstance(make_task(load_robot(), load_task(str(path))), ReachTask)


def test_a_constraint_that_the_task_cannot_measure_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"constraints.cost: the term 'zone_margin' is none that "
                                          r"task 'lift' offers: \['intervention', 'push'"):
        make_task(load_robot(), load_task(LIFT))


def test_differing_terms_are_named_one_by_one(lift):
    spec = lift.spec
    assert differing(spec, {'angle': 1, 'force': 3}, spec.action_text) == []
    lines = differing(spec, {'angle': 2, 'wrench': 6}, 'twist x in the base frame')
    assert lines == ["term 'force' is missing", "term 'wrench' is not of the task",
                     "term 'angle' is 2 wide, the task has 1",
                     'the action is twist x in the base frame, the task has joint_velocity of 7 '
                     'joints']
    assert 'order' in differing(spec, {'force': 3, 'angle': 1}, '')[0]


def test_every_installed_task_is_a_gymnasium_environment():
    register_tasks()
    env = gymnasium.make('spaars_ros/reach-v0')
    assert isinstance(env.unwrapped, ArmEnv) and env.observation_space.shape == (26,)
    env.close()


def test_a_world_knows_the_frames_of_the_robots_model():
    world = World(RobotState(0, np.asarray(ROBOT.home), np.zeros(7), np.zeros(7)),
                  Kinematics(ROBOT))
    place, turn = world.frame('tool_tip')
    np.testing.assert_allclose(place, world.tip())
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    with pytest.raises(ConfigError, match="no site or body 'nowhere'"):
        world.frame('nowhere')
