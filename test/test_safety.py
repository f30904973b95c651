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

"""The safety room: filter, latch, watchdog, costs and multiplier."""

import json
import math
from typing import Any

import numpy as np
import pytest

from spaars_ros.constraints.costs import EpisodeCosts
from spaars_ros.constraints.lagrangian import AdaptivePID
from spaars_ros.constraints.lagrangian import PIDGains
from spaars_ros.control.retrace import Retrace
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import load_robot
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.intervention import Intervention
from spaars_ros.safety.monitors.watchdog import Order
from spaars_ros.safety.monitors.watchdog import Watchdog
from spaars_ros.safety.stop import Stop
from spaars_ros.safety.stop import StopLatch

pytestmark = pytest.mark.timeout(60)

ROBOT = load_robot()
BARE = ROBOT.model_copy(update={'keep_out': [], 'tip_speed': None, 'self_collision': False})
ZERO = np.zeros(7)


def state(position: Any = None, velocity: Any = None) -> RobotState:
    return RobotState(0, np.array(ROBOT.home if position is None else position, dtype=float),
                      np.array(ZERO if velocity is None else velocity, dtype=float), ZERO)


def fresh(**options: float) -> SafetyFilter:
    made = SafetyFilter(ROBOT, **options)
    made.reset(state())
    return made


@pytest.mark.parametrize('delay', [0.0, 0.5, 1.0])
def test_no_command_leaves_the_limits_over_random_motions(delay: float) -> None:
    """
    A policy that pushes as it likes, on an arm obeying up to a tick late; joint limits alone.

    Without the braking distance an arm at speed runs through its mechanical end.
    """
    rng = np.random.default_rng(int(10 * delay))
    made = SafetyFilter(BARE, repeated=1e9)
    step = made.acceleration * made.period + 1e-9
    worst = -np.inf
    reached = 0
    for _ in range(40):
        position = rng.uniform(made.lower, made.upper)
        made.reset(state(position))
        before = ZERO
        push = rng.uniform(-1.9, 1.9, 7) * made.velocity
        wish = np.clip(push + rng.normal(0.0, 0.5, (200, 7)) * made.velocity,
                       -1.99 * made.velocity, 1.99 * made.velocity)
        for asked in wish:
            filtered = made.apply(asked, state(position, before))
            command = filtered.command
            assert filtered.stop is None
            assert (np.abs(command) <= made.velocity + 1e-9).all()
            assert (np.abs(command - before) <= step).all()
            position = position + made.period * (delay * before + (1.0 - delay) * command)
            before = command
            worst = max(worst, (position - made.upper).max(), (made.lower - position).max())
        reached += bool(((made.upper - position < 0.02) | (position - made.lower < 0.02)).any())
    assert worst < 1e-9
    assert reached > 20, 'the motions have to try the limits'


def test_a_command_within_the_limits_passes_unchanged() -> None:
    made = fresh()
    asked = np.full(7, 0.2)
    filtered = made.apply(asked, state())
    assert np.array_equal(filtered.command, asked) and filtered.intervention == 0


def test_a_small_violation_is_scaled_with_its_direction_kept() -> None:
    made = fresh()
    asked = np.array([0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5])
    command = made.apply(asked, state()).command
    factor = command / asked
    assert np.allclose(factor, factor[0]) and 0.2 < factor[0] < 1.0
    assert made.counts['ACCELERATION'] == 1


def test_a_joint_at_its_end_does_not_freeze_the_others() -> None:
    made = fresh()
    position = np.array(ROBOT.home)
    position[0] = ROBOT.limits.position[0][1]
    filtered = made.apply(np.full(7, 0.3), state(position))
    assert filtered.command[0] == 0.0 and (filtered.command[1:] > 0.2).all()
    assert filtered.intervention & Intervention.POSITION


