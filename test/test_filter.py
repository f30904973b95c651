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

"""The safety filter's parts: joint limits, distances, barrier constraints, solver, properties."""

import os
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from benchmarks.adversary import crowded
from benchmarks.filter import Piqp
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Cylinder
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Workspace
from spaars_ros.robot.zones import distance_and_normal
from spaars_ros.robot.zones import zone_distance
from spaars_ros.safety.distances import distances
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.intervention import Intervention
from spaars_ros.safety.joint_limits import JointLimits
from spaars_ros.safety.qp import NearestVelocity
from spaars_ros.safety.world import World

ROBOT = load_robot()
CROWDED = crowded(ROBOT)
LOW, HIGH = np.asarray(ROBOT.limits.position).T
ZERO = np.zeros(7)
LONG = 10 if os.environ.get('SPAARS_LONG') else 1

pytestmark = pytest.mark.timeout(240 * LONG)


def state(position: Any = None, velocity: Any = None) -> RobotState:
    return RobotState(0, np.array(ROBOT.home if position is None else position, dtype=float),
                      np.array(ZERO if velocity is None else velocity, dtype=float), ZERO)


def made(robot: Robot, position: Any = None, **options: float) -> SafetyFilter:
    safety_filter = SafetyFilter(robot, **{'repeated': 1e9, **options})
    safety_filter.reset(state(position))
    return safety_filter


def slow_jerk(robot: Robot, factor: float) -> Robot:
    jerk = [factor * value for value in robot.limits.jerk]
    return robot.model_copy(update={'limits': robot.limits.model_copy(update={'jerk': jerk})})


# --- joint limits

@pytest.mark.parametrize('factor', [1.0, 0.05, 0.02, 0.005])
def test_no_joint_limit_is_exceeded_by_2000_arms_at_once(factor: float) -> None:
    """200,000 random states and commands; at 0.005 the jerk limit leaves a second to brake."""
    limits = JointLimits(slow_jerk(ROBOT, factor))
    rng = np.random.default_rng(0)
    period, arms = limits.period, 2000
    position = rng.uniform(limits.lower, limits.upper, (arms, 7))
    last = acceleration = np.zeros((arms, 7))
    near = 0
    for tick in range(100):
        if tick % 12 == 0:
            push = rng.uniform(-1.9, 1.9, (arms, 7)) * limits.velocity
            shake = rng.uniform(0.0, 0.5, (arms, 1)) * limits.velocity
        flight = period * last
        low, high = limits.position_bounds(position, np.minimum(flight, 0.0),
                                           np.maximum(flight, 0.0), last)
        bottom, top = limits.interval(low, high, last, acceleration)
        assert (bottom <= top).all()
        command = np.clip(push + shake * rng.normal(size=(arms, 7)), bottom, top)
        change = (command - last) / period
        assert (np.abs(command) <= limits.velocity + 1e-9).all()
        assert (np.abs(change) <= limits.acceleration + 1e-9).all()
        assert (np.abs(change - acceleration) <= limits.jerk_step + 1e-6).all()
        # Half of the arms obey at once, half a period late.
        moves = np.where(np.arange(arms)[:, None] % 2 == 0, command, last)
        position = position + period * moves
        assert (position >= limits.lower - 1e-9).all()
        assert (position <= limits.upper + 1e-9).all()
        near += int(np.minimum(position - limits.lower, limits.upper - position).min() < 0.05)
        last, acceleration = command, change
    assert near > 50, 'the motions have to try the limits'


@pytest.mark.parametrize('factor', [0.5, 1.0, 1e6])
def test_braking_to_rest_is_the_braking_law_tick_by_tick(factor: float) -> None:
    limits, rng = JointLimits(slow_jerk(ROBOT, factor)), np.random.default_rng(3)
    for _ in range(50):
        last = limits.velocity * rng.uniform(-1.0, 1.0, 7) * rng.integers(0, 2, 7)
        acceleration = limits.acceleration * rng.uniform(-1.0, 1.0, 7)
        found = limits.braking(last, acceleration, 200)
        for speeds in found:
            following = limits.brake(last, acceleration)
            np.testing.assert_array_equal(speeds, following)
            acceleration, last = (following - last) / limits.period, following
        assert not found[-1].any() and not limits.brake(last, acceleration).any()


