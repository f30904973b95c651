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

"""The multipliers' controllers, free of ROS: the two published forms, one test a failure mode."""

from itertools import pairwise
import json
import math

import numpy as np
import pytest

from spaars_ros.constraints.costs import EpisodeCosts
from spaars_ros.constraints.episode_limits import EpisodeLimits
from spaars_ros.constraints.lagrangian import AdaptivePID
from spaars_ros.constraints.lagrangian import PIDGains
from spaars_ros.constraints.published_pid import ReleasedGains
from spaars_ros.constraints.published_pid import ReleasedPID
from spaars_ros.constraints.rollback import VersionJudge
from spaars_ros.constraints.run_watch import RunWatch
from spaars_ros.data.schema import Flag
from spaars_ros.robot.config import Constraint

CALLS = ReleasedGains(calls=1)


# The released form


@pytest.mark.parametrize(('cost', 'after', 'digits', 'iterations'), [
    (40.0, {100: 0.009, 200: 0.08, 500: 0.38, 1000: 0.88}, {100: 3}, 39),
    (80.0, {100: 0.13, 200: 0.43, 500: 1.33, 1000: 2.83}, {}, 14)])
def test_released_form_gives_the_published_figures(cost: float, after: dict[int, float],
                                                   digits: dict[int, int], iterations: int
                                                   ) -> None:
    """The published forms of docs/concepts/constraints.md, limit 20, to every printed digit."""
    pid = ReleasedPID(20.0, CALLS)
    values = [pid.update(cost) for _ in range(1000)]
    for calls, printed in after.items():
        assert round(values[calls - 1], digits.get(calls, 2)) == printed
    reached = next(i + 1 for i, value in enumerate(values) if value >= 0.65)
    assert math.ceil(reached / 20) == iterations


@pytest.mark.parametrize(('cost', 'lowest'), [(25.0, 0.1), (40.0, 0.30), (80.0, 0.70)])
def test_released_gains_fall_before_they_rise(cost: float, lowest: float) -> None:
    pid = ReleasedPID(20.0, CALLS)
    gains = []
    for _ in range(300):
        pid.update(cost)
        gains.append(pid.kp / 5e-6)
    assert round(min(gains), 2) == lowest and gains[-1] > gains[0]


def test_released_gains_need_94_calls_from_the_floor_to_the_cap() -> None:
    pid = ReleasedPID(20.0, CALLS)
    for _ in range(3):
        pid.update(0.0)  # factor 1 - 9.95: without the clamp the gain would change its sign
        assert pid.kp == pytest.approx(5e-7)
    calls = 0
    while pid.kp < 5e-5 * (1 - 1e-9):
        pid.update(1e6)
        calls += 1
    assert 94 <= calls <= 97


def test_released_kd_never_falls_and_lambda_has_no_cap() -> None:
    pid = ReleasedPID(20.0, CALLS)
    rng = np.random.default_rng(0)
    gains = []
    for cost in rng.uniform(0.0, 400.0, 3000):
        pid.update(float(cost))
        gains.append(pid.kd)
    assert all(new >= old for old, new in pairwise(gains))
    assert pid.value > 20.0


def test_one_episode_is_as_many_calls_as_were_set() -> None:
    one, four = ReleasedPID(20.0, CALLS), ReleasedPID(20.0)
    for _ in range(8):
        one.update(55.0)
    four.update(55.0)
    assert four.update(55.0) == one.value


@pytest.mark.parametrize('bad', [math.nan, math.inf, -1.0])
def test_released_form_refuses_what_is_no_cost_and_changes_nothing(bad: float) -> None:
    pid = ReleasedPID(20.0)
    pid.update(30.0)
    before = pid.state_dict()
    for refuse in (pid.update, pid.set_limit):
        with pytest.raises(ValueError, match='finite'):
            refuse(bad)
    assert pid.state_dict() == before


def test_released_state_round_trips_through_json_and_refuses_nan() -> None:
    pid, other = ReleasedPID(20.0), ReleasedPID(1.0)
    for cost in (30.0, 80.0, 10.0):
        pid.update(cost)
    other.load_state_dict(json.loads(json.dumps(pid.state_dict())))
    assert other.update(70.0) == pid.update(70.0)
    with pytest.raises(ValueError, match='not finite'):
        other.load_state_dict({**pid.state_dict(), 'queue': [math.nan]})
    with pytest.raises(ValueError, match='not finite'):
        other.load_state_dict({**pid.state_dict(), 'queue': []})
    with pytest.raises(ValueError, match='differs'):
        other.load_state_dict({'value': 1.0})


# The safe form


def settled(limit: float, cost: float, episodes: int = 12, **gains: float) -> AdaptivePID:
    pid = AdaptivePID(limit, PIDGains(**gains))
    for _ in range(episodes):
        pid.update(cost)
    return pid


