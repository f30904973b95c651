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

"""The cost monitor over real topics: one test a failure mode."""

from collections.abc import Callable
from collections.abc import Iterator
import errno
import json
import os
from pathlib import Path
import re
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
import yaml

from spaars_ros.constraints.published_pid import ReleasedGains
from spaars_ros.constraints.published_pid import ReleasedPID
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import RobotState
from spaars_ros.data.schema import StepSchema
from spaars_ros.nodes.cost_monitor.node import CostMonitor
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.tasks.base import World
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

pytestmark = pytest.mark.timeout(60)

OK = TransitionCallbackReturn.SUCCESS
LIMIT = 5.0


class Rig(Node):
    """Publishes step records; hears costs and multipliers; offers an emergency stop."""

    def __init__(self, monitor: CostMonitor) -> None:
        super().__init__('rig')
        self.monitor = monitor
        robot = load_robot()
        task = ReachTask(robot, load_task())
        self.schema = StepSchema(observation=task.observation_dim, latent=5, action=7)
        self.codec = ArrayCodec(self.schema)
        state = RobotState(0, np.array(robot.home), np.zeros(7), np.zeros(7))
        self.observation = task.observe(World(state, Kinematics(robot)), np.array([0.6, 0.0, 0.3]))
        self.over = 2.0 * np.array(robot.limits.torque)
        self.sequence = self.episode = 0
        self.costs: list[dict[str, Any]] = []
        self.multipliers: list[dict[str, Any]] = []
        self.stops = self.rollbacks = 0
        self.refuse = 0
        self.parent = True
        self.reason = 'no parent'
        self.diagnoses: list[str] = []
        self.steps = self.create_publisher(Float64MultiArray, 'policy_server/step',
                                           QOS['policy_server/step'])
        self._hear('cost_monitor/cost', self.costs)
        self._hear('cost_monitor/multiplier', self.multipliers)
        self.create_service(Trigger, 'policy_server/estop', self._on_estop)
        self.create_service(Trigger, 'policy_server/rollback', self._on_rollback)
        self.values: dict[str, str] = {}
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics,
                                 QOS['/diagnostics'])
        self.executor_ = SingleThreadedExecutor()
        self.executor_.add_node(self)
        self.executor_.add_node(monitor)

    def _hear(self, topic: str, into: list[dict[str, Any]]) -> None:
        self.create_subscription(
            Float64MultiArray, topic,
            lambda msg: into.append(ArrayCodec.of_message(msg).decode(msg)), QOS[topic])

    def _on_estop(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        self.stops += 1
        response.success = self.stops > self.refuse
        return response

    def _on_rollback(self, request: Trigger.Request, response: Trigger.Response
                     ) -> Trigger.Response:
        self.rollbacks += 1
        response.success = self.parent
        response.message = '' if self.parent else self.reason
        return response

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.diagnoses.append(msg.status[0].message)
        self.values = values_of(msg.status[0])

    def spin_until(self, true: Callable[[], Any], timeout: float = 10.0) -> None:
        end = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < end, f'not within {timeout} s'
            self.executor_.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor_.spin_once(timeout_sec=0.02)

    def step(self, index: int, *, cost: bool = False, flag: Flag = Flag.RUNNING,
             **values: Any) -> None:
        row = self.schema.row(**{
            'sequence': self.sequence, 'episode': self.episode, 'index': index, 'flag': flag,
            'observation': self.observation, 'effort': self.over if cost else 0.0 * self.over,
            **values})
        self.sequence += 1
        self.steps.publish(self.codec.encode(row))

    def run_episode(self, cost: int, *, flag: Flag = Flag.TRUNCATED, gap: bool = False) -> None:
        self.step(0, cost=True)  # no action led here: it does not count
        for index in range(1, 15):
            if gap and index == 7:
                self.sequence += 1
                continue
            self.step(index, cost=index <= cost)
        self.step(15, flag=flag)
        last = self.sequence - 1
        self.spin_until(lambda: self.costs and self.costs[-1]['sequence'][0] == last)
        self.episode += 1


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=next(DOMAINS))
    rigs: list[Rig] = []

    def make(active: bool = True, **overrides: Any) -> Rig:
        rig = Rig(CostMonitor(**overrides))
        rigs.append(rig)
        if active:
            assert rig.monitor.trigger_configure() == OK
            assert rig.monitor.trigger_activate() == OK
            rig.spin_until(lambda: rig.multipliers and rig.steps.get_subscription_count())
        return rig

    yield make
    for rig in rigs:
        rig.monitor.finish()
        rig.executor_.shutdown(timeout_sec=1.0)
        rig.monitor.destroy_node()
        rig.destroy_node()
    rclpy.try_shutdown()