@pytest.mark.parametrize('factor', [1.0, 0.05, 0.01, 0.003])
def test_brake_keeps_acceleration_and_jerk_and_ends_at_rest(factor: float) -> None:
    robot = slow_jerk(ROBOT, factor).model_copy(update={'keep_out': [], 'tip_speed': None,
                                                        'self_collision': False})
    brakes = made(robot)
    limits = brakes.limits
    for _ in range(12):
        brakes.apply(np.full(7, 1.5), state())
    last, acceleration = brakes.last, ZERO
    for tick in range(300):
        command = brakes.brake().command
        change = (command - last) / limits.period
        assert (np.abs(change) <= limits.acceleration + 1e-9).all()
        assert tick == 0 or (np.abs(change - acceleration) <= limits.jerk_step + 1e-6).all()
        last, acceleration = command, change
        if brakes.at_rest:
            break
    assert brakes.at_rest and not brakes.brake().command.any()


def test_a_command_that_breaks_only_the_jerk_limit_is_counted_as_that() -> None:
    robot = slow_jerk(ROBOT, 0.02)
    jerky = made(robot)
    result = jerky.apply(0.9 * jerky.limits.step, state())
    assert result.intervention == Intervention.JERK
    assert (np.abs(result.command) <= jerky.limits.jerk_step * robot.period + 1e-9).all()


# --- distances

def some_distances(robot: Robot) -> tuple[World, list[Any]]:
    world = World(robot)
    return world, distances(robot, world)


def test_gradients_agree_with_differences_and_stay_below_the_levers() -> None:
    """A wrong sign drives the arm into what it should keep out of."""
    world, found = some_distances(CROWDED)
    rng = np.random.default_rng(1)
    sides, levers = np.array([x.sides for x in found]), np.array([x.levers for x in found])
    checked = 0
    for _ in range(60):
        position = rng.uniform(LOW, HIGH)
        world.move(position)
        gaps = np.array([x.measure() for x in found])
        exact = world.gradients(np.array([x.line() for x in found]), sides)
        differences = np.zeros_like(exact)
        for joint in range(7):
            both = []
            for sign in (1, -1):
                world.move(position + sign * 1e-5 * np.eye(7)[joint])
                both.append(np.array([x.measure() for x in found]))
            differences[:, joint] = (both[0] - both[1]) / 2e-5
        # Inside, and where the nearest point jumps, there is no gradient to compare.
        smooth = (gaps > 1e-3) & (np.abs(differences) < 2.0).all(axis=1)
        wrong = np.abs(exact - differences)[smooth].max(axis=1) > 0.02
        assert wrong.mean() < 0.05, [found[i].name for i in np.flatnonzero(smooth)[wrong]]
        assert (np.abs(differences[smooth]) <= levers[smooth] + 1e-3).all()
        checked += int(smooth.sum())
    assert checked > 1500


def test_distant_boxes_are_not_reported_as_touching() -> None:
    """MuJoCo 3.11 answers 0 for one pair in a hundred; the arm would stop in mid-air."""
    world, found = some_distances(CROWDED)
    pair = next(x for x in found if x.name == 'shelf and hand')
    rng = np.random.default_rng(0)
    for _ in range(3000):
        world.move(rng.uniform(LOW, HIGH))
        assert pair.measure() != 0.0


@pytest.mark.parametrize('zone', CROWDED.keep_out, ids=lambda zone: zone.name)
def test_a_zone_s_normal_is_the_slope_of_its_distance(zone: Any) -> None:
    rng = np.random.default_rng(2)
    for point in np.asarray(zone.centre) + rng.uniform(-0.6, 0.6, (200, 3)):
        gap, normal = distance_and_normal(zone, *point)
        assert gap == pytest.approx(float(zone_distance(zone, point)), abs=1e-12)
        slope = [(zone_distance(zone, point + step) - zone_distance(zone, point - step)) / 2e-7
                 for step in 1e-7 * np.eye(3)]
        assert np.allclose(slope, normal, atol=1e-4)


def test_links_that_touch_at_home_are_named_and_can_be_ignored() -> None:
    with pytest.raises(ConfigError, match='link5.* and flange: name them in collision_ignore'):
        SafetyFilter(ROBOT.model_copy(update={'collision_ignore': [], 'clearance': 0.02}))
    with pytest.raises(ConfigError, match="no body or geom 'elbow'"):
        SafetyFilter(ROBOT.model_copy(update={'collision_ignore': [('elbow', 'hand')]}))


# --- solver

def problems(count: int) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(3)
    made_up = []
    for _ in range(count):
        m = int(rng.integers(1, 12))
        rows = rng.normal(size=(m, 7))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        last = rng.uniform(-1, 1, 7)
        made_up.append((rng.uniform(-2, 2, 7), last - 0.5, last + 0.5, rows,
                        -rng.uniform(0, 0.5, m)))
    return made_up