@pytest.mark.parametrize(('before', 'after'), [(20.0, 10.0), (10.0, 20.0), (5.0, 2.5), (5.0, 0.0)])
def test_lambda_is_continuous_when_an_operator_changes_the_limit(before: float, after: float
                                                                 ) -> None:
    """A kick of lambda is a kick of the policy, on an arm that moves."""
    cost = 0.9 * before
    pid, same = (settled(before, cost, rate=0.0) for _ in range(2))
    value = pid.value
    assert value > 0
    pid.set_limit(after)
    assert pid.value == value
    step = pid.update(cost) - same.update(cost)
    # What the excess adds by I, and by P through its smoothing, and nothing else.
    change = (cost - 0.7 * after) / max(after, 1.0) - (cost - 0.7 * before) / before
    assert step == pytest.approx((0.05 + 0.3 * 0.1) * change, abs=1e-9)
    assert pid.d_term == 0.0, 'the cost is what it was'


def test_lambda_is_continuous_when_kp_changes() -> None:
    pid = settled(5.0, 10.0, rate=0.0)
    value = pid.value
    pid.set_gains(PIDGains(kp=0.4, rate=0.0))
    assert pid.p_term + pid.i_term + pid.d_term == pytest.approx(value)
    assert pid.update(10.0) == pytest.approx(value + pid.ki * 1.3, abs=1e-3)


def test_integral_is_taken_back_at_the_cap() -> None:
    """Wound up over 500 episodes it would hold the arm back for as long."""
    pid, free = (settled(5.0, 100.0, 500, lambda_max=3.0, rate=0.0, kb=kb) for kb in (1.0, 0.0))
    assert pid.value == free.value == 3.0
    assert pid.i_term + pid.p_term == pytest.approx(3.0) and free.i_term > 400
    for _ in range(12):
        pid.update(0.0)
        free.update(0.0)
    assert pid.value < 1.0 and free.value == 3.0


def test_half_the_back_calculation_leaves_a_bounded_excess() -> None:
    pid = settled(5.0, 10.0, 500, lambda_max=3.0, rate=0.0, kb=0.5)
    # v - lambda_max settles where K_b of it is what K_i e adds; after the step half is left.
    assert pid.p_term + pid.i_term - 3.0 == pytest.approx(pid.ki * 1.3 * (1 / 0.5 - 1), rel=1e-6)


def test_integral_rests_within_the_deadband() -> None:
    pid = settled(10.0, 9.0, rate=0.0, deadband=0.25, kp=0.0)
    assert pid.i_term == 0.0, 'excess 0.2'
    pid.update(10.0)
    assert pid.i_term == pytest.approx(0.05 * (0.3 - 0.25)), 'continuous at its edge'


def test_derivative_is_of_the_cost_and_never_negative() -> None:
    pid = AdaptivePID(10.0, PIDGains(kp=0.0, ki=0.0, kd=1.0, rate=0.0))
    assert pid.update(5.0) == 0.0, 'the first cost is no jump'
    assert pid.update(15.0) == pytest.approx(0.3)
    assert pid.update(0.0) == 0.0


def test_each_gain_has_its_own_rate() -> None:
    for name in ('kp', 'ki', 'kd'):
        pid = AdaptivePID(5.0, PIDGains(**{'rate': 0.0}, **{}))
        pid.set_gains(PIDGains(**{f'{other}_rate': 0.05 * (other == name)
                                  for other in ('kp', 'ki', 'kd')}))
        for cost in (0.0, 60.0) * 10:
            pid.update(cost)
        changed = [other for other in ('kp', 'ki', 'kd')
                   if getattr(pid, other) != getattr(pid.gains, other)]
        assert changed == [name]


def test_a_step_limit_is_driven_in_its_own_unit() -> None:
    """In units of 1 an excess of 0.1 a step would hardly move lambda."""
    pid = AdaptivePID(0.05, unit=0.01)
    for _ in range(15):
        pid.update(0.10)
    assert pid.value > 0.5


# Accounts


class OneCost:
    constraint_names = ['near', 'corrections']

    def constraint_costs(self, observation: np.ndarray, action: np.ndarray,
                         effort: np.ndarray) -> np.ndarray:
        return np.array([observation[0], 0.0])


CONSTRAINTS = [Constraint(name='near', terms=['torque'], limit=5.0),
               Constraint(name='corrections', terms=['intervention'], limit=2.0)]


def steps(costs: EpisodeCosts, spent: list[float], versions: list[int], interventions: list[int],
          first: int = 0, episode: int = 0, ended: bool = True):  # type: ignore[no-untyped-def]
    for index, (cost, version, intervention) in enumerate(zip(spent, versions, interventions)):
        last = ended and index == len(spent) - 1
        yield costs.add(sequence=first + index, episode=episode, index=index,
                        flag=Flag.TRUNCATED if last else Flag.RUNNING,
                        observation=np.array([cost]), effort=np.zeros(1),
                        intervention=intervention), version, intervention


