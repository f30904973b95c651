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

"""The simulation node, as a process, over DDS."""

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import time
from types import SimpleNamespace
from typing import Any

from domains import DOMAINS
from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import String
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import encode_command
from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.ros.qos import QOS
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.sim.arm import Arm

pytestmark = pytest.mark.timeout(60)

ROBOT = load_robot('panda')
PERIOD_NS = round(1e9 * ROBOT.period)
VELOCITY = np.full(7, 0.05)


class Peer:
    """A test's own node: what it received and how to wait for it."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('peer')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.reader = JointStateReader(ROBOT.joints)
        self.states: list[Any] = []
        self.clocks: list[int] = []
        self.answering = False
        self.node.create_subscription(JointState, 'joint_states', self._on_state,
                                      QOS['joint_states'])
        self.node.create_subscription(
            Clock, '/clock', lambda m: self.clocks.append(m.clock.sec * 10**9 + m.clock.nanosec),
            QOS['/clock'])
        self.command = self.node.create_publisher(Float64MultiArray, 'command', QOS['command'])
        self.lifecycle = LifecycleClient(self.node, self.executor)

    def _on_state(self, msg: JointState) -> None:
        self.states.append(self.reader.read(msg))
        if self.answering:
            self.answer(self.states[-1].stamp_ns)

    def answer(self, stamp_ns: int) -> None:
        """Publish the command for a stamp."""
        self.command.publish(encode_command(VELOCITY, stamp_ns))

    def spin(self, seconds: float) -> None:
        """Handle callbacks for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.01)

    def until(self, condition: Any, seconds: float = 10.0) -> None:
        """Handle callbacks until a condition holds; fails when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, 'timed out'
            self.executor.spin_once(timeout_sec=0.01)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that starts an active sim with parameters."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next(DOMAINS)))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init()
    peer = Peer()
    made: list[Processes] = []

    def begin(**parameters: Any) -> SimpleNamespace:
        processes = Processes(RunSettings(out=str(tmp_path)),
                              [NodeDescription('sim', 'sim', parameters)])
        made.append(processes)
        peer.states.clear()  # those of a sim before
        processes.start()
        peer.lifecycle.bring_up('sim', 20.0)
        # Both directions have to be matched before a message counts as sent.
        peer.until(lambda: peer.states and peer.command.get_subscription_count() == 1)
        return SimpleNamespace(peer=peer, processes=processes)

    yield begin
    for processes in made:
        processes.stop()
    peer.executor.shutdown()
    peer.node.destroy_node()
    rclpy.shutdown()


def test_lockstep_loses_and_invents_no_step(start: Any) -> None:
    """Every answered state makes one step, the one that the same arm makes in process."""
    peer = start(real_time_factor=0.0).peer
    first = peer.states[-1]
    peer.answering = True
    peer.answer(first.stamp_ns)
    peer.until(lambda: peer.states[-1].stamp_ns >= first.stamp_ns + 500 * PERIOD_NS)
    stamps = sorted({state.stamp_ns for state in peer.states})
    assert stamps[0] == first.stamp_ns
    assert set(np.diff(stamps)) == {PERIOD_NS}
    arm = Arm(ROBOT)
    arm.reset(first.position)
    by_stamp = {state.stamp_ns: state for state in peer.states}
    for stamp in stamps:
        np.testing.assert_array_equal(by_stamp[stamp].position, arm.state().position)
        arm.step(VELOCITY)


def test_an_unanswered_state_is_sent_again_and_makes_no_step(start: Any) -> None:
    """A lost message costs 0.2 s, not a step."""
    peer = start(real_time_factor=0.0).peer
    count = len(peer.states)
    peer.spin(1.1)
    assert 4 <= len(peer.states) - count <= 6
    assert len({state.stamp_ns for state in peer.states}) == 1


def test_late_early_and_repeated_commands_make_no_step(start: Any) -> None:
    """Only the answer to the state on the wire steps the arm, and only once."""
    peer = start(real_time_factor=0.0).peer
    stamp = peer.states[-1].stamp_ns
    for wrong in (stamp - PERIOD_NS, stamp + PERIOD_NS):
        peer.answer(wrong)
    peer.command.publish(Float64MultiArray(data=[0.1] * 7))
    peer.spin(0.5)
    assert peer.states[-1].stamp_ns == stamp
    peer.answer(stamp)
    peer.answer(stamp)
    peer.spin(0.5)
    assert peer.states[-1].stamp_ns == stamp + PERIOD_NS


def test_malformed_commands_make_no_step(start: Any) -> None:
    """A NaN or a wrong size never reaches the arm."""
    peer = start(real_time_factor=0.0).peer
    stamp = peer.states[-1].stamp_ns
    peer.command.publish(encode_command(np.full(7, np.nan), stamp))
    peer.command.publish(encode_command(np.zeros(6), stamp))
    peer.spin(0.5)
    assert peer.states[-1].stamp_ns == stamp


def test_reset_answers_with_the_stamp_of_the_first_state_after_it(start: Any) -> None:
    """Time goes on over a reset, the arm rests at a new start pose."""
    peer = start(real_time_factor=0.0, seed=3).peer
    before = peer.states[-1]
    result = peer.call(Trigger, 'sim/reset', Trigger.Request())
    assert result.success
    peer.until(lambda: peer.states[-1].stamp_ns == int(result.message))
    after = peer.states[-1]
    assert after.stamp_ns > before.stamp_ns
    assert np.abs(after.position - before.position).max() > 1e-4
    assert np.abs(after.position - np.asarray(ROBOT.home)).max() <= 0.05 + 1e-9
    assert not after.velocity.any()
    # A command that was on its way when the reset came is void.
    peer.answer(before.stamp_ns)
    peer.spin(0.4)
    assert peer.states[-1].stamp_ns == after.stamp_ns


def test_the_same_seed_gives_the_same_start_poses(start: Any, tmp_path: Path) -> None:
    """A run that goes on takes up the start poses where it left them."""
    sim = start(real_time_factor=0.0, seed=5)
    poses = [sim.peer.states[-1].position]
    for _ in range(2):
        result = sim.peer.call(Trigger, 'sim/reset', Trigger.Request())
        sim.peer.until(lambda: sim.peer.states[-1].stamp_ns == int(result.message))
        poses.append(sim.peer.states[-1].position)
    sim.processes.stop()
    again = start(real_time_factor=0.0, seed=5, first_reset=2, start_stamp=100.0)
    np.testing.assert_array_equal(again.peer.states[-1].position, poses[2])
    assert again.peer.states[-1].stamp_ns >= 100 * 10**9


def test_pause_holds_the_arm_and_loses_nothing(start: Any) -> None:
    """The step that a pause interrupted is taken when it ends."""
    peer = start(real_time_factor=0.0).peer
    peer.answering = True
    peer.answer(peer.states[-1].stamp_ns)
    peer.spin(0.2)
    peer.call(SetBool, 'sim/pause', SetBool.Request(data=True))
    peer.spin(0.1)
    stamp, count = peer.states[-1].stamp_ns, len(peer.states)
    peer.spin(0.5)
    assert len(peer.states) == count
    peer.call(SetBool, 'sim/pause', SetBool.Request(data=False))
    peer.until(lambda: peer.states[-1].stamp_ns > stamp + 10 * PERIOD_NS)
    stamps = sorted({state.stamp_ns for state in peer.states})
    assert set(np.diff(stamps)) == {PERIOD_NS}


def test_the_arm_waits_for_a_learner_that_is_behind(start: Any) -> None:
    """At most max_lead steps beyond what the learner has worked off."""
    peer = start(real_time_factor=0.0, max_lead=10).peer
    codec = ArrayCodec({'received': 1, 'stamp': 1, 'owed': 1})
    progress = peer.node.create_publisher(Float64MultiArray, 'learner/progress',
                                          QOS['learner/progress'])
    peer.until(lambda: progress.get_subscription_count() == 1)
    start_ns = peer.states[-1].stamp_ns

    def learned(steps: int, owed: int) -> None:
        progress.publish(codec.encode_fields(
            received=steps, stamp=(start_ns + steps * PERIOD_NS) * 1e-9, owed=owed))

    learned(0, 0)
    peer.spin(0.2)
    peer.answering = True
    peer.answer(peer.states[-1].stamp_ns)
    peer.spin(0.7)
    assert peer.states[-1].stamp_ns == start_ns + 10 * PERIOD_NS
    learned(5, 4)  # still owes updates for them
    peer.spin(0.5)
    assert peer.states[-1].stamp_ns == start_ns + 10 * PERIOD_NS
    learned(5, 0)
    peer.spin(0.5)
    assert peer.states[-1].stamp_ns == start_ns + 15 * PERIOD_NS
    peer.node.destroy_publisher(progress)
    peer.until(lambda: peer.states[-1].stamp_ns > start_ns + 40 * PERIOD_NS)


def test_the_arm_waits_again_for_a_learner_that_was_idle(start: Any) -> None:
    """Idle once, it is behind as soon as it owes updates: the arm runs no further ahead."""
    peer = start(real_time_factor=0.0, max_lead=10).peer
    codec = ArrayCodec({'received': 1, 'stamp': 1, 'owed': 1})
    progress = peer.node.create_publisher(Float64MultiArray, 'learner/progress',
                                          QOS['learner/progress'])
    peer.until(lambda: progress.get_subscription_count() == 1)
    start_ns = peer.states[-1].stamp_ns
    for owed in (0, 0, 0, 0, 0, 0, 4):
        progress.publish(codec.encode_fields(received=5, stamp=start_ns * 1e-9, owed=owed))
        peer.spin(0.1)
    peer.answering = True
    peer.answer(peer.states[-1].stamp_ns)
    peer.spin(0.7)
    assert peer.states[-1].stamp_ns == start_ns + 10 * PERIOD_NS


def test_who_listens_sees_where_the_links_are(start: Any) -> None:
    """And nobody else pays for it; the description is latched."""
    peer = start(real_time_factor=1.0).peer
    texts: list[str] = []
    tips: list[Any] = []
    peer.node.create_subscription(String, 'robot_description',
                                  lambda msg: texts.append(msg.data), QOS['robot_description'])
    peer.node.create_subscription(
        TransformStamped, 'link_poses',
        lambda msg: tips.append(msg) if msg.child_frame_id == 'tip' else None, QOS['link_poses'])
    peer.until(lambda: texts and len(tips) > 3)
    assert '<robot name="panda">' in texts[0]
    assert tips[-1].header.frame_id == 'link7'
    stamp = tips[-1].header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec in [state.stamp_ns for state in peer.states]


@pytest.mark.alone
def test_real_time_holds_the_last_command(start: Any) -> None:
    """On the wall clock the arm moves on without new commands, at the robot's rate."""
    peer = start(real_time_factor=1.0).peer
    peer.command.publish(Float64MultiArray(data=VELOCITY.tolist()))
    peer.spin(1.0)
    count = len(peer.states)
    peer.spin(1.0)
    assert 18 <= len(peer.states) - count <= 22
    np.testing.assert_allclose(peer.states[-1].velocity, VELOCITY, atol=0.01)
    assert abs(peer.clocks[-1] - peer.states[-1].stamp_ns) <= PERIOD_NS


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_with_code_0(start: Any, number: int) -> None:
    """No traceback and no code that a supervisor takes for a crash."""
    sim = start(real_time_factor=0.0)
    os.kill(sim.processes.pid('sim'), number)
    deadline = time.monotonic() + 5.0
    while not sim.processes.poll():
        assert time.monotonic() < deadline, 'still running'
        time.sleep(0.05)
    assert sim.processes.poll() == {'sim': 0}
    assert 'Traceback' not in sim.processes.log_path('sim').read_text()


