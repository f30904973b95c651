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

"""The policy server with the simulated arm and its sensors: samples, stops, channels, success."""

import time

from diagnostic_msgs.msg import DiagnosticArray
from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import Bool
from std_msgs.msg import Float64
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.policy_server.node import PolicyServer
from spaars_ros.nodes.sim.node import SimNode
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

pytestmark = pytest.mark.timeout(120)

ROBOTS = {'insert': 'panda_peg', 'pick': 'panda_gripper'}


@pytest.fixture(scope='module')
def bundles(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp('bundles'), {}
    for task, name in ROBOTS.items():
        robot = load_robot(name)
        found[task] = folder / f'{task}.spaars'
        save_bundle(untrained_bundle(robot, make_task(robot, load_task(task)), load_training()),
                    found[task])
    robot = load_robot('panda_gripper').model_copy(update={'constraints': []})
    found['other'] = folder / 'other.spaars'
    save_bundle(untrained_bundle(robot, make_task(robot, load_task()), load_training()),
                found['other'])
    return found


class Rig:
    """Simulation and policy server in lockstep, and ears."""

    def __init__(self, task, bundle, folder, *, file='', robot='', sim=True, **parameters):
        rclpy.init(args=[], domain_id=next(DOMAINS))
        both = {'robot': robot or ROBOTS[task], 'task': file or task}
        self.ears = rclpy.create_node('ears')
        self.executor = SingleThreadedExecutor()
        self.steps, self.codes, self.diagnostics, self.schema = [], [''], [], None
        reader = StepReader()

        def on_step(msg):
            self.schema, row = reader.read(msg)
            self.steps.append(self.schema.view(row))
        self.ears.create_subscription(Float64MultiArray, 'policy_server/step', on_step,
                                      QOS['policy_server/step'])
        self.ears.create_subscription(
            DiagnosticArray, 'policy_server/status',
            lambda msg: self.codes.append(values_of(msg.status[0])['code']),
            QOS['policy_server/status'])
        self.ears.create_subscription(
            DiagnosticArray, '/diagnostics',
            lambda msg: self.diagnostics.append(msg.status[0].message), QOS['/diagnostics'])
        self.server = PolicyServer(**both, bundle=str(bundle), run_dir=str(folder / 'run'),
                                   trigger='joint_states', cost_monitor='off',
                                   reset_service='sim/reset', discovery_time=0.0,
                                   **{'use_sim_time': True, 'controller_time': 2.0,
                                      **parameters})
        self.nodes = [self.server]
        if sim:
            self.sim = SimNode(**both)
            self.nodes.append(self.sim)
        for node in (*self.nodes, self.ears):
            self.executor.add_node(node)

    def start(self):
        for node in reversed(self.nodes):
            assert node.trigger_configure().name == 'SUCCESS'
        for node in reversed(self.nodes):
            assert node.trigger_activate().name == 'SUCCESS'
            self.spin_for(0.4)  # the server refuses to begin before it has seen /clock go on
        return self

    def spin_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, done, seconds=30.0):
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        assert done(), (self.codes, self.steps[-1:])

    def fault(self, **values):
        self.sim.set_parameters([Parameter(f'fault.{name}', value=value)
                                 for name, value in values.items()])

    def stops_and_goes_on(self, fault, code):
        """Have a fault stop the server by name, and a reset go on once it is over."""
        self.fault(**fault)
        self.until(lambda: self.codes[-1] == code)
        before = len(self.steps)
        self.fault(**dict.fromkeys(fault, 0.0))
        self.reset()
        self.until(lambda: len(self.steps) > before + 10)

    def reset(self):
        client = self.ears.create_client(Trigger, 'policy_server/reset')
        self.until(client.service_is_ready)
        end = time.monotonic() + 20.0
        while time.monotonic() < end:
            answer = client.call_async(Trigger.Request())
            self.until(answer.done)
            if answer.result().success:
                return
            time.sleep(0.05)
        raise AssertionError(answer.result().message)

    def close(self):
        self.executor.shutdown()
        for node in (*self.nodes, self.ears):
            node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def rig(bundles, tmp_path):
    made = []

    def make(task, **more):
        made.append(Rig(task, more.pop('bundle', bundles[task]), tmp_path, **more))
        return made[-1]
    yield make
    for each in made:
        each.close()


def test_every_step_has_the_samples_of_its_own_tick_and_faults_stop_by_name(rig):
    """Silent, late and not finite: each stops, is named, and a reset goes on once it is over."""
    one = rig('insert').start()
    one.until(lambda: len(one.steps) > 30)
    assert all(not np.any(step['ages']) for step in one.steps), 'of the same tick, not of before'
    hole = [step['observation'][0] for step in one.steps]
    assert len(set(hole)) > 20, 'not the same sample again and again'
    for fault, code in (({'source_drop': 1.0}, 'SOURCE_SILENT'),
                        ({'source_delay': 1.0}, 'SOURCE_SILENT'),
                        ({'source_nan': 1.0}, 'SOURCE_NOT_FINITE')):
        one.stops_and_goes_on(fault, code)
    aged = max(float(np.max(step['ages'])) for step in one.steps)
    assert 0.05 <= aged <= 0.55, 'what was held was as old as its file allows'


