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

"""Actions that are no joint velocities: twists through the filter, channels; scenes around."""

import mujoco
import numpy as np
import pytest

from spaars_ros.control.actuation import Actuation
from spaars_ros.control.channels import Channels
from spaars_ros.control.control import ControlLoop
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.arm import SceneError
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.evaluate import evaluate
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.spec import ActionSpace
from spaars_ros.tasks.spec import Channel
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term
from spaars_ros.tasks.testing import check_task
from spaars_ros.training_file import load_training

ROBOT = load_robot().model_copy(update={'constraints': []})
FREE = ROBOT.model_copy(update={'keep_out': []})


def twisting(robot, **changes):
    """Return an arm, and the actuation of a task with a twist."""
    arm = Arm(robot)
    safety = SafetyFilter(robot)
    safety.reset(arm.state())
    spec = TaskSpec(name='t', terms=(Term('x', 1),), action=ActionSpace(
        'twist', joints=7, **changes))
    return arm, Actuation(robot, spec, safety, Kinematics(robot))


def drive(arm, actuation, action, ticks):
    """Act and return what the filter said of each tick."""
    acted = []
    for _ in range(ticks):
        acted.append(actuation.apply(np.asarray(action, float), arm.state()))
        arm.step(acted[-1].filtered.command)
    return acted


def turn_of(arm):
    return arm.kinematics.turn_and_jacobian(arm.state().position)[0]


def test_a_twist_moves_the_tip_as_asked_and_holds_the_other_axes():
    arm, actuation = twisting(FREE, axes=('y', 'z'), linear=0.1)
    tip, turn = arm.tip(), turn_of(arm)
    acted = drive(arm, actuation, [0.5, -1.0], 20)
    moved = arm.tip() - tip
    assert moved[1] == pytest.approx(0.05, abs=0.008)
    assert moved[2] == pytest.approx(-0.10, abs=0.016)
    assert abs(moved[0]) < 0.01
    assert np.arccos(np.clip((np.trace(turn.T @ turn_of(arm)) - 1) / 2, -1, 1)) < 0.06
    np.testing.assert_allclose(acted[-1].action, [0.5, -1.0], atol=0.05)


def test_a_twist_in_the_tool_frame_turns_with_the_tool():
    arm, actuation = twisting(FREE, axes=('z',), frame='tool', linear=0.1)
    tip, along = arm.tip(), turn_of(arm)[:, 2]
    drive(arm, actuation, [0.5], 10)
    moved = arm.tip() - tip
    assert moved @ along == pytest.approx(0.025, abs=0.005)
    assert np.linalg.norm(moved - (moved @ along) * along) < 0.004


def test_a_twist_keeps_every_limit_and_zone_and_is_no_gross_violation():
    """Random twists at ten times the usual speed, also into the post and near singularities."""
    from spaars_ros.robot.zones import distance
    robot = ROBOT
    arm, actuation = twisting(robot, linear=1.0, angular=5.0)
    rng = np.random.default_rng(0)
    low, high = np.asarray(robot.limits.position).T
    last = np.zeros(7)
    for _ in range(40):
        action = rng.uniform(-1, 1, 6)
        for acted in drive(arm, actuation, action, 5):
            stop = acted.filtered.stop
            assert stop is None or stop.code == 'REPEATED_VIOLATION'
            command = acted.filtered.command
            assert (np.abs(command) <= np.asarray(robot.limits.velocity) + 1e-6).all()
            assert (np.abs(command - last)
                    <= np.asarray(robot.limits.acceleration) * robot.period + 1e-6).all()
            assert (np.abs(acted.action) <= 1.0).all()
            last = command
        state = arm.state()
        assert (state.position >= low - 1e-3).all() and (state.position <= high + 1e-3).all()
        assert distance(robot.keep_out, arm.tip()) > 0.0