def test_a_joint_outside_its_limits_may_only_come_back() -> None:
    made = fresh()
    position = np.array(ROBOT.home)
    position[0] = ROBOT.limits.position[0][1] + 0.1
    assert made.apply(np.full(7, 0.1), state(position)).command[0] == 0.0
    assert made.apply(np.full(7, -0.1), state(position)).command[0] == -0.1


def test_after_reset_the_command_starts_from_the_measured_velocity() -> None:
    """From zero, a moving arm would be asked to stop within one period."""
    made = SafetyFilter(ROBOT)
    moving = state(velocity=np.full(7, 1.0))
    made.reset(moving)
    command = made.apply(ZERO, moving).command
    assert np.allclose(command, 1.0 - np.minimum(made.acceleration * made.period, 1.0))


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_a_non_finite_command_stops_and_brakes(bad: float) -> None:
    made = fresh()
    made.apply(np.full(7, 0.3), state())
    asked = np.full(7, 0.3)
    asked[4] = bad
    filtered = made.apply(asked, state())
    assert filtered.stop is not None and filtered.stop.code == 'NON_FINITE_COMMAND'
    assert filtered.stop.text == 'panda_joint5'
    assert filtered.intervention & Intervention.NON_FINITE
    assert (np.abs(filtered.command) < 0.3).all()


def test_a_command_of_the_wrong_size_stops() -> None:
    filtered = fresh().apply(np.zeros(6), state())
    assert filtered.stop is not None and filtered.stop.code == 'WRONG_SIZE'
    assert (filtered.stop.value, filtered.stop.threshold) == (6, 7)


def test_a_gross_command_stops_rather_than_being_scaled() -> None:
    filtered = fresh(gross=2.0).apply(np.full(7, 2.1 * 2.61), state())
    assert filtered.stop is not None and filtered.stop.code == 'GROSS_COMMAND'
    assert filtered.stop.value > filtered.stop.threshold


def test_repeated_violations_stop_and_single_ones_do_not() -> None:
    made = fresh(repeated=0.5)
    position = np.array(ROBOT.home)
    position[0] = ROBOT.limits.position[0][1]
    push = np.array([0.3, 0, 0, 0, 0, 0, 0])
    for _ in range(9):
        assert made.apply(push, state(position)).stop is None
    assert made.apply(ZERO, state(position)).stop is None  # the row is broken
    stops = [made.apply(push, state(position)).stop for _ in range(10)]
    assert stops[:9] == [None] * 9
    assert stops[9] is not None and stops[9].code == 'REPEATED_VIOLATION'
    assert 'position' in stops[9].text and 'panda_joint1' in stops[9].text


def test_a_policy_that_asks_for_more_than_a_tick_can_follow_is_scaled_and_not_stopped() -> None:
    """A policy that learns died of its acceleration at episode 101."""
    made, ticks = fresh(repeated=0.5), 100
    for tick in range(ticks):
        asked = np.array([0.9 if tick % 2 else -0.9, 0, 0, 0, 0, 0, 0])
        assert made.apply(asked, state(np.array(ROBOT.home))).stop is None
    assert made.counts['ACCELERATION'] > ticks / 2


def test_brake_comes_to_rest_within_the_acceleration_limit_and_holds() -> None:
    made = SafetyFilter(ROBOT)
    made.reset(state(velocity=np.full(7, 2.0)))
    before = made.last
    commands = []
    while not made.at_rest:
        command = made.brake().command
        assert (np.abs(before - command) <= made.acceleration * made.period + 1e-12).all()
        assert (np.abs(command) <= np.abs(before)).all()
        commands.append(command)
        before = command
    assert len(commands) == math.ceil(2.0 / (7.5 * 0.05))
    assert not made.brake().command.any()


def test_a_stop_is_latched_with_its_first_cause_until_reset() -> None:
    latch = StopLatch()
    first, second = Stop('STALE', 0.3, 0.2, 's'), Stop('ESTOP', 1, 0)
    assert latch.trip(first) and not latch.trip(second)
    assert latch.stop is first
    assert latch.reset(lambda: second) is second
    assert latch.stop is first, 'the cause persists'
    assert latch.reset(lambda: None) is None
    assert latch.stop is None