def test_a_wrong_robot_file_refuses_to_configure(start: Any, tmp_path: Path) -> None:
    """The log names the file and the key."""
    wrong = tmp_path / 'wrong.yaml'
    wrong.write_text(Path(ROBOT.source).read_text() + '\nspeed: 3\n')
    with pytest.raises(RuntimeError, match='sim: refused to configure'):
        start(robot=str(wrong))
    log = (tmp_path / 'log' / 'sim.log').read_text()
    assert f'{wrong}' in log
    assert "unknown key 'speed'" in log


def set_parameter(peer: Peer, name: str, value: Any) -> Any:
    """Set a parameter of the sim over its service."""
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return peer.call(SetParameters, 'sim/set_parameters', request).results[0]


def test_a_fault_is_made_and_ended_by_parameter_while_running(start: Any) -> None:
    """No joint_states while all are dropped; the true state and the arm go on."""
    peer = start(real_time_factor=1.0).peer
    truth: list[Any] = []
    peer.node.create_subscription(JointState, 'sim/state', truth.append, QOS['joint_states'])
    peer.until(lambda: truth)
    refused = set_parameter(peer, 'fault.drop', 1.5)
    assert not refused.successful
    assert '1.5' in refused.reason
    assert set_parameter(peer, 'fault.drop', 1.0).successful
    peer.spin(0.2)
    count, true_count = len(peer.states), len(truth)
    peer.spin(0.6)
    assert len(peer.states) == count
    assert len(truth) > true_count + 5
    assert set_parameter(peer, 'fault.drop', 0.0).successful
    peer.until(lambda: len(peer.states) > count + 5)


