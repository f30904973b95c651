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

"""The budget of an episode: what happens once its cost limit is spent."""

import numpy as np
import pytest

from spaars_ros.constraints.costs import transition_costs
from spaars_ros.control.budget import EpisodeBudget
from spaars_ros.data.schema import Budget
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.zones import distance_and_normal
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

LIMIT = 5.0


class Costs:
    """A task whose states say themselves what they cost."""

    def constraint_costs(self, after, action, effort):
        return np.asarray(after)


def spend(mode, costs, **changes):
    """Return budget and standing after states of these costs."""
    limits = [Constraint(name='cost', terms=['zone_margin'], limit=LIMIT, **changes)]
    budget = EpisodeBudget(Costs(), limits, 100, mode)
    standing = [budget.reached(np.zeros(1), np.zeros(7))]
    for cost in costs:
        budget.took(np.zeros(7), 0, Mode.LATENT)
        said = budget.reached(np.array([cost]), np.zeros(7))
        standing.append(budget.counted())
        assert mode == 'warn' or said is standing[-1], 'before the command'
    return budget, standing


def test_an_episode_within_its_limit_is_left_alone():
    assert set(spend('hold', [1.0, 0.0, 1.0, 1.0])[1]) == {Budget.WITHIN}
    assert set(spend('off', [9.0] * 9)[1]) == {Budget.WITHIN}


def test_warn_marks_what_is_over_the_limit_and_hold_begins_before_it():
    assert spend('warn', [1.0] * 6)[1] == [Budget.WITHIN] * 6 + [Budget.WARNED]
    assert spend('hold', [1.0] * 4)[1] == [Budget.WITHIN] * 4 + [Budget.HELD]


def test_a_held_episode_ends_before_the_tick_that_would_go_over():
    assert not spend('hold', [1.0] * 4)[0].ends
    assert spend('hold', [1.0] * 5)[0].ends
    assert not spend('hold', [1.0] * 5 + [0.0])[0].ends  # cost does not go on


def test_a_limit_per_step_is_a_budget_of_the_whole_episode():
    assert spend('hold', [], kind='step')[0].limits.tolist() == [500.0]


def test_a_cost_that_is_no_number_counts_as_a_violation():
    assert spend('hold', [float('nan')] * 4)[1][-1] is Budget.HELD


def test_what_was_spent_is_forgotten_with_the_episode():
    budget, _ = spend('hold', [1.0] * 5)
    budget.begin()
    assert budget.reached(np.array([1.0]), np.zeros(7)) is Budget.WITHIN


@pytest.fixture(scope='module')
def robot():
    """Every tick near the arm's start costs."""
    robot = load_robot()
    return robot.model_copy(update={'near_speed': 0.02, 'near_zone': 5.0, 'constraints': [
        Constraint(name='cost', terms=['tip_speed'], limit=LIMIT)]})


def episode(robot, budget):
    """Return schema, rows and cost of an episode with large exploration noise."""
    task = make_task(robot, load_task())
    bundle = untrained_bundle(robot, task, load_training('spaars', width=8, explore_latent=2.0))
    rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=0, explore=True, budget=budget)
    rows = rollouts.episode()
    cost = transition_costs(task, robot.constraints, rollouts.schema, rows).sum()
    return rollouts.schema, rows, float(cost)


def test_held_the_arm_stays_within_a_limit_that_it_breaks_without(robot):
    schema, rows, free = episode(robot, 'off')
    assert free > LIMIT and not schema.get(rows, 'budget').any()
    schema, rows, cost = episode(robot, 'warn')
    assert cost == free and schema.get(rows, 'budget').max() == Budget.WARNED
    schema, rows, cost = episode(robot, 'hold')
    assert cost <= LIMIT
    assert schema.get(rows, 'budget').max() == Budget.HELD
    if len(rows) <= make_task(robot, load_task()).horizon:
        assert schema.get(rows[-1], 'flag') == Flag.TRUNCATED
        assert schema.get(rows[-1], 'outcome') == Outcome.FAILURE


def test_held_the_tip_stays_out_of_the_zones_margin():
    """The barrier is at the margin then; a command straight into the zone is what is asked."""
    robot = load_robot()
    zone = robot.keep_out[0]
    least = {}
    for kept in (False, True):
        arm, guard = Arm(robot), SafetyFilter(robot)
        guard.reset(arm.state())
        guard.keep_margin(kept)
        gaps, kinematics = [], Kinematics(robot)
        for _ in range(300):
            state = arm.state()
            gap, outward = distance_and_normal(zone, *arm.tip().tolist())
            gaps.append(gap)
            jacobian = kinematics.turn_and_jacobian(state.position)[1][:3]
            command = -0.15 * np.linalg.pinv(jacobian) @ np.asarray(outward)
            arm.step(guard.apply(command, state).command)
        least[kept] = min(gaps)
    assert least[True] > robot.zone_margin > least[False]