def test_watchdog_names_a_stale_observation_with_age_and_threshold() -> None:
    watchdog = Watchdog(0.2)
    assert watchdog.take(10**9) is Order.NEW
    assert watchdog.check(10**9 + 190_000_000, 0.0) is None
    stop = watchdog.check(10**9 + 210_000_000, 0.0)
    assert stop is not None and (stop.code, stop.threshold) == ('STALE', 0.2)
    assert stop.value == pytest.approx(0.21)
    assert watchdog.check(10**9 - 1_100_000_000, 0.0).code == 'CLOCK_AHEAD'  # type: ignore


def test_watchdog_tells_late_messages_from_a_clock_that_jumped_back() -> None:
    watchdog = Watchdog(0.2)
    watchdog.take(10**9)
    assert watchdog.take(10**9) is Order.SAME
    assert watchdog.take(10**9 - 50_000_000) is Order.OLD
    assert watchdog.out_of_order == 1 and watchdog.take_jump() is None
    assert watchdog.take(10**8) is Order.NEW
    jump = watchdog.take_jump()
    assert jump is not None and jump.code == 'CLOCK_JUMP'
    assert watchdog.take_jump() is None


def test_retrace_returns_to_the_first_position_along_the_path() -> None:
    home = np.array(ROBOT.home)
    path = [home + np.array([0.01, 0.004, 0, 0, 0, 0, 0.02]) * i for i in range(60)]
    corner = [path[-1] + np.array([0, 0, 0.01, 0, 0, 0, 0]) * i for i in range(40)]
    retrace = Retrace(ROBOT, path + corner)
    made = SafetyFilter(ROBOT)
    position, velocity = corner[-1], ZERO
    made.reset(state(position))
    off = 0.0
    for _ in range(600):
        wanted = retrace.command(state(position, velocity))
        if wanted is None:
            break
        velocity = made.apply(wanted, state(position, velocity)).command
        position = position + velocity * made.period
        off = max(off, min(np.abs(position - p).max() for p in path + corner))
    assert retrace.command(state(position)) is None
    assert np.abs(position - home).max() < 0.01
    assert off < 0.05, 'the arm cut a corner'


def test_a_way_back_that_was_broken_off_goes_on_from_there() -> None:
    """From the episode's end again it would cut across what no arm has passed."""
    home = np.array(ROBOT.home)
    path = [home + step * np.eye(7)[0] for step in np.arange(0.0, 0.61, 0.1)]
    path += [path[-1] + step * np.eye(7)[1] for step in np.arange(0.1, 0.61, 0.1)]
    first = Retrace(ROBOT, path)
    at = path[3]
    for position in reversed(path[4:]):
        first.command(RobotState(0, position, np.zeros(7), np.zeros(7)))
    assert len(first.remaining) == 4
    again = Retrace(ROBOT, first.remaining, start=at)
    command = again.command(RobotState(0, at, np.zeros(7), np.zeros(7)))
    assert command is not None and command[0] < 0.0 and not command[1:].any()
    # Moved by hand: it joins the path where it is nearest.
    moved = path[2] + 0.15 * np.eye(7)[3]
    joined = Retrace(ROBOT, path, start=moved)
    command = joined.command(RobotState(0, moved, np.zeros(7), np.zeros(7)))
    assert command is not None and command[3] < 0.0 and abs(command[0]) < 1e-9


def test_retrace_that_does_not_arrive_is_a_stop() -> None:
    retrace = Retrace(ROBOT, [np.array(ROBOT.home)], patience=1.0)
    away = np.array(ROBOT.home) + 0.5
    for _ in range(22):
        retrace.command(state(away))
    assert retrace.stuck() is None
    retrace.command(state(away))
    assert retrace.stuck().code == 'RETRACE_STUCK'  # type: ignore[union-attr]


