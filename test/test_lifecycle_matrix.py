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

"""Every node through every transition: in order, twice, and where something is wrong."""

from collections.abc import Callable
from collections.abc import Iterator
import gc
from itertools import cycle
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from domains import DOMAINS
from lifecycle_msgs.msg import State
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from sensor_msgs.msg import JointState
from server_rig import Rig
from small_run import prepare
from small_run import until
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
import yaml

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.nodes.cost_monitor.node import CostMonitor
from spaars_ros.nodes.encoder.node import EncoderNode
from spaars_ros.nodes.learner.node import LearnerNode
from spaars_ros.nodes.policy_server.node import PolicyServer
from spaars_ros.nodes.sim.node import SimNode
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import share_directory
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import encode_command
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.qos import QOS
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

pytestmark = pytest.mark.timeout(120)

pytest_plugins = ['server_rig']

OK = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR
DOMAIN = next(DOMAINS)

NODES: dict[str, type[ManagedNode]] = {
    'policy_server': PolicyServer, 'cost_monitor': CostMonitor, 'learner': LearnerNode,
    'sim': SimNode, 'encoder': EncoderNode}
STATES = {State.PRIMARY_STATE_UNCONFIGURED: 'unconfigured', State.PRIMARY_STATE_ACTIVE: 'active',
          State.PRIMARY_STATE_INACTIVE: 'inactive', State.PRIMARY_STATE_FINALIZED: 'finalized'}


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp('small'))


def good(name: str, small: Path, out: Path) -> dict[str, Any]:
    """Return parameters with which a node works."""
    task = {'task': str(small / 'task.yaml')}
    return {
        'policy_server': {**task, 'bundle': str(small / 'initial.spaars'), 'run_dir': str(out),
                          'trigger': 'joint_states', 'discovery_time': 0.0,
                          'max_observation_age': 5.0},
        'cost_monitor': {**task, 'run_dir': str(out)},
        'learner': {**task, 'bundle': str(small / 'initial.spaars'), 'run_dir': str(out),
                    'training': str(small / 'training.yaml')},
        'sim': {**task, 'real_time_factor': 1.0},
        'encoder': {'task': 'pick_camera', 'robot': 'panda_gripper', 'run_dir': str(out)},
    }[name]


class Bench(Node):
    """The node under test and one that talks with it."""

    def __init__(self) -> None:
        super().__init__('bench')
        # A controller: without one the policy server does not begin.
        self.create_subscription(Float64MultiArray, 'command', lambda msg: None, QOS['command'])
        self.loop = SingleThreadedExecutor()
        self.loop.add_node(self)
        self.made: list[ManagedNode] = []

    def make(self, name: str, **parameters: Any) -> ManagedNode:
        node = NODES[name](**parameters)
        self.made.append(node)
        self.loop.add_node(node)
        return node

    def turn(self, times: int = 40) -> None:
        for _ in range(times):
            self.loop.spin_once(timeout_sec=0.01)

    def call(self, name: str) -> Trigger.Response:
        client = self.create_client(Trigger, name)
        until(lambda: self.turn(1) or client.service_is_ready(), 10.0, name)
        future = client.call_async(Trigger.Request())
        until(lambda: self.turn(1) or future.done(), 10.0, name)
        return future.result()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=DOMAIN)
    made = Bench()
    yield made
    for node in made.made:
        node.finish()
    made.loop.shutdown(timeout_sec=1.0)
    for node in [*made.made, made]:
        node.destroy_node()
    rclpy.try_shutdown()


def state(node: ManagedNode) -> str:
    return STATES[node._state_machine.current_state[0]]


def entities(node: ManagedNode) -> list[int]:
    """Return how much of each kind the node has."""
    return [len(list(kind)) for kind in (node.publishers, node.subscriptions, node.services,
                                         node.clients, node.timers, node.guards)]


