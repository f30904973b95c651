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

"""The simulated arm, its task and the scripted operator."""

import numpy as np
import pytest

from spaars_ros.robot.config import Box
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import Cylinder
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.zones import distance
from spaars_ros.robot.zones import zone_distance
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.env import ArmEnv
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.base import constraint_costs
from spaars_ros.tasks.base import World
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task


@pytest.fixture(scope='module')
def robot():
    return load_robot('panda')


@pytest.fixture(scope='module')
def settings():
    return load_task('reach')


@pytest.fixture(scope='module')
def task(robot, settings):
    return ReachTask(robot, settings)


# Arm


def craig(alpha, a, d, theta):
    """Return the modified Denavit-Hartenberg transform."""
    ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
    return np.array([[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa],
                     [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]])


def test_the_model_has_the_published_kinematics(robot):
    """Franka's documentation gives these Denavit-Hartenberg parameters (Craig's convention)."""
    kinematics = Kinematics(robot)
    alpha = [0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2]
    a = [0, 0, 0, 0.0825, -0.0825, 0, 0.088]
    d = [0.333, 0, 0.316, 0, 0.384, 0, 0]
    low, high = np.asarray(robot.limits.position).T
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = rng.uniform(low, high)
        frame = np.eye(4)
        for joint in range(7):
            frame = frame @ craig(alpha[joint], a[joint], d[joint], q[joint])
        tip = frame @ np.array([0, 0, 0.107 + 0.1034, 1])  # flange, then the hand's centre
        np.testing.assert_allclose(kinematics.tip(q), tip[:3], atol=1e-6)


def test_the_jacobian_is_the_tips_derivative(robot):
    kinematics = Kinematics(robot)
    q = np.asarray(robot.home) + 0.1
    tip, jacobian = kinematics.tip_and_jacobian(q)
    for joint in range(7):
        moved = q.copy()
        moved[joint] += 1e-6
        np.testing.assert_allclose((kinematics.tip(moved) - tip) / 1e-6, jacobian[:, joint],
                                   atol=1e-5)


def test_the_arm_follows_velocities_and_holds_against_gravity(robot):
    arm = Arm(robot)
    command = np.array([0.3, -0.2, 0.1, 0.2, -0.3, 0.2, 0.4])
    for _ in range(10):
        arm.step(command)
    np.testing.assert_allclose(arm.state().velocity, command, atol=0.01)
    for _ in range(10):
        arm.step(np.zeros(7))
    held = arm.state().position
    for _ in range(40):
        arm.step(np.zeros(7))
    np.testing.assert_allclose(arm.state().position, held, atol=1e-4)
    assert np.abs(arm.state().effort).max() > 5.0  # what holds it is measured


def test_effort_never_exceeds_the_torque_limits(robot):
    arm = Arm(robot)
    rng = np.random.default_rng(0)
    limit = np.asarray(robot.limits.torque)
    reached = 0
    for _ in range(50):
        arm.step(rng.choice([-1.0, 1.0], 7) * np.asarray(robot.limits.velocity))
        effort = np.abs(arm.state().effort)
        assert (effort <= limit + 1e-9).all()
        reached += bool((effort >= limit - 1e-9).any())
    assert reached  # else the limit was not tried


def test_time_advances_by_one_period_a_step_and_never_back(robot):
    arm = Arm(robot)
    before = arm.state().stamp_ns
    arm.step(np.zeros(7))
    assert arm.state().stamp_ns - before == 50_000_000
    arm.reset(np.asarray(robot.home))
    assert arm.state().stamp_ns > before + 50_000_000


# Zones and costs