def robot_file(folder: Path, constraints: list[dict[str, Any]]) -> str:
    shipped = load_robot()
    content = yaml.safe_load(Path(shipped.source).read_text())
    content.update(model=str(shipped.model_path), constraints=constraints)
    path = folder / 'robot.yaml'
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_cost_over_the_limit_raises_the_multiplier_and_under_it_lowers_it(
        start: Callable[..., Rig]) -> None:
    rig = start()
    assert rig.multipliers[0]['multiplier'] == 0.0 and rig.multipliers[0]['limit'] == LIMIT
    for _ in range(3):
        rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 4)
    assert rig.costs[-1]['episode_cost'][0] == 10.0
    values = [float(m['multiplier'][0]) for m in rig.multipliers]
    assert values == sorted(values) and values[-1] > 0.2
    for _ in range(8):
        rig.run_episode(0)
    rig.spin_until(lambda: len(rig.multipliers) == 12)
    assert rig.multipliers[-1]['multiplier'][0] < 0.5 * values[-1]


def test_a_step_delivered_twice_is_counted_once(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.step(0)
    rig.step(1, cost=True)
    rig.sequence -= 1
    rig.step(1, cost=True)
    rig.step(2, cost=True)
    rig.spin_until(lambda: rig.costs and rig.costs[-1]['sequence'][0] == 2)
    # The answer is given again: a server that asks twice may not have heard it.
    assert [int(c['sequence'][0]) for c in rig.costs] == [0, 1, 1, 2]
    assert [c['episode_cost'][0] for c in rig.costs] == [0.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize(('cost', 'how'), [
    (4, {'flag': Flag.ABORTED}), (12, {'gap': True}), (12, {'gap': True, 'flag': Flag.ABORTED})])
def test_an_aborted_cheap_or_an_incomplete_episode_leaves_the_multiplier_alone(
        start: Callable[..., Rig], cost: int, how: dict[str, Any]) -> None:
    rig = start()
    rig.run_episode(cost, **how)
    rig.spin_for(0.3)
    assert len(rig.multipliers) == 1 and not rig.costs[-1]['valid'][0]
    rig.run_episode(12)
    rig.spin_until(lambda: len(rig.multipliers) == 2)


def test_an_episode_that_was_cut_short_above_the_limit_raises_the_multiplier(
        start: Callable[..., Rig]) -> None:
    """A hard stop ends just those episodes: lambda would hear of the cheap ones alone."""
    rig = start()
    rig.run_episode(12, flag=Flag.ABORTED)
    rig.spin_until(lambda: len(rig.multipliers) == 2)
    assert not rig.costs[-1]['valid'][0]
    assert rig.multipliers[-1]['multiplier'][0] > 0.0
    assert rig.multipliers[-1]['cost'][0] == 12.0


def test_an_episode_joined_in_the_middle_leaves_the_multiplier_alone(start: Callable[..., Rig]
                                                                     ) -> None:
    rig = start()
    rig.sequence = 40
    rig.step(8, cost=True)
    rig.step(9, flag=Flag.TRUNCATED)
    rig.spin_until(lambda: rig.costs and rig.costs[-1]['ended'][0])
    assert not rig.costs[-1]['valid'][0] and len(rig.multipliers) == 1


def test_cost_limit_takes_effect_while_running_without_a_kick(start: Callable[..., Rig]) -> None:
    rig = start()
    for _ in range(3):
        rig.run_episode(8)
    rig.spin_until(lambda: len(rig.multipliers) == 4)
    before = rig.multipliers[-1]['multiplier'][0]
    assert rig.monitor.set_parameters([Parameter('cost_limit', value=4)])[0].successful
    rig.spin_until(lambda: len(rig.multipliers) == 5)
    assert rig.multipliers[-1]['limit'][0] == 4.0
    assert rig.multipliers[-1]['multiplier'][0] == before
    rig.run_episode(8)
    rig.spin_until(lambda: len(rig.multipliers) == 6)
    assert before < rig.multipliers[-1]['multiplier'][0] < before + 0.5


def test_violation_rate_takes_effect_while_running_and_counts_episodes_not_their_cost(
        start: Callable[..., Rig]) -> None:
    rises = []
    for cost in (6, 12):
        rig = start()
        rig.run_episode(0)
        rig.spin_until(lambda rig=rig: len(rig.multipliers) == 2)
        assert rig.monitor.set_parameters([Parameter('violation_rate', value=0.1)])[0].successful
        rig.run_episode(cost)
        rig.spin_until(lambda rig=rig: rig.multipliers[-1]['multiplier'][0] > 0.0)
        rises.append(float(rig.multipliers[-1]['multiplier'][0]))
        rig.monitor.finish()
    assert rises[0] == rises[1]


@pytest.mark.parametrize(('name', 'value'), [
    ('cost_limit', float('nan')), ('cost_limit', -1.0), ('cost_limit', 'five'),
    ('kp', float('inf')), ('lambda_max', -1.0), ('robot', 'other')])
def test_a_bad_parameter_is_refused_and_changes_nothing(start: Callable[..., Rig], name: str,
                                                        value: Any) -> None:
    rig = start()
    before = rig.monitor.values()
    result = rig.monitor.set_parameters_atomically([Parameter('ki', value=0.7),
                                                    Parameter(name, value=value)])
    assert not result.successful and name in result.reason
    rig.spin_for(0.2)
    assert rig.monitor.values() == before and len(rig.multipliers) == 1
    assert rig.monitor._multipliers.controllers[0].gains.ki == before['ki']


def test_hard_limit_stops_the_robot_once_an_episode(start: Callable[..., Rig]) -> None:
    rig = start(stop_cost=3.0)
    rig.run_episode(3)
    rig.spin_for(0.2)
    assert rig.stops == 0, 'at the limit is not above it'
    rig.run_episode(8)
    rig.spin_until(lambda: rig.stops == 1)
    rig.spin_for(0.2)
    assert rig.stops == 1
    rig.run_episode(8)
    rig.spin_until(lambda: rig.stops == 2)


def test_another_run_is_stopped_at_the_episodes_that_the_first_was(start: Callable[..., Rig]
                                                                   ) -> None:
    rig = start(stop_cost=3.0)
    for run in (1, 2):
        rig.sequence = 0
        for index in range(8):
            rig.step(index, stamp=100.0 * run + index, cost=True)
        rig.spin_until(lambda wanted=run: rig.stops == wanted)  # type: ignore[misc]
        rig.spin_until(lambda: 0 in rig.monitor._stop.done)


def test_a_stop_that_the_server_refused_is_asked_for_again(start: Callable[..., Rig]) -> None:
    rig = start(stop_cost=3.0)
    rig.refuse = 1
    rig.step(0)
    for index in range(1, 9):
        rig.step(index, cost=True)
        rig.spin_for(0.15)
    rig.spin_until(lambda: rig.stops == 2)
    rig.spin_until(lambda: 0 in rig.monitor._stop.done)
    rig.spin_for(0.6)
    rig.step(9, cost=True)
    rig.spin_for(0.3)
    assert rig.stops == 2


@pytest.mark.parametrize('begins', [200.0, 0.0])
def test_another_run_is_said_and_counted_anew(start: Callable[..., Rig], begins: float) -> None:
    """It counts from 0 again: as duplicates its costs would go unnoticed, the limit unkept."""
    rig = start()
    rig.step(0, stamp=100.0)
    for index in range(1, 4):
        rig.step(index, stamp=100.0 + index, cost=True)
    rig.spin_until(lambda: len(rig.costs) == 4)
    rig.sequence = 1
    rig.step(1, stamp=101.0)  # fetched by a learner: nothing to say about
    rig.spin_for(0.2)
    assert not rig.monitor._problem and len(rig.costs) == 4
    rig.sequence = 0
    for index in range(3):
        rig.step(index, stamp=begins + index, cost=True, flag=Flag(2 * (index == 2)))
    rig.spin_until(lambda: len(rig.costs) == 7)
    assert [c['episode_cost'][0] for c in rig.costs[4:]] == [0.0, 1.0, 2.0]
    assert rig.costs[-1]['valid'][0]
    rig.spin_until(lambda: any('another run' in message for message in rig.diagnoses))
    rig.spin_until(lambda: rig.values['other_runs'] == '1')


def test_a_version_that_breaks_its_cost_bound_is_rolled_back_once(start: Callable[..., Rig]
                                                                  ) -> None:
    rig = start(rollback_cost=2.0)
    rig.step(0, bundle_version=7)
    for index in range(1, 14):
        rig.step(index, cost=True, bundle_version=7)
        if index == 10:
            rig.spin_for(0.3)
            assert rig.rollbacks == 0, 'twice the limit of 5 is not above it'
    rig.spin_until(lambda: rig.rollbacks == 1)
    rig.spin_for(1.0)
    rig.step(14, cost=True, bundle_version=7)
    rig.spin_until(lambda: 'rolled back' in rig.values.get('rollback', ''))
    assert re.fullmatch(r'version 7: cost 1[1-3] above 10, rolled back', rig.values['rollback'])
    assert rig.rollbacks == 1


def test_a_version_does_not_answer_for_the_one_before_it(start: Callable[..., Rig]) -> None:
    """Else a good new version is rolled back to the bad one that it replaced."""
    rig = start(rollback_cost=2.0)
    rig.step(0, bundle_version=7)
    for index in range(1, 21):  # 10 of version 7's making, 10 of version 8's
        rig.step(index, cost=True, bundle_version=7 if index < 10 else 8)
    rig.spin_until(lambda: len(rig.costs) == 21)
    rig.spin_for(0.2)
    assert rig.costs[-1]['episode_cost'][0] == 20.0 and rig.rollbacks == 0
    rig.step(21, cost=True, bundle_version=8)
    rig.spin_until(lambda: rig.rollbacks == 1)
    rig.spin_until(lambda: rig.values.get('rollback', '').startswith('version 8: cost 11'))


def test_interventions_roll_a_version_back_and_a_refusal_is_named(start: Callable[..., Rig]
                                                                  ) -> None:
    rig = start(rollback_interventions=0.5)
    rig.parent = False
    for intervened in (5, 6):
        for index in range(11):
            rig.step(index, bundle_version=3, intervention=2 * (index < intervened),
                     flag=Flag(2 * (index == 10)))
        rig.episode += 1
        rig.spin_until(lambda: len(rig.costs) == 11 * rig.episode)
        if intervened == 6:
            rig.spin_until(lambda: rig.rollbacks > 0)
        rig.spin_for(0.3)
        assert rig.rollbacks == (intervened == 6)
    rig.spin_until(lambda: 'not rolled back' in rig.values.get('rollback', ''))
    assert rig.values['rollback'] == \
        'version 3: interventions 0.6 above 0.5, not rolled back: no parent'


def test_an_episode_that_was_cut_short_says_nothing_of_its_share_of_interventions(
        start: Callable[..., Rig]) -> None:
    """Two corrections in the two ticks before an estop are not all of an episode."""
    rig = start(rollback_interventions=0.5)
    for index in range(3):
        rig.step(index, bundle_version=3, intervention=2 * (index < 2),
                 flag=Flag.RUNNING if index < 2 else Flag.ABORTED)
    rig.spin_for(0.4)
    assert len(rig.costs) == 3 and rig.rollbacks == 0


def test_a_rollback_that_an_inactive_server_refused_is_asked_for_again(start: Callable[..., Rig]
                                                                       ) -> None:
    rig = start(rollback_interventions=0.5)
    rig.parent = False
    rig.reason = 'the policy server is not active'
    for episode in range(2):
        for index in range(11):
            rig.step(index, bundle_version=3, intervention=2, flag=Flag(2 * (index == 10)))
        rig.spin_until(lambda: rig.rollbacks > episode)
        rig.spin_for(0.6)
        rig.episode += 1
    assert rig.rollbacks >= 2


def test_an_intervention_costs_when_its_action_has_been_executed(
        start: Callable[..., Rig], tmp_path: Path) -> None:
    robot = robot_file(tmp_path, [
        {'name': 'cost', 'terms': ['torque'], 'limit': 5.0},
        {'name': 'corrections', 'terms': ['intervention'], 'limit': 0.25, 'kind': 'step'}])
    rig = start(robot=robot)
    rig.step(0, intervention=1)
    rig.step(1)
    rig.step(2, intervention=34)
    rig.step(3)
    rig.step(4, flag=Flag.TRUNCATED)
    rig.spin_until(lambda: len(rig.multipliers) == 2)
    assert [c['cost'][1] for c in rig.costs] == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert rig.costs[-1]['episode_cost'].tolist() == [0.0, 2.0]
    assert rig.multipliers[-1]['cost'].tolist() == [0.0, 0.5], 'a mean over 4 steps'
    assert rig.multipliers[-1]['multiplier'][1] > 0
    result = rig.monitor.set_parameters([Parameter('corrections.cost_limit', value=0.5)])
    assert result[0].successful
    rig.spin_until(lambda: rig.multipliers[-1]['limit'][1] == 0.5)


def test_a_discounted_limit_is_held_against_the_discounted_cost(start: Callable[..., Rig],
                                                                tmp_path: Path) -> None:
    robot = robot_file(tmp_path, [{'name': 'cost', 'terms': ['torque'], 'limit': 1.0,
                                   'kind': 'discounted'}])
    rig = start(robot=robot, gamma=0.5)
    rig.step(0)
    for index in range(1, 5):
        rig.step(index, cost=True)
    rig.step(5, flag=Flag.TRUNCATED)
    rig.spin_until(lambda: len(rig.multipliers) == 2)
    assert rig.costs[-1]['episode_cost'][0] == 4.0
    assert rig.costs[-1]['discounted_cost'][0] == rig.multipliers[-1]['cost'][0] == 1.875


def test_an_abort_does_not_count_the_last_state_twice(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.step(0, stamp=1.0)
    rig.step(1, stamp=2.0, cost=True)
    rig.step(2, stamp=2.0, cost=True, flag=Flag.ABORTED)
    rig.spin_until(lambda: len(rig.costs) == 3)
    assert rig.costs[-1]['episode_cost'][0] == 1.0


def test_released_form_is_selectable_and_survives_a_restart(start: Callable[..., Rig],
                                                            tmp_path: Path) -> None:
    rig = start(pid_form='released', released_gain=1e-3, run_dir=str(tmp_path))
    rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 2)
    expected = ReleasedPID(LIMIT, ReleasedGains(gain=1e-3)).update(10.0)
    assert rig.multipliers[-1]['multiplier'][0] == pytest.approx(expected) and expected > 0
    rig.monitor.finish()
    again = CostMonitor(pid_form='released', released_gain=1e-3, run_dir=str(tmp_path))
    rig.executor_.add_node(again)
    assert again.trigger_configure() == OK and again.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.multipliers) == 3)
    for name in ('multiplier', 'kp', 'i'):
        assert rig.multipliers[-1][name] == rig.multipliers[-2][name]
    again.finish()
    again.destroy_node()