@pytest.mark.parametrize('name', NODES)
def test_every_transition_twice(bench: Bench, small: Path, tmp_path: Path, name: str) -> None:
    """The second of each is refused and changes nothing; the whole round goes again."""
    node = bench.make(name, **good(name, small, tmp_path))
    before = entities(node)
    for _ in range(2):
        for trigger, reached in ((node.trigger_configure, 'inactive'),
                                 (node.trigger_activate, 'active'),
                                 (node.trigger_deactivate, 'inactive'),
                                 (node.trigger_cleanup, 'unconfigured')):
            assert trigger() == OK
            assert state(node) == reached
            held = entities(node)
            assert trigger() == ERROR
            assert state(node) == reached and entities(node) == held
            bench.turn(10)
        assert entities(node) == before, 'something is left behind'
    assert node.trigger_activate() == ERROR and state(node) == 'unconfigured'
    assert node.trigger_shutdown() == OK
    node.finish()
    assert state(node) == 'finalized' and node.trigger_configure() == ERROR


@pytest.mark.parametrize('name', NODES)
@pytest.mark.parametrize('reached', ['unconfigured', 'inactive', 'active'])
def test_shutdown_from_every_state_leaves_nothing(bench: Bench, small: Path, tmp_path: Path,
                                                  name: str, reached: str) -> None:
    node = bench.make(name, **good(name, small, tmp_path))
    before = entities(node)
    if reached != 'unconfigured':
        assert node.trigger_configure() == OK
    if reached == 'active':
        assert node.trigger_activate() == OK
    assert node.trigger_shutdown() == OK
    assert state(node) == 'finalized' and entities(node) == before
    # What stays frozen is never freed: each server kept its participant, and after some thirty of
    # them a process no longer finds its own.
    assert not gc.get_freeze_count()


def bad_robot(folder: Path) -> str:
    """Return a robot file with a joint too few in one of its limits."""
    robot = yaml.safe_load((share_directory() / 'config/robot/panda.yaml').read_text())
    robot['limits']['velocity'].pop()
    path = folder / 'bad_robot.yaml'
    path.write_text(yaml.safe_dump(robot))
    return str(path)


def a_file_where_a_folder_should_be(folder: Path) -> str:
    """Root may write everywhere, so no mode would keep a test's node out."""
    (folder / 'file').write_text('')
    return str(folder / 'file' / 'run')


def damaged_multipliers(folder: Path) -> str:
    (folder / 'cost_monitor.json').write_text('{"cost": ')
    return str(folder)


def damaged_bundle(folder: Path) -> str:
    path = folder / 'damaged.spaars'
    path.write_bytes(b'SPAARS' * 100)
    return str(path)