class TwoCosts:
    constraint_names = ['near', 'torque']

    def constraint_costs(self, observation: np.ndarray, action: np.ndarray,
                         effort: np.ndarray) -> np.ndarray:
        return np.array([observation[0], effort[0]])


def test_episode_costs_leave_out_index_0_and_do_not_leak_into_the_next_episode() -> None:
    costs = EpisodeCosts(TwoCosts())
    result = None
    for sequence in range(8):
        episode, index = divmod(sequence, 4)
        result = costs.add(sequence=sequence, episode=episode, index=index,
                           flag=Flag.TRUNCATED if index == 3 else Flag.RUNNING,
                           observation=np.array([1.0]), effort=np.array([2.0 * episode]))
        assert result is not None and result.valid == (index == 3)
    assert result is not None and result.total.tolist() == [3.0, 6.0]


def test_a_nan_cost_is_an_error_and_spoils_the_episode() -> None:
    costs = EpisodeCosts(TwoCosts())
    values: dict[str, Any] = {'episode': 0, 'flag': Flag.RUNNING, 'effort': np.zeros(1)}
    costs.add(sequence=0, index=0, observation=np.zeros(1), **values)
    with pytest.raises(ValueError, match='step 1'):
        costs.add(sequence=1, index=1, observation=np.array([np.nan]), **values)
    values['flag'] = Flag.TRUNCATED
    last = costs.add(sequence=2, index=2, observation=np.zeros(1), **values)
    assert last is not None and last.ended and not last.valid


def test_twice_the_limit_brings_the_multiplier_to_the_order_of_1_in_15_episodes() -> None:
    pid = AdaptivePID(5.0, PIDGains(setpoint=1.0))
    for _ in range(15):
        pid.update(10.0)
    assert 0.5 < pid.value < 2.0
    high = pid.value
    for _ in range(25):
        pid.update(2.5)
    assert pid.value < 0.5 * high


def test_the_multiplier_is_bounded_and_leaves_the_bound_at_once() -> None:
    """Anti-windup: an integral that grew at the bound would hold the arm back for ages."""
    pid = AdaptivePID(5.0, PIDGains(lambda_max=3.0))
    for _ in range(500):
        assert 0.0 <= pid.update(100.0) <= 3.0
    assert pid.value == 3.0
    values = [pid.update(0.0) for _ in range(12)]
    assert values[-1] < 1.0


@pytest.mark.parametrize('limit', [0.0, 1e-9, 0.3, 5.0, 1e6])
def test_no_cost_history_makes_the_controller_leave_its_bounds(limit: float) -> None:
    rng = np.random.default_rng(0)
    pid = AdaptivePID(limit, PIDGains(rate=0.1))
    for cost in rng.exponential(2.0 * max(limit, 0.5), 3000):
        value = pid.update(float(cost))
        assert 0.0 <= value <= pid.gains.lambda_max
        for name in ('kp', 'ki', 'kd'):
            share = getattr(pid, name) / getattr(pid.gains, name)
            assert 0.1 - 1e-9 <= share <= 10.0 + 1e-9


@pytest.mark.parametrize('bad', [math.nan, math.inf, -1.0])
def test_a_cost_or_limit_that_is_no_number_is_refused_and_changes_nothing(bad: float) -> None:
    pid = AdaptivePID(5.0)
    pid.update(9.0)
    before = pid.state_dict()
    with pytest.raises(ValueError, match='finite'):
        pid.update(bad)
    with pytest.raises(ValueError, match='finite'):
        pid.set_limit(bad)
    assert pid.state_dict() == before


def test_cost_is_held_below_the_limit_at_the_setpoint() -> None:
    """Held at the limit itself, every second episode of a noisy arm would be above it."""
    pid = AdaptivePID(10.0, PIDGains(setpoint=0.6))
    for _ in range(20):
        pid.update(6.0)
    assert pid.value == 0.0
    for _ in range(5):
        pid.update(8.0)
    assert pid.value > 0.0