def test_nan_in_a_step_is_refused_and_spoils_its_episode(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.step(0)
    bad = rig.observation.copy()
    bad[3] = np.nan
    rig.step(1, observation=bad)
    rig.step(2, flag=Flag.TRUNCATED)
    rig.spin_until(lambda: rig.costs and rig.costs[-1]['sequence'][0] == 2)
    assert not rig.costs[-1]['valid'][0] and len(rig.multipliers) == 1


def test_steps_of_another_robot_are_refused(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.steps.publish(ArrayCodec(StepSchema(observation=12, latent=2, action=3)).encode(
        np.zeros(StepSchema(observation=12, latent=2, action=3).width)))
    rig.spin_until(lambda: rig.monitor._border.refused.total() == 1)
    rig.run_episode(2)
    assert rig.costs[-1]['episode_cost'][0] == 2.0


def test_multiplier_survives_a_restart_in_the_same_run_folder(start: Callable[..., Rig],
                                                              tmp_path: Path) -> None:
    rig = start(run_dir=str(tmp_path))
    for _ in range(3):
        rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 4)
    rig.monitor.finish()
    again = CostMonitor(run_dir=str(tmp_path))
    rig.executor_.add_node(again)
    assert again.trigger_configure() == OK and again.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.multipliers) == 5)
    assert rig.multipliers[-1]['multiplier'] == rig.multipliers[-2]['multiplier'] > 0
    again.finish()
    again.destroy_node()