def test_a_limited_twist_is_the_least_of_its_own_objective():
    """Of all joint velocities inside, the one whose twist is nearest, not the nearest velocity."""
    arm, actuation = twisting(FREE, axes=('x', 'y', 'z'), linear=1.0)
    state = arm.state()
    jacobian = actuation._jacobian(state.position)
    asked, objective = actuation._nearest(np.array([1.0, 0.6, 0.0]), jacobian, state)
    acted = actuation.apply(np.array([1.0, 0.6, 0.0]), state)
    got = acted.filtered.command

    def value(v):
        return 0.5 * v @ objective.hessian @ v - objective.gradient @ v
    step = np.asarray(FREE.limits.acceleration) * FREE.period
    assert acted.filtered.intervention
    assert value(got) <= value(np.clip(asked, -step, step)) + 1e-9
    rng = np.random.default_rng(1)
    for v in rng.uniform(-step, step, (500, 7)):
        assert value(got) <= value(v) + 1e-6


GRIP = Channel('grip', 'open_close', low=0.0, high=0.04, rate=0.1)


def test_an_open_close_channel_has_hysteresis_and_a_rate():
    channels = Channels([GRIP], 0.1)
    seen = [channels.take(np.array([a]))[0] for a in (1.0, 0.1, -0.1, 0.1, 0.1, -0.2, -1.0, 0.0)]
    np.testing.assert_allclose(seen, [0.01, 0.02, 0.03, 0.04, 0.04, 0.04, 0.03, 0.02], atol=1e-12)


def test_a_continuous_channel_goes_where_the_action_says_in_range():
    channels = Channels([Channel('a', low=-1.0, high=3.0)], 0.1)
    assert [channels.take(np.array([a]))[0] for a in (-1.0, 0.0, 1.0, 9.0)] == [-1, 1, 3, 3]
    assert channels.take(np.array([np.nan]))[0] == 3.0  # holds


@pytest.mark.parametrize('what, end', [('hold', 0.02), ('low', 0.0), ('high', 0.04)])
def test_a_channel_does_on_a_stop_what_it_declares(what, end):
    channels = Channels([Channel('g', low=0.0, high=0.04, on_stop=what)], 0.1)
    channels.take(np.array([0.0]))
    assert channels.stop()[0] == pytest.approx(end)


# A scene


class Table:
    """A ball on a table, and a lid that the channel lifts; its place is a source."""

    def __init__(self, height=0.06):
        self.height = height

    def build(self, spec):
        spec.worldbody.add_geom(name='table', type=mujoco.mjtGeom.mjGEOM_BOX,
                                size=[0.1, 0.1, 0.02], pos=[0.0, 0.6, 0.02], contype=1,
                                conaffinity=1)
        body = spec.worldbody.add_body(name='ball')
        body.add_freejoint(name='ball')
        body.add_geom(name='ball', type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.02, 0, 0], mass=0.1,
                      contype=1, conaffinity=1)

    def reset(self, model, data, rng):
        place = data.joint('ball').qpos
        place[:3] = [rng.uniform(-0.02, 0.02), 0.6, self.height]
        place[3:] = [1.0, 0.0, 0.0, 0.0]

    def measure(self, model, data):
        return {'ball': data.body('ball').xpos.copy()}

    def actuate(self, model, data, channels):
        data.body('ball').xfrc_applied[2] = 20.0 * channels.get('lift', 0.0)


class Lift(Task):
    """Lift the ball by the channel."""

    def __init__(self, robot, settings):
        super().__init__(robot, settings)
        self.spec = TaskSpec(
            name='lift', terms=(Term('ball', 3, 'm'), Term('joints', 7, 'rad')),
            sources=('ball',), action=ActionSpace('twist', joints=7, axes=('x', 'z')),
            channels=(Channel('lift', low=0.0, high=1.0),),
            metrics=(MetricSpec('height', 'm', 'higher', shown='mm'),), horizon=settings.horizon)

    def observe(self, world, goal):
        return np.concatenate((world.sources['ball'].values[:3], world.joints.position))

    def reward(self, before, action, after):
        return after[..., 2] - before[..., 2]

    def outcome(self, after, world):
        return Outcome.SUCCESS if after[2] > 0.3 else Outcome.RUNNING

    def metrics(self, episode):
        return {'height': Metric(float(episode.observations[-1, 2]), 'm', 'higher')}

    def scene(self):
        return Table()


LIFT = f'{__name__}:Lift'