def test_the_nearest_velocity_is_that_of_another_solver_and_none_where_there_is_none() -> None:
    ours, other = NearestVelocity(7), Piqp()
    solved = 0
    for problem in problems(300):
        mine, theirs = ours.solve(*problem), other.solve(*problem)
        assert (mine is None) == (theirs is None)
        if mine is None or theirs is None:
            continue
        solved += 1
        asked, low, high, rows, least = problem
        assert (rows @ mine >= least - 1e-6).all()
        assert (mine >= low).all() and (mine <= high).all()
        assert np.abs(mine - theirs).max() < 1e-3
    assert 20 < solved < 300


def test_without_a_solution_the_arm_brakes_within_its_limits() -> None:
    """A solver that gave up must not let the command through."""
    class GivesUp:
        def solve(self, *problem: np.ndarray) -> None:
            return None

    stuck = made(ROBOT)
    world = World(ROBOT)
    world.move(np.asarray(ROBOT.home))
    into = np.array([0.46, 0.0, 0.4]) - world.tip
    asked = 40.0 * into @ world.tip_jacobian()
    asked *= 1.9 * 2.175 / np.abs(asked).max()
    stuck.solver = GivesUp()
    position, last, braked = np.asarray(ROBOT.home), ZERO, 0
    for _ in range(60):
        result = stuck.apply(asked, state(position, last))
        assert (np.abs(result.command - last) <= stuck.limits.step + 1e-9).all()
        braked += bool(result.intervention & Intervention.BRAKE)
        last = result.command
        position = position + ROBOT.period * last
        world.move(position)
        assert distance_and_normal(ROBOT.keep_out[0], *world.tip)[0] > 0.0
    assert braked


# --- barriers in closed loop

def push(robot: Robot, towards: np.ndarray, ticks: int = 80) -> tuple[SafetyFilter, list[Any],
                                                                      np.ndarray]:
    """Drive the tip towards a point as fast as joints go; return filter, results, tips."""
    pushed = made(robot)
    world = World(robot)
    position, last = np.asarray(robot.home), ZERO
    results, tips = [], []
    for _ in range(ticks):
        world.move(position)
        tips.append(world.tip.copy())
        asked = (towards - world.tip) @ world.tip_jacobian()
        asked *= 1.9 * 2.175 / np.abs(asked).max()
        results.append(pushed.apply(asked, state(position, last)))
        last = results[-1].command
        position = position + robot.period * last
    return pushed, results, np.array(tips)


def test_the_tip_keeps_out_of_a_zone_and_comes_near_it() -> None:
    pushed, _, tips = push(ROBOT, np.array([0.46, 0.0, 0.4]))
    gaps = zone_distance(ROBOT.keep_out[0], tips)
    assert 0.25 * ROBOT.clearance <= gaps.min() < 0.01
    assert pushed.counts['KEEP_OUT'] > 10


def least_over(pushed: SafetyFilter, results: list[Any]) -> float:
    """Return the least of all distances on the way of the commands, m."""
    position, least = np.asarray(ROBOT.home), np.inf
    assert pushed.cartesian is not None
    for result in results:
        for _ in range(5):
            position = position + 0.2 * ROBOT.period * result.command
            least = min(least, *pushed.cartesian.least(position).values())
    return least


def test_the_whole_arm_keeps_out_of_a_zone_that_protects_it() -> None:
    """The forearm hits a lamp that the tip passes below."""
    lamp = Cylinder(shape='cylinder', name='lamp', centre=(0.2, 0.25, 0.85), radius=0.05,
                    height=0.5, protects='arm')
    robot = ROBOT.model_copy(update={'keep_out': [lamp]})
    pushed, results, tips = push(robot, np.array([0.1, 0.5, 0.3]))
    assert 0.25 * robot.clearance <= least_over(pushed, results) < 0.02
    assert pushed.counts['KEEP_OUT'] > 5
    assert zone_distance(lamp, tips).min() > 0.1


def test_the_tip_stays_in_the_workspace() -> None:
    space = Workspace(low=(0.2, -0.2, 0.3), high=(0.8, 0.2, 0.7))
    robot = ROBOT.model_copy(update={'keep_out': [], 'workspace': space})
    pushed, _, tips = push(robot, np.array([0.3, 0.6, 0.9]))
    assert (tips > np.asarray(space.low)).all() and (tips < np.asarray(space.high)).all()
    assert tips[:, 1].max() > 0.15
    assert pushed.counts['WORKSPACE'] > 10


def test_the_tip_is_no_faster_than_its_limit() -> None:
    robot = ROBOT.model_copy(update={'keep_out': [], 'tip_speed': 0.5})
    pushed, _, tips = push(robot, np.array([-0.5, 0.4, 0.6]))
    speed = np.linalg.norm(np.diff(tips, axis=0), axis=1) / robot.period
    assert 0.3 < speed.max() <= 0.5
    assert pushed.counts['TIP_SPEED'] > 5