@pytest.mark.parametrize(('name', 'parameter', 'wrong', 'said'), [
    *((name, 'robot', bad_robot, 'velocity') for name in NODES),
    *((name, 'task', lambda folder: 'nothing', 'nothing') for name in NODES),
    ('policy_server', 'bundle', lambda folder: str(folder / 'missing.spaars'), 'missing.spaars'),
    ('policy_server', 'bundle', damaged_bundle, 'damaged.spaars'),
    ('policy_server', 'run_dir', a_file_where_a_folder_should_be, 'file'),
    ('cost_monitor', 'run_dir', damaged_multipliers, 'cost_monitor.json'),
    ('learner', 'bundle', lambda folder: str(folder / 'missing.spaars'), 'missing.spaars'),
    ('learner', 'demonstrations', lambda folder: str(folder / 'missing.h5'), 'missing.h5'),
    ('learner', 'run_dir', a_file_where_a_folder_should_be, 'file'),
    ('sim', 'faults', lambda folder: str(folder / 'missing.yaml'), 'missing.yaml'),
])
def test_configure_that_fails_says_why_and_leaves_nothing(
        bench: Bench, small: Path, tmp_path: Path, name: str, parameter: str,
        wrong: Callable[[Path], str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    node = bench.make(name, **{**good(name, small, tmp_path), parameter: wrong(tmp_path)})
    before = entities(node)
    capfd.readouterr()
    for _ in range(2):
        assert node.trigger_configure() == FAILURE
        assert state(node) == 'unconfigured' and entities(node) == before
    logged = capfd.readouterr().err
    assert 'configure refused' in logged and said in logged and 'Traceback' not in logged


@pytest.mark.parametrize('name', ['policy_server', 'learner'])
def test_configure_works_once_what_was_missing_is_there(bench: Bench, small: Path, tmp_path: Path,
                                                        name: str) -> None:
    later = tmp_path / 'later.spaars'
    node = bench.make(name, **{**good(name, small, tmp_path), 'bundle': str(later)})
    assert node.trigger_configure() == FAILURE
    later.write_bytes((small / 'initial.spaars').read_bytes())
    assert node.trigger_configure() == OK and node.trigger_activate() == OK


def test_activate_that_fails_leaves_the_node_inactive_and_can_be_repeated(
        bench: Bench, small: Path, tmp_path: Path) -> None:
    node = bench.make('policy_server', **good('policy_server', small, tmp_path))
    assert node.trigger_configure() == OK
    before = entities(node)
    other = bench.create_publisher(Float64MultiArray, 'command', QOS['command'])
    until(lambda: node.count_publishers('command') == 2, 10.0)
    for _ in range(2):
        assert node.trigger_activate() == FAILURE
        assert state(node) == 'inactive' and entities(node) == before
    bench.destroy_publisher(other)
    until(lambda: node.count_publishers('command') == 1, 10.0)
    assert node.trigger_activate() == OK


class Faulty(ManagedNode):
    """Fails in the hooks that `fails` names, as often as it says."""

    def __init__(self, **fails: int) -> None:
        super().__init__('faulty', ParameterTable())
        self.fails = fails
        self.calls: list[str] = []

    def _pass(self, hook: str) -> None:
        self.calls.append(hook)
        if self.fails.get(hook, 0):
            self.fails[hook] -= 1
            raise RuntimeError(f'{hook} broke')

    def configure(self) -> None:
        self._pass('configure')

    def activate(self) -> None:
        self.timer = self.create_timer(0.01, lambda: self.calls.append('tick'))
        self._pass('activate')

    def deactivate(self) -> None:
        self._pass('deactivate')
        self.destroy_timer(self.timer)

    def cleanup(self) -> None:
        self._pass('cleanup')


@pytest.mark.parametrize(('fails', 'steps', 'reached', 'calls'), [
    ({'configure': 1}, ['configure'], 'unconfigured', ['configure', 'cleanup']),
    ({'activate': 1}, ['configure', 'activate'], 'inactive', ['configure', 'activate']),
    ({'deactivate': 1}, ['configure', 'activate', 'deactivate'], 'unconfigured',
     ['configure', 'activate', 'deactivate', 'cleanup']),
    ({'cleanup': 1}, ['configure', 'cleanup'], 'unconfigured',
     ['configure', 'cleanup', 'cleanup']),
    ({'cleanup': 2}, ['configure', 'cleanup'], 'finalized',
     ['configure', 'cleanup', 'cleanup']),
    ({'deactivate': 1, 'cleanup': 1}, ['configure', 'activate', 'shutdown'], 'finalized',
     ['configure', 'activate', 'deactivate', 'cleanup']),
])
def test_a_hook_that_raises_ends_in_a_state_that_is_true(
        bench: Bench, fails: dict[str, int], steps: list[str], reached: str, calls: list[str],
        capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing goes on running in a state that the node only half reached."""
    node = Faulty(**fails)
    bench.made.append(node)
    bench.loop.add_node(node)
    for step in steps:
        getattr(node, f'trigger_{step}')()
    assert state(node) == reached
    assert node.calls == calls
    logged = capfd.readouterr().err
    assert all(f'{hook} broke' in logged for hook in fails)
    if reached != 'finalized':
        assert not list(node.timers)
        bench.turn(5)
        assert node.calls == calls, 'a timer is left'
        node.calls.clear()
        if reached == 'unconfigured':
            assert node.trigger_configure() == OK
        assert node.trigger_activate() == OK


def test_what_the_server_gets_while_inactive_moves_nothing(bench: Bench, small: Path,
                                                           tmp_path: Path) -> None:
    node = bench.make('policy_server', **good('policy_server', small, tmp_path))
    robot = load_robot()
    heard: list[Any] = []
    states = bench.create_publisher(JointState, 'joint_states', QOS['joint_states'])
    bench.create_subscription(Float64MultiArray, 'command', heard.append, QOS['command'])
    bench.create_subscription(Float64MultiArray, 'policy_server/step', heard.append,
                              QOS['policy_server/step'])
    assert node.trigger_configure() == OK
    until(lambda: bench.turn(1) or states.get_subscription_count() == 1, 10.0)
    for _ in range(2):
        for _ in range(5):
            states.publish(encode_state(Arm(robot).state(), robot.joints))
            bench.turn(4)
        for service in ('estop', 'reset', 'rollback'):
            answer = bench.call(f'policy_server/{service}')
            assert not answer.success and 'not active' in answer.message
        assert not heard
        # The same once it has been active.
        assert node.trigger_activate() == OK and node.trigger_deactivate() == OK
        bench.turn()
        assert not any(any(msg.data) for msg in heard)
        heard.clear()


def step_rows(small: Path) -> tuple[Any, Array]:
    """Return a schema and the step records of one simulated episode."""
    robot, task = load_robot(), load_task(str(small / 'task.yaml'))
    rollouts = Rollouts(PolicyRuntime(load_bundle(small / 'initial.spaars')), robot,
                        ReachTask(robot, task), seed=0, explore=True)
    return rollouts.loop.records.schema, rollouts.episode()


def test_a_monitor_counts_nothing_while_inactive(bench: Bench, small: Path,
                                                 tmp_path: Path) -> None:
    node = bench.make('cost_monitor', **good('cost_monitor', small, tmp_path))
    schema, rows = step_rows(small)
    codec, heard = ArrayCodec(schema), []
    steps = bench.create_publisher(Float64MultiArray, 'policy_server/step',
                                   QOS['policy_server/step'])
    bench.create_subscription(Float64MultiArray, 'cost_monitor/cost', heard.append,
                              QOS['cost_monitor/cost'])
    assert node.trigger_configure() == OK
    until(lambda: bench.turn(1) or steps.get_subscription_count() == 1, 10.0)
    bench.turn()
    for row in rows[:5]:
        steps.publish(codec.encode(row))
        bench.turn(3)
    assert not heard
    assert node.trigger_activate() == OK
    for row in rows[5:10]:
        steps.publish(codec.encode(row))
        bench.turn(3)
    assert len(heard) == 5


def test_a_learner_keeps_steps_but_learns_nothing_while_inactive(bench: Bench, small: Path,
                                                                 tmp_path: Path) -> None:
    node = bench.make('learner', **good('learner', small, tmp_path))
    schema, rows = step_rows(small)
    codec = ArrayCodec(schema)
    steps = bench.create_publisher(Float64MultiArray, 'policy_server/step',
                                   QOS['policy_server/step'])
    assert node.trigger_configure() == OK
    until(lambda: bench.turn(1) or steps.get_subscription_count() == 1, 10.0)
    for row in rows:
        steps.publish(codec.encode(row))
        bench.turn(2)
    updates = node._tuner.updates
    bench.turn()
    assert node._members[0].sequencer.next == len(rows)
    assert node._tuner.updates == updates == 0


def test_a_command_to_an_inactive_sim_moves_nothing_later(bench: Bench, small: Path,
                                                          tmp_path: Path) -> None:
    node = bench.make('sim', **good('sim', small, tmp_path))
    heard: list[JointState] = []
    command = bench.create_publisher(Float64MultiArray, 'command', QOS['command'])
    bench.create_subscription(JointState, 'joint_states', heard.append, QOS['joint_states'])
    assert node.trigger_configure() == OK
    until(lambda: bench.turn(1) or command.get_subscription_count() == 2, 10.0)

    def push() -> None:
        for stamp in range(5):
            command.publish(encode_command(np.full(7, 0.5), stamp))
            bench.turn(3)

    push()
    assert not heard
    for _ in range(2):
        assert node.trigger_activate() == OK
        until(lambda: bench.turn(1) or len(heard) > 5, 10.0)
        assert np.abs([msg.velocity for msg in heard]).max() < 0.05
        push()
        until(lambda: bench.turn(1) or max(map(abs, heard[-1].velocity)) > 0.2, 10.0)
        assert node.trigger_deactivate() == OK
        bench.turn()
        heard.clear()
        push()
        assert not heard, 'an inactive robot reports nothing'


@pytest.mark.parametrize('trigger', ['joint_states', 'timer'])
def test_zero_is_the_last_command_at_shutdown(start: Callable[..., Rig], trigger: str) -> None:
    """A driver that holds its last command would otherwise go on moving for ever."""
    rig = start(trigger=trigger)
    assert rig.server.trigger_shutdown() == OK
    rig.spin_for(0.3)
    assert rig.standing and rig.steps[-1]['flag'][0] == Flag.ABORTED
    count = len(rig.commands)
    rig.spin_for(0.3)
    assert len(rig.commands) == count


def test_a_signal_ends_the_other_nodes_with_exit_code_0(bench: Bench, small: Path, tmp_path: Path
                                                        ) -> None:
    """While active; the policy server's last command has a test of its own."""
    names = [name for name in NODES if name != 'policy_server']
    processes = {}
    try:
        for name in names:
            given = [f'{key}:={value}' for key, value in good(name, small, tmp_path).items()]
            processes[name] = subprocess.Popen(
                [sys.executable, '-m', f'spaars_ros.nodes.{name}.node', '--ros-args',
                 *(part for each in given for part in ('-p', each))],
                env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)})
        for name in names:
            client = bench.create_client(ChangeState, f'{name}/change_state')
            until(lambda c=client: bench.turn(1) or c.service_is_ready(), 40.0, name)
            bench.turn(30)  # the answer's way back is matched a little later
            for change in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
                future = client.call_async(
                    ChangeState.Request(transition=Transition(id=change)))
                until(lambda f=future: bench.turn(1) or f.done(), 40.0, name)
                assert future.result().success
        for name, number in zip(names, cycle((signal.SIGINT, signal.SIGTERM))):
            processes[name].send_signal(number)
        assert {name: each.wait(20.0) for name, each in processes.items()} == dict.fromkeys(
            names, 0)
    finally:
        for each in processes.values():
            if each.poll() is None:
                each.kill()
            each.wait()


INTERRUPTED = """
import signal, sys
from spaars_ros.nodes.sim.node import SimNode
from spaars_ros.ros.lifecycle import run_node

def again(frame, event, argument):
    signal.raise_signal(signal.SIGINT)
    return again

def interrupt():
    handler = signal.getsignal(signal.SIGTERM)
    sys.settrace(again)
    handler(signal.SIGTERM, None)
    sys.settrace(None)

def make():
    node = SimNode()
    node.create_timer(0.1, interrupt)
    return node

raise SystemExit(run_node(make))
"""


def test_a_signal_on_every_line_of_its_handler_ends_a_node_in_order() -> None:
    """A dying parent signals more than once, and a handler is interrupted by the next signal."""
    ended = subprocess.run([sys.executable, '-c', INTERRUPTED], timeout=40.0, text=True,
                           stderr=subprocess.PIPE,
                           env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN),
                                'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
    assert ended.returncode == 0, ended.stderr
    assert 'Timeout (' not in ended.stderr