def test_distances_to_zones():
    points = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0], [1.6, 0.0, 2.8]])
    ball = Sphere(shape='sphere', name='a', centre=(0, 0, 0), radius=1.0)
    post = Cylinder(shape='cylinder', name='b', centre=(0, 0, 0), radius=1.0, height=4.0)
    crate = Box(shape='box', name='c', centre=(0, 0, 0), size=(2.0, 2.0, 4.0))
    np.testing.assert_allclose(zone_distance(ball, points)[:3], [-1.0, 1.0, 2.0])
    np.testing.assert_allclose(zone_distance(post, points), [-1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(zone_distance(crate, points), [-1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(distance([ball, post], points)[2], 1.0)
    assert np.isinf(distance([], points)).all()


def observation_at(task, tip, velocity=(0.0, 0.0, 0.0)):
    observation = np.zeros(task.observation_dim)
    observation[14:17] = tip
    observation[17:20] = velocity
    return observation


def test_each_cost_term_counts_its_violation_and_no_other(task):
    clear, quiet = (0.3, 0.3, 0.4), np.zeros(7)
    near, inside = (0.46, 0.06 + 0.05, 0.4), (0.46, 0.06 + 0.015, 0.4)

    def terms(tip, velocity=(0.0, 0.0, 0.0), effort=quiet):
        after = observation_at(task, tip, velocity)
        found = {name: float(value) for name, value in task.costs(after, quiet).items()}
        torque = Constraint(name='t', terms=['torque'], limit=1.0)
        return {**found, 'torque': float(constraint_costs(task, [torque], after, quiet,
                                                          effort)[0])}
    nothing = {'zone_margin': 0.0, 'tip_speed': 0.0, 'torque': 0.0}
    assert terms(clear, (1.0, 0.0, 0.0)) == nothing
    assert terms(near, (0.2, 0.0, 0.0)) == nothing
    assert terms(near, (0.3, 0.0, 0.0)) == {**nothing, 'tip_speed': 1.0}
    assert terms(inside) == {**nothing, 'zone_margin': 1.0}
    saturated = quiet.copy()
    saturated[4] = -12.0
    assert terms(clear, effort=saturated) == {**nothing, 'torque': 1.0}


def test_success_needs_the_whole_hold(task, settings):
    def episode(errors):
        observations = np.zeros((len(errors), task.observation_dim))
        observations[:, 20] = errors
        return task.succeeded(observations)
    held = np.full(settings.horizon + 1, 0.009)
    assert episode(held)
    held[-settings.hold] = 0.011
    assert not episode(held)
    held[-settings.hold] = 0.009
    held[-settings.hold - 1] = 0.5
    assert episode(held)
    assert not episode(held[:50])  # cut short is no success


def test_relabelled_observations_are_those_of_the_other_target(robot, task):
    arm = Arm(robot)
    state = arm.state()
    one, other = np.array([0.6, 0.1, 0.3]), arm.tip() + np.array([0.01, -0.02, 0.2])
    world = World(state, Kinematics(task.robot))
    np.testing.assert_allclose(task.relabel(task.observe(world, one), other),
                               task.observe(world, other), atol=1e-12)


# Environment


def test_an_action_of_another_size_is_refused(robot, settings):
    env = ArmEnv(robot, settings)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r'shape \(6,\), expected \(7,\)'):
        env.step(np.zeros(6))


def test_a_nan_in_an_action_is_refused(robot, settings):
    env = ArmEnv(robot, settings)
    env.reset(seed=0)
    action = np.zeros(7)
    action[5] = np.nan
    with pytest.raises(ValueError, match=r'action\[5\] is not finite'):
        env.step(action)


def test_an_episode_is_truncated_not_terminated(robot, settings):
    env = ArmEnv(robot, settings)
    env.reset(seed=0)
    ends = [env.step(np.zeros(7))[2:4] for _ in range(settings.horizon)]
    assert ends == [(False, False)] * (settings.horizon - 1) + [(False, True)]


def test_the_filters_interventions_are_costs_of_the_environment_too(robot, settings):
    limited = robot.model_copy(update={'constraints': [
        robot.constraints[0].model_copy(update={'terms': ['intervention']})]})
    env = ArmEnv(limited, settings)
    env.reset(seed=0)
    found = []
    for _ in range(40):  # from rest to full speed at once: the filter has to hold it
        info = env.step(np.ones(7))[-1]
        found.append((info['intervention'] != 0, info['costs'].tolist()))
    assert {held for held, _ in found} == {True, False}
    assert all(costs == [float(held)] for held, costs in found)


# Operator


def test_the_operator_uses_both_sides_stops_short_and_costs_now_and_then(robot, settings, task):
    data = collect(robot, settings, episodes=30, seed=1)
    last = np.flatnonzero(data.truncations)
    assert len(last) == 30
    error = task.tip_error(data.next_observations[last])
    assert 0.015 < error.min() and error.max() < 0.06
    assert 0.02 < np.median(error) < 0.05
    tips = task.tip(data.next_observations)
    side = [np.sign(tips[(data.episode == i) & (np.abs(tips[:, 0] - 0.46) < 0.02), 1].mean())
            for i in range(30)]
    assert 5 <= np.sum(np.asarray(side) > 0) <= 25
    cost = task.constraint_costs(data.next_observations, data.actions, data.efforts)[:, 0]
    over = np.bincount(data.episode, weights=cost) > robot.constraints[0].limit
    assert 0 < over.sum() < 15


def test_the_same_seed_gives_the_same_demonstrations(robot, settings):
    one, two = (collect(robot, settings, episodes=2, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.observations, two.observations)


def test_the_demonstrations_that_ship_are_like_those_of_the_command_that_they_name(
        robot, settings, task):
    from spaars_ros.data.dataset import load_dataset
    from spaars_ros.robot.resources import resolve
    from spaars_ros.training_file import load_training
    shipped = load_dataset(resolve(load_training('spaars').demonstrations), robot, task)
    assert shipped.attributes['source'] == (
        'spaars collect panda_reach.h5 --episodes 150 --seed 0 --robot panda --task reach')
    # They are of the operator of 0.1.0, who knew the Panda's post and no other way.
    again = collect(robot, settings, episodes=20, seed=0)
    for of in (lambda data: np.median(task.tip_error(data.next_observations[data.truncations])),
               lambda data: np.median(np.bincount(data.episode))):
        assert of(again) == pytest.approx(of(shipped), rel=0.25)