def test_a_script_of_faults_strikes_at_its_time(start: Any, tmp_path: Path) -> None:
    """Stamps and /clock jump together, forth and back."""
    script = tmp_path / 'faults.yaml'
    script.write_text('- {at: 0.5, for: 0.5, set: {clock_jump: 100.0}}\n')
    peer = start(real_time_factor=1.0, faults=str(script)).peer
    peer.until(lambda: peer.states[-1].stamp_ns > 100 * 10**9)
    assert peer.states[0].stamp_ns < 10 * 10**9
    peer.until(lambda: max(peer.clocks) > 100 * 10**9)
    peer.until(lambda: peer.states[-1].stamp_ns < 10 * 10**9)


def test_a_wrong_script_refuses_to_configure(start: Any, tmp_path: Path) -> None:
    """A misspelt fault would be a test that tests nothing."""
    script = tmp_path / 'faults.yaml'
    script.write_text('- {at: 0.5, set: {clock_jmp: 100.0}}\n')
    with pytest.raises(RuntimeError, match='sim: refused to configure'):
        start(faults=str(script))
    assert 'clock_jmp' in (tmp_path / 'log' / 'sim.log').read_text()


@pytest.mark.parametrize('fault', ['drop', 'delay', 'duplicate', 'reorder'])
def test_lockstep_goes_on_under_a_fault_of_the_wire(start: Any, fault: str) -> None:
    """A state that does not come is sent again; none is stepped twice."""
    peer = start(real_time_factor=0.0, **{f'fault.{fault}': 0.5}).peer
    first = peer.states[-1].stamp_ns
    peer.answering = True
    peer.answer(first)
    peer.until(lambda: peer.states[-1].stamp_ns > first + 10 * PERIOD_NS)
    stamps = sorted({state.stamp_ns for state in peer.states})
    assert set(np.diff(stamps)) == {PERIOD_NS}