def test_multiplier_of_a_file_of_before_bounds_were_kept_is_read(start: Callable[..., Rig],
                                                                  tmp_path: Path) -> None:
    rig = start(run_dir=str(tmp_path))
    rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 2)
    path = tmp_path / 'cost_monitor.json'
    path.write_text(json.dumps(json.loads(path.read_text())['controllers']))
    again = started_again(rig, run_dir=str(tmp_path))
    assert rig.multipliers[-1]['multiplier'] == rig.multipliers[-2]['multiplier'] > 0
    again.finish()
    again.destroy_node()


def started_again(rig: Rig, **overrides: Any) -> CostMonitor:
    """Return a second monitor where the rig's has ended."""
    rig.monitor.finish()
    heard = len(rig.multipliers)
    again = CostMonitor(**overrides)
    rig.executor_.add_node(again)
    assert again.trigger_configure() == OK and again.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.multipliers) > heard and rig.steps.get_subscription_count())
    return again


def test_records_of_before_a_restart_are_not_counted_again(start: Callable[..., Rig],
                                                           tmp_path: Path) -> None:
    """They are sent again to a learner that missed them, and cost nothing now."""
    rig = start(run_dir=str(tmp_path))
    begins = [rig.sequence]
    for _ in range(3):
        begins.append(begins[-1] + 16)
        rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 4)
    again = started_again(rig, run_dir=str(tmp_path), stop_cost=8.0)
    known, costs = rig.multipliers[-1]['multiplier'], len(rig.costs)
    rig.sequence, rig.episode = begins[1], 1
    for episode in (1, 2):
        for index in range(16):
            rig.step(index, cost=True, flag=Flag(2 * (index == 15)), episode=episode)
    rig.spin_for(0.5)
    assert len(rig.costs) == costs and rig.stops == 0
    rig.episode = 3
    rig.run_episode(0)  # the next of this run counts
    rig.spin_until(lambda: rig.multipliers[-1]['episode'][0] == 3)
    assert rig.multipliers[-1]['multiplier'] < known
    again.finish()
    again.destroy_node()