def test_an_environment_has_scene_channels_and_twists():
    env = ArmEnv(ROBOT, load_task(LIFT))
    check_task(env.task)
    assert env.action_space.shape == (3,) and env.observation_space.shape == (10,)
    observation, _ = env.reset(seed=1)
    assert observation[2] == pytest.approx(0.06, abs=1e-3)
    places = {env.reset(seed=seed)[0][0] for seed in range(3)}
    assert len(places) == 3, 'the scene is placed anew in each episode'
    for _ in range(5):
        observation, *_, info = env.step(np.array([0.0, 0.0, -1.0]))
    assert observation[2] == pytest.approx(0.06, abs=2e-3), 'it lies on the table'
    ended = False
    while not ended:
        observation, reward, ended, truncated, info = env.step(np.array([0.5, 0.0, 1.0]))
        assert not truncated
    assert info['success'] and observation[2] > 0.3 and reward > 0
    assert info['executed'].shape == (3,)


def test_a_scene_that_penetrates_at_reset_is_an_error_that_names_the_bodies():
    with pytest.raises(SceneError, match=r'table and ball are .* mm inside each other|'
                                         r'ball and table'):
        Arm(ROBOT, Table(height=0.045))


def test_a_policy_of_another_width_of_action_runs_in_the_loop_and_is_recorded():
    task = make_task(ROBOT, load_task(LIFT).model_copy(update={'horizon': 12}))
    bundle = untrained_bundle(ROBOT, task, load_training('smoke', latent_dim=2))
    assert bundle.manifest.action_dim == 3
    result = evaluate(bundle, ROBOT, task, episodes=1)
    assert result['metrics'].keys() == {'height'} and result['episodes'][0]['steps'] >= 1
    assert result['paths'] == []
    assert result['episodes'][0]['ended'] in (Flag.TERMINATED.name.lower(), 'truncated')


def test_a_bundle_of_another_action_is_refused_by_name():
    task = make_task(ROBOT, load_task(LIFT))
    bundle = untrained_bundle(ROBOT, task, load_training('smoke', latent_dim=2))

    class Other(Lift):
        def __init__(self, robot, settings):
            super().__init__(robot, settings)
            self.spec = TaskSpec(
                name='lift', terms=(Term('ball', 3, 'm'), Term('angles', 7, 'rad')),
                action=ActionSpace(joints=7), sources=('ball',), horizon=100)
    other = Other(ROBOT, load_task(LIFT))
    with pytest.raises(BundleError, match="term 'angles' is missing; term 'joints' is not of the"
                                          ' task; the action is twist x,z in the base frame'):
        check_bundle(bundle, ROBOT, task='lift', observation_dim=10, spec=other.spec)


def test_rendering_gives_an_image_or_says_what_is_missing():
    env = ArmEnv(ROBOT, TaskSettings(task=LIFT), render_mode='rgb_array')
    env.reset(seed=0)
    try:
        image = env.render()
    except RuntimeError as error:
        assert 'MUJOCO_GL' in str(error)
    else:
        assert image.ndim == 3 and image.dtype == np.uint8 and image.std() > 0
    finally:
        env.close()
    with pytest.raises(ValueError, match='render_mode'):
        ArmEnv(ROBOT, TaskSettings(task=LIFT), render_mode='human')


def test_a_task_that_raises_is_a_stop_and_closes_its_episode():
    """A fault of somebody else's code must not take the server down while the arm moves."""
    task = make_task(ROBOT, load_task(LIFT))
    runtime = check_bundle(
        untrained_bundle(ROBOT, task, load_training('smoke', latent_dim=2)), ROBOT, task='lift',
        observation_dim=10, spec=task.spec)
    loop = ControlLoop(robot=ROBOT, task=task, safety_filter=SafetyFilter(ROBOT),
                       runtime=runtime, seed=0)
    arm = Arm(ROBOT, task.scene())
    loop.begin(arm.state())
    tick = loop.tick(arm.state())
    assert tick.ended and tick.stop.code == 'TASK'
    assert "source 'ball' has no sample" in tick.stop.text
    assert loop.records.schema.get(tick.record, 'flag') == Flag.ABORTED
    loop.sources = arm.sources()
    assert loop.tick(arm.state()).stop is None
    task.outcome = lambda after, world: 1 / 0
    tick = loop.tick(arm.state())
    assert tick.stop.code == 'TASK' and 'ZeroDivisionError' in tick.stop.text
    assert np.isfinite(loop.abort(arm.state())).all()