@pytest.mark.parametrize(('timeout', 'moves'), [(0.0, True), (0.3, False)])
def test_a_client_that_dies_leaves_the_arm_moving_unless_there_is_a_timeout(
        start: Any, timeout: float, moves: bool) -> None:
    """The accident: a killed policy server, and an arm that goes on at its last velocity."""
    peer = start(real_time_factor=1.0, command_timeout=timeout).peer
    for _ in range(5):
        peer.command.publish(Float64MultiArray(data=VELOCITY.tolist()))
        peer.spin(0.05)
    peer.until(lambda: peer.states[-1].velocity[0] > 0.04)
    peer.spin(1.5)
    assert (peer.states[-1].velocity[0] > 0.04) == moves


def test_system_stamps_are_those_of_the_system_clock(start: Any) -> None:
    """So that nodes on the wall clock can judge their age, as those of a robot."""
    peer = start(real_time_factor=1.0, stamps='system').peer
    peer.spin(0.3)
    assert abs(peer.states[-1].stamp_ns - time.time_ns()) < 10**9
    gaps = np.diff([state.stamp_ns for state in peer.states])
    assert not (gaps % PERIOD_NS).any(), 'whole periods apart, as those of a controller'
    assert (gaps > 0).all()
    assert not peer.clocks


def test_system_stamps_do_not_begin_half_a_period_ahead_of_the_clock(start: Any) -> None:
    """They did by chance, in half of all starts; behind it they skip a period when late."""
    peer = start(real_time_factor=1.0, stamps='system').peer
    for count in range(len(peer.states) + 1, len(peer.states) + 4):
        while len(peer.states) < count:
            peer.spin(0.01)
        assert peer.states[-1].stamp_ns <= time.time_ns() + 10**6, 'a timer may be 1 ms early'


def test_resets_do_not_run_ahead_of_the_system_clock(start: Any) -> None:
    """Each takes a period of its own: fifty of them were a second, and stopped the server."""
    peer = start(real_time_factor=1.0, stamps='system').peer
    for _ in range(8):
        assert peer.call(Trigger, 'sim/reset', Trigger.Request()).success
    peer.spin(1.0)
    ahead = (peer.states[-1].stamp_ns - time.time_ns()) / PERIOD_NS
    assert ahead < 1.0
    assert (np.diff([state.stamp_ns for state in peer.states]) > 0).all()