def test_an_episode_measured_at_once_is_what_its_records_measure() -> None:
    """`spaars train` has arrays, the cost monitor records: a limit means the same in both."""
    kinds = [Constraint(name=kind, kind=kind, terms=['torque'], limit=1.0)
             for kind in ('episode', 'discounted', 'step')]
    task = OneCost()
    task.constraint_names = ['a', 'b', 'c']
    task.constraint_costs = lambda observation, action, effort: np.repeat(observation, 3)
    costs = EpisodeCosts(task, kinds, gamma=0.9)
    spent = [9.0, 1.0, 0.0, 2.0, 3.0]  # the first record is of no transition
    *_, (last, _, _) = steps(costs, spent, [0] * 5, [0] * 5)
    per_step = np.repeat(np.asarray(spent[1:])[:, None], 3, 1)
    limits = EpisodeLimits([1.0, 1.0, 1.0], kinds, horizon=100, gamma=0.9)
    np.testing.assert_allclose(limits.measured(per_step), last.measured)
    np.testing.assert_allclose(last.measured, [6.0, 1.0 + 0.81 * 2.0 + 0.729 * 3.0, 1.5])
    small = EpisodeLimits([0.0, 0.0, 0.0], kinds, horizon=100)
    assert [controller.unit for controller in small.controllers] == [1.0, 1.0, 0.01]
    assert EpisodeLimits([]).measured(np.zeros((4, 0))).shape == (0,)
    assert EpisodeLimits([2.0]).measured(np.ones((4, 1))).tolist() == [4.0]
    np.testing.assert_allclose(last.at_least, [*last.measured[:2], 0.0])


def test_a_gap_hides_the_intervention_before_it() -> None:
    costs = EpisodeCosts(OneCost(), CONSTRAINTS)
    values = {'episode': 0, 'flag': Flag.RUNNING, 'observation': np.zeros(1),
              'effort': np.zeros(1)}
    costs.add(sequence=0, index=0, intervention=1, **values)
    after = costs.add(sequence=2, index=2, **values)
    assert after is not None and after.gap and after.total[1] == 0.0


def test_an_intervention_does_not_leak_into_the_next_episode() -> None:
    costs = EpisodeCosts(OneCost(), CONSTRAINTS)
    *_, (last, _, _) = steps(costs, [0.0, 0.0], [0, 0], [0, 1])
    (first, _, _), (second, _, _) = steps(costs, [0.0, 0.0], [0, 0], [0, 0], first=2, episode=1)
    assert last.total[1] == first.total[1] == second.total[1] == 0.0


def test_interventions_are_judged_by_whole_episodes_until_the_end() -> None:
    """One correction on the first tick is not all of an episode."""
    costs, judge = EpisodeCosts(OneCost(), CONSTRAINTS), VersionJudge(CONSTRAINTS, horizon=10)
    judge.intervention_share = 0.5
    breaches = [judge.add(cost, [5.0, 2.0], version=version, intervention=intervention)
                for cost, version, intervention in steps(
                    costs, [0.0] * 6, [1] * 6, [1, 1, 1, 0, 0, 0])]
    assert breaches[:5] == [None] * 5
    assert str(breaches[5]) == 'version 1: interventions 0.6 above 0.5'


def test_a_judge_that_is_off_judges_nothing() -> None:
    costs, judge = EpisodeCosts(OneCost(), CONSTRAINTS), VersionJudge(CONSTRAINTS, horizon=10)
    assert not any(judge.add(cost, [0.0, 0.0], version=version, intervention=intervention)
                   for cost, version, intervention in steps(
                       costs, [9.0] * 6, [1] * 6, [1] * 6))


def test_cost_does_not_add_up_over_episodes() -> None:
    costs, judge = EpisodeCosts(OneCost(), CONSTRAINTS), VersionJudge(CONSTRAINTS, horizon=10)
    judge.cost_multiple = 1.0
    for episode in range(4):
        assert not any(judge.add(cost, [5.0, 2.0], version=version, intervention=intervention)
                       for cost, version, intervention in steps(
                           costs, [0.0, 2.0, 2.0], [1] * 3, [0] * 3, 3 * episode, episode))


# Another run


def another(watch: RunWatch, sequence: int, stamp: float) -> bool:
    """Give the watch a record of one endless episode."""
    watch.take({'sequence': sequence, 'stamp': stamp, 'episode': 0, 'index': sequence})
    return watch.another


def test_a_step_sent_again_is_no_other_run_and_a_reused_number_is() -> None:
    watch = RunWatch()
    assert not any(another(watch, i, 100.0 + i) for i in range(5000))
    assert not any(another(watch, i, 100.0 + i) for i in (0, 3, 999, 2500, 4990))
    # Alone it may be forged; its successor makes it another run.
    assert not another(watch, 4990, 7.0)
    assert another(watch, 4991, 8.0)
    assert not another(watch, 0, 3.0 * 100)
    assert another(watch, 1, 301.0)
    assert not another(watch, 2, 302.0)


def test_a_run_joined_in_the_middle_may_be_fetched_from_its_beginning() -> None:
    watch = RunWatch()
    assert not any(another(watch, i, float(i)) for i in (40, 41, 42))
    assert not any(another(watch, i, float(i)) for i in (0, 39))
    assert not another(watch, 10, 50.0)
    assert another(watch, 11, 51.0), 'newer than everything seen'