def test_a_frozen_source_stops_where_its_file_says_so_and_only_warns_where_it_says_that(
        rig, tmp_path):
    file = tmp_path / 'insert.yaml'
    file.write_text('task: insert\nsources:\n'
                    '- {name: wrench, type: WrenchStamped, frozen: 5, wrong: warn}\n'
                    '- {name: hole, type: PointStamped, frozen: 20}\n')
    one = rig('insert', file=str(file)).start()
    one.until(lambda: len(one.steps) > 5)
    one.fault(source_frozen=1.0)
    one.until(lambda: one.codes[-1] == 'SOURCE_FROZEN')


FLICKER = ('task: insert\nsuccess: {source: done, hold: 3}\nreward: score\nsources:\n'
           '- {name: wrench, type: WrenchStamped}\n- {name: hole, type: PointStamped}\n'
           '- {name: done, type: Bool, silent: hold}\n'
           '- {name: score, type: Float64, silent: hold}\n')


def test_a_success_topic_that_flickers_ends_nothing_and_one_that_holds_ends_the_episode(
        rig, tmp_path):
    """Given success and reward are in the record, as given."""
    file = tmp_path / 'insert.yaml'
    file.write_text(FLICKER)
    one = rig('insert', file=str(file)).start()
    done = one.ears.create_publisher(Bool, 'done', 10)
    score = one.ears.create_publisher(Float64, 'score', 10)
    said = []

    def say(value):
        said.append(value)
        done.publish(Bool(data=value))
        score.publish(Float64(data=0.5 + value))
    one.until(lambda: done.get_subscription_count() and score.get_subscription_count())
    one.until(lambda: say(False) or len(one.steps) > 2)
    for tick in range(20):  # one tick in two at most
        count = len(one.steps)
        say(tick % 2 == 0)
        one.until(lambda count=count: len(one.steps) > count)
        say(False)
        count = len(one.steps)
        one.until(lambda count=count: len(one.steps) > count + 1)
    assert not [step for step in one.steps if step['flag'] == Flag.TERMINATED]
    one.until(lambda: say(True) or any(step['flag'] == Flag.TERMINATED for step in one.steps))
    last = next(step for step in one.steps if step['flag'] == Flag.TERMINATED)
    assert last['outcome'] == Outcome.SUCCESS
    assert last['reward_given'] == 1.0 and last['reward'] == 1.5
    assert len(last['ages']) == 4


def test_the_gripper_moves_by_its_topic_and_holds_on_a_stop(rig):
    one = rig('pick').start()
    heard = []
    one.ears.create_subscription(Float64, 'gripper', lambda msg: heard.append(msg.data),
                                 QOS['command'])
    one.until(lambda: len(one.steps) > 40 and len(heard) > 5)
    assert all(0.0 <= value <= 1.0 for value in heard)
    one.fault(source_drop=1.0)
    one.until(lambda: one.codes[-1] == 'SOURCE_SILENT')
    one.until(lambda: len(heard) > 5)
    held = heard[-1]
    heard.clear()
    one.until(lambda: len(heard) > 5)
    assert set(heard) == {held}, 'on_stop: hold'


def test_a_gripper_that_nobody_drives_is_refused_on_activation(rig, capfd):
    """An arm that goes through the motions of picking, and its gripper never answers."""
    one = rig('pick', sim=False, controller_time=0.3)
    one.ears.create_subscription(Float64MultiArray, 'command', lambda msg: None, QOS['command'])
    assert one.server.trigger_configure().name == 'SUCCESS'
    one.until(lambda: one.server.count_subscribers('command') > 0)
    assert one.server.trigger_activate().name != 'SUCCESS'
    said = capfd.readouterr().err
    assert "nobody subscribes to /gripper, channel 'gripper'" in said and 'Traceback' not in said


def test_a_source_without_a_publisher_is_waited_for_and_then_stops_by_name(rig, tmp_path):
    file = tmp_path / 'insert.yaml'
    file.write_text(FLICKER)
    one = rig('insert', file=str(file), joint_states_time=2.5).start()
    one.until(lambda: any('waiting for done on /done (std_msgs/msg/Bool) for' in text
                          and 'nobody publishes it' in text for text in one.diagnostics))
    one.until(lambda: one.codes[-1] == 'NO_SOURCE')
    assert not one.steps


def test_an_action_of_another_width_than_the_bundles_is_refused(rig, tmp_path, bundles, capfd):
    """The same task's name, and a gripper less: it must not move the arm by the wrong values."""
    other = load_bundle(bundles['pick'])
    manifest = other.manifest.model_copy(update={'action_dim': 3})
    save_bundle(Bundle(manifest, other.graphs, other.golden_outputs), tmp_path / 'narrow.spaars')
    one = rig('pick', bundle=tmp_path / 'narrow.spaars')
    assert one.server.trigger_configure().name != 'SUCCESS'
    said = capfd.readouterr().err
    assert 'action_dim 3' in said and '4' in said and 'Traceback' not in said


def test_a_bundle_of_another_task_is_refused_by_name(rig, bundles, capfd):
    one = rig('pick', bundle=bundles['other'])
    assert one.server.trigger_configure().name != 'SUCCESS'
    said = capfd.readouterr().err
    assert 'wrong_task' in said and 'Traceback' not in said
    assert 'pick' in said and 'reach' in said