def test_another_run_in_the_same_folder_is_counted_from_its_beginning(start: Callable[..., Rig],
                                                                      tmp_path: Path) -> None:
    """Its numbers begin anew, and taken for those of before nothing would cost anything."""
    rig = start(run_dir=str(tmp_path))
    rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 2)
    again = started_again(rig, run_dir=str(tmp_path))
    costs, rig.sequence = len(rig.costs), 0
    for index in range(3):
        rig.step(index, cost=True, stamp=1000.0 + index)
    rig.spin_until(lambda: len(rig.costs) == costs + 3)
    assert rig.costs[-1]['episode_cost'][0] == 2.0
    again.finish()
    again.destroy_node()


def test_a_bound_that_was_set_while_running_is_missed_aloud_after_a_restart(
        start: Callable[..., Rig], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rig = start(run_dir=str(tmp_path), rollback_cost=3.0)
    result = rig.monitor.set_parameters([Parameter('stop_cost', value=20.0),
                                         Parameter('cost_limit', value=2.5)])
    assert all(each.successful for each in result)
    again = started_again(rig, run_dir=str(tmp_path), rollback_cost=2.0)
    said = capfd.readouterr().err
    assert 'stop_cost is off, it was 20 before' in said and 'it was 2.5 before' in said
    assert 'rollback_cost' not in said, 'that is stricter now'
    rig.spin_until(lambda: rig.diagnoses and 'stop_cost is off' in rig.diagnoses[-1])
    rig.run_episode(0)  # which writes the file again
    third = started_again(_with(rig, again), run_dir=str(tmp_path))
    assert 'stop_cost is off, it was 20 before' in capfd.readouterr().err
    third.set_parameters([Parameter('stop_cost', value=30.0)])
    rig.spin_until(lambda: rig.diagnoses and 'stop_cost' not in rig.diagnoses[-1])
    for monitor in (again, third):
        monitor.finish()
        monitor.destroy_node()


def _with(rig: Rig, monitor: CostMonitor) -> Rig:
    rig.monitor, ended = monitor, rig.monitor
    ended.destroy_node()
    return rig


def test_steps_of_another_layout_are_read_after_one_that_is_refused(start: Callable[..., Rig]
                                                                    ) -> None:
    """Another algorithm's policy has other latents; the limits have to hold for it too."""
    rig = start()
    rig.run_episode(2)
    rig.schema = StepSchema(observation=len(rig.observation), latent=8, action=7)
    rig.codec = ArrayCodec(rig.schema)
    costs = len(rig.costs)
    for index in range(4):
        rig.step(index, cost=True)
    rig.spin_until(lambda: len(rig.costs) == costs + 3)  # the first was refused
    assert rig.monitor._border.refused.total() == 1 and rig.costs[-1]['episode_cost'][0] == 3.0


def test_a_robot_file_without_constraints_has_a_monitor(start: Callable[..., Rig],
                                                        tmp_path: Path) -> None:
    rig = start(active=False, robot=robot_file(tmp_path, []))
    assert rig.monitor.trigger_configure() == OK and rig.monitor.trigger_activate() == OK
    rig.spin_until(lambda: rig.steps.get_subscription_count())
    rig.step(0)
    rig.step(1, flag=Flag.TRUNCATED)
    rig.spin_until(lambda: len(rig.costs) == 2)
    rig.spin_until(lambda: rig.diagnoses)
    assert rig.costs[-1]['ended'][0] and rig.diagnoses[-1] == 'within limits'


@pytest.mark.parametrize('content', [
    '', '{"cost": 1}', '{"controllers": {"cost": 1}}', '{"cost": {"kp": 1}}', '[]', '[null]'])
def test_a_damaged_state_is_refused_by_its_file_name(
        start: Callable[..., Rig], tmp_path: Path, capfd: pytest.CaptureFixture[str],
        content: str) -> None:
    path = tmp_path / 'cost_monitor.json'
    path.write_text(content)
    rig = start(active=False, run_dir=str(tmp_path))
    assert rig.monitor.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert f'configure refused: {path}' in capfd.readouterr().err
    assert rig.monitor.set_parameters([Parameter('stop_cost', value=9.0)])[0].successful
    assert path.read_text() == content, 'what is in it may still be of use'


def test_a_state_that_the_disk_refused_does_not_replace_the_one_before(
        start: Callable[..., Rig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = start(run_dir=str(tmp_path))
    rig.run_episode(10)
    path = tmp_path / 'cost_monitor.json'
    rig.spin_until(path.exists)
    before = path.read_text()

    def refuse(number: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, 'fsync', refuse)
    rig.run_episode(10)
    rig.spin_until(lambda: len(rig.multipliers) == 3)
    rig.spin_until(lambda: rig.diagnoses and 'cost_monitor.json' in rig.diagnoses[-1])
    assert path.read_text() == before


def test_configure_fails_without_the_robot_file(start: Callable[..., Rig]) -> None:
    rig = start(active=False, robot='nobody')
    assert rig.monitor.trigger_configure() == TransitionCallbackReturn.FAILURE