def test_the_hand_does_not_hit_the_arm() -> None:
    robot = ROBOT.model_copy(update={'keep_out': []})
    pushed, results, _ = push(robot, np.array([0.0, 0.0, 0.4]))
    assert 0.25 * robot.clearance <= least_over(pushed, results) < 0.02
    assert pushed.counts['COLLISION'] > 5


def test_leaning_on_a_barrier_latches_later_than_breaking_a_joint_limit() -> None:
    leaning = made(ROBOT.model_copy(update={'tip_speed': None}), repeated=1.0)
    world = World(ROBOT)
    position, last, stop, ticks = np.asarray(ROBOT.home), ZERO, None, 0
    while stop is None and ticks < 300:
        world.move(position)
        asked = 20.0 * (np.array([0.46, 0.0, 0.4]) - world.tip) @ world.tip_jacobian()
        result = leaning.apply(asked / max(1.0, np.abs(asked).max() / 0.3), state(position, last))
        stop, last = result.stop, result.command
        position = position + ROBOT.period * last
        ticks += 1
    assert stop is not None and stop.code == 'REPEATED_VIOLATION'
    assert ticks >= 100


def test_what_was_far_away_is_noticed_after_the_arm_was_put_elsewhere() -> None:
    """Distances are remembered between ticks: a reset must not leave them standing."""
    moved = made(ROBOT)
    moved.apply(ZERO, state())
    world, rng = World(ROBOT), np.random.default_rng(4)
    for _ in range(2000):
        position = rng.uniform(LOW, HIGH)
        world.move(position)
        gap, normal = distance_and_normal(ROBOT.keep_out[0], *world.tip)
        slope = np.asarray(normal @ world.tip_jacobian())
        if 0.006 < gap < 0.012 and np.abs(slope).max() > 0.2:
            moved.reset(state(position))
            result = moved.apply(-0.3 * np.sign(slope), state(position))
            assert result.intervention & (Intervention.KEEP_OUT | Intervention.POSITION
                                          | Intervention.BRAKE)
            return
    pytest.fail('no place near the post was found')


# --- anything at all

def test_any_state_and_any_command_give_a_finite_command_within_limits() -> None:
    """
    Also outside the position limits, inside zones, too fast, and with numbers that are none.

    100,000 in all, every fifth through the barriers too, which take four times as long.
    """
    rng = np.random.default_rng(5)
    whole = made(ROBOT.model_copy(update={'workspace': CROWDED.workspace}))
    joints = made(ROBOT.model_copy(update={'keep_out': [], 'tip_speed': None,
                                           'self_collision': False}))
    limits = whole.limits
    odd = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300])
    stops, bits = set(), 0
    for number in range(100_000 * LONG):
        tried = joints if number % 5 else whole
        begin = state(rng.uniform(-3.2, 3.2, 7), rng.normal(0, 0.5, 7))
        if rng.random() < 0.02:
            begin.velocity[rng.integers(7)] = rng.normal(0, 5)
        tried.reset(begin)
        last = tried.last
        asked = rng.normal(0, 1.5, 7)
        if rng.random() < 0.2:
            asked[rng.integers(7)] = rng.choice(odd)
        if rng.random() < 0.1:
            begin.position[rng.integers(7)] = rng.choice(odd[:3])
        result = tried.apply(asked, begin)
        worst = np.abs(result.command)
        assert np.isfinite(worst).all() and (worst <= limits.velocity + 1e-9).all()
        assert (np.abs(result.command - last) <= limits.step + 1e-9).all()
        stops.add(result.stop.code if result.stop else '')
        bits |= result.intervention
    assert {'', 'NON_FINITE_COMMAND', 'NON_FINITE_STATE', 'GROSS_COMMAND',
            'GROSS_VELOCITY'} <= stops
    assert bits == sum(bit for bit in Intervention) - Intervention.JERK


@given(arrays.arrays(dtype=st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
                     shape=arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=8)))
@settings(max_examples=200, deadline=None)
def test_a_command_of_any_shape_never_raises(asked: np.ndarray) -> None:
    result = SHAPED.apply(asked, state())
    assert result.command.shape == (7,) and np.isfinite(result.command).all()
    if asked.shape != (7,):
        assert result.stop is not None and result.stop.code == 'WRONG_SIZE'


def test_a_state_of_the_wrong_size_is_a_stop() -> None:
    short = RobotState(0, np.zeros(6), np.zeros(6), np.zeros(6))
    result = made(ROBOT).apply(ZERO, short)
    assert result.stop is not None and result.stop.code == 'WRONG_SIZE'
    assert 'position' in result.stop.text


SHAPED = made(ROBOT)