def _violations(gains: PIDGains, seed: int) -> float:
    """Return the share of 400 episodes over a limit of 5, of a cost that lambda makes rarer."""
    rng = np.random.default_rng(seed)
    pid = AdaptivePID(5.0, gains)
    over = 0
    for episode in range(600):
        # Few and large: up to 40 in half of the episodes, e times rarer for 2 of lambda.
        happens = rng.random() < 0.5 * math.exp(-0.5 * pid.value)
        cost = 40.0 * rng.random() if happens else 0.0
        pid.update(cost)
        over += episode >= 200 and cost > 5.0
    return over / 400


@pytest.mark.parametrize('rate', [0.0, 0.05])
def test_a_violation_rate_holds_the_share_of_episodes_over_the_limit(rate: float) -> None:
    """Whatever their cost is: a mean that is held lets as many over it as their size allows."""
    for wanted in (0.05, 0.1, 0.2):
        gains = PIDGains(violation_rate=wanted, rate=rate)
        shares = [_violations(gains, seed) for seed in range(3)]
        assert np.mean(shares) == pytest.approx(wanted, abs=0.03)


def test_an_episode_far_over_the_limit_counts_as_one_with_a_violation_rate() -> None:
    """Held by its mean, one of 73 at a limit of 5 took lambda from 6 to 15 on a real run."""
    def after(gains: PIDGains, cost: float) -> float:
        pid = AdaptivePID(5.0, gains)
        return [pid.update(c) for c in (0.0, cost, 0.0)][-1]

    counted = PIDGains(violation_rate=0.1)
    assert after(counted, 73.0) == after(counted, 6.0) > 0.0
    assert after(PIDGains(), 73.0) > 5.0 * after(PIDGains(), 6.0)


def test_another_violation_rate_while_running_makes_no_kick() -> None:
    pid = AdaptivePID(5.0)
    for cost in (20.0, 9.0, 12.0, 0.0):
        pid.update(cost)
    before = pid.value
    pid.set_gains(PIDGains(violation_rate=0.1))
    assert pid.value == before > 0.3
    assert before - 0.1 < pid.update(5.0) < before, 'at the limit is within it'
    pid.set_gains(PIDGains())
    assert pid.value == pytest.approx(before, abs=0.1)


def test_a_state_of_before_the_violation_rate_is_read() -> None:
    pid, other = AdaptivePID(5.0), AdaptivePID(1.0)
    pid.update(9.0)
    state = pid.state_dict()
    del state['gains']['violation_rate']
    other.load_state_dict(state)
    assert other.state_dict() == pid.state_dict()


def test_a_new_limit_makes_no_kick() -> None:
    pid = AdaptivePID(20.0, PIDGains(setpoint=1.0))
    for _ in range(10):
        pid.update(20.0)
    assert pid.value == 0.0
    pid.set_limit(10.0)
    assert pid.value == 0.0
    pid.update(20.0)
    assert pid.d_term == 0.0, 'the cost did not change, so its derivative is none'
    assert pid.value < 0.3


def test_kd_is_not_monotone() -> None:
    """A derivative gain that only grows ends at its cap whatever the cost does."""
    rng = np.random.default_rng(1)
    pid = AdaptivePID(5.0)
    for cost in rng.choice([0.0, 20.0], 60):
        pid.update(float(cost))
    wild = pid.kd
    for _ in range(100):
        pid.update(4.0)
    assert wild > pid.gains.kd > pid.kd


def test_controller_state_round_trips_through_json_and_refuses_nan() -> None:
    pid, other = AdaptivePID(5.0), AdaptivePID(1.0)
    for cost in (3.0, 8.0, 12.0):
        pid.update(cost)
    other.load_state_dict(json.loads(json.dumps(pid.state_dict())))
    assert other.state_dict() == pid.state_dict()
    assert other.update(7.0) == pid.update(7.0)
    with pytest.raises(ValueError, match='not finite'):
        other.load_state_dict({**pid.state_dict(), 'i_term': math.nan})
    with pytest.raises(ValueError, match='differs'):
        other.load_state_dict({'value': 1.0})
