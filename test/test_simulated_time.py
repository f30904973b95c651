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

"""Simulated time that stops, stands or lies, and states that cannot be: no command stands on."""

from array import array
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from builtin_interfaces.msg import Time
from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from server_rig import OK
from server_rig import Rig
from std_msgs.msg import MultiArrayDimension
from std_msgs.msg import MultiArrayLayout
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import Trigger
from test_stops import Wire

from spaars_ros.data.schema import RobotState
from spaars_ros.nodes.policy_server.node import PolicyServer
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.raw_take import data_place
from spaars_ros.safety.monitors.clock_watch import ClockWatch
from spaars_ros.safety.monitors.drift import DriftWatch
from spaars_ros.safety.monitors.motion import MotionWatch
from spaars_ros.safety.monitors.motion import SETTLED

pytestmark = pytest.mark.timeout(120)
pytest_plugins = ['server_rig']

ROBOT = load_robot()
PERIOD_NS = round(ROBOT.period * 1e9)
FAST = 0.4
"""rad/s of joint 1, that the policy asks for more than."""
NEAR = 0.55
"""rad from where joint 1 is at that speed to its limit: one second more is beyond it."""
PUBLISH = """
import array, sys, time, rclpy
from std_msgs.msg import UInt8MultiArray
from spaars_ros.ros.qos import QOS
rclpy.init()
node = rclpy.create_node('flood')
publisher = node.create_publisher(UInt8MultiArray, 'learner/policy', QOS['learner/policy'])
while not node.count_subscribers('learner/policy'):
    time.sleep(0.05)
publisher.publish(UInt8MultiArray(data=array.array('B', bytes(int(sys.argv[1])))))
time.sleep(60)
"""


@contextmanager
def flooded(size: int) -> Iterator[None]:
    """Have another process publish a bundle of so many bytes."""
    domain = str(rclpy.get_default_context().get_domain_id())
    process = subprocess.Popen([sys.executable, '-c', PUBLISH, str(size)],
                               env={**os.environ, 'ROS_DOMAIN_ID': domain})
    try:
        yield
    finally:
        process.kill()
        process.wait()


class SimRig(Rig):
    """An arm that moves on in real time, whatever the clock and the states say that it gives."""

    def __init__(self, server: PolicyServer) -> None:
        super().__init__(server)
        self.clock = self.create_publisher(Clock, '/clock', QOS['/clock'])
        self.held = self.create_publisher(Time, 'sim/held', QOS['sim/held'])
        self.runs = self.ticks = self.heard = True
        self.holds = False
        self.now = 10 * NANO

    def move(self) -> None:
        self.arm.step(self.velocity)
        if self.runs:
            self.now += PERIOD_NS
        stamp = Time(sec=self.now // NANO, nanosec=self.now % NANO)
        if self.ticks:
            self.clock.publish(Clock(clock=stamp))
        if self.holds:
            self.held.publish(stamp)
        if self.heard:
            state = self.arm.state()
            self.states.publish(encode_state(replace(state, stamp_ns=self.now),
                                             self.robot.joints))

    @property
    def position(self) -> float:
        return float(self.arm.state().position[0])


@pytest.fixture
def simulated(bundle_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
              ) -> Iterator[Callable[..., SimRig]]:
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=next(DOMAINS))
    rigs: list[SimRig] = []

    def make(**overrides: Any) -> SimRig:
        server = PolicyServer(**{
            'bundle': str(bundle_file), 'run_dir': str(tmp_path / 'run'), 'use_sim_time': True,
            'discovery_time': 0.0, 'shadow_ticks': 0, 'late': 0, 'overruns': 0, **overrides})
        rig = SimRig(server)
        rigs.append(rig)
        assert server.trigger_configure() == OK
        return rig

    yield make
    for rig in rigs:
        rig.server.finish()
        rig.executor_.shutdown(timeout_sec=1.0)
        rig.server.destroy_node()
        rig.destroy_node()
    rclpy.try_shutdown()


def activate(rig: SimRig) -> TransitionCallbackReturn:
    rig.spin_for(0.4)
    return rig.server.trigger_activate()


def started(rig: SimRig) -> SimRig:
    """Activate, and go until joint 1 moves fast towards its limit."""
    position = np.array(ROBOT.home)
    position[0] = ROBOT.limits.position[0][1] - 0.9
    rig.arm.reset(position)
    rig.server._loop.explore = False
    decide = rig.server._loop.runtime.decide
    rig.server._loop.runtime.decide = (  # type: ignore[method-assign]
        lambda *args: replace(decide(*args), action=np.eye(7)[0]))
    assert activate(rig) == OK
    limit = ROBOT.limits.position[0][1]
    rig.spin_until(lambda: rig.velocity[0] > FAST and limit - rig.position < NEAR)
    return rig


@pytest.mark.parametrize(('trigger', 'heard', 'ticks'), [
    ('timer', True, False), ('timer', False, False), ('timer', False, True),
    ('joint_states', False, False), ('joint_states', False, True)])
def test_a_clock_that_stops_while_the_arm_moves_stops_it(
        simulated: Callable[..., SimRig], trigger: str, heard: bool, ticks: bool) -> None:
    """The last command stood for ever: 2.65 rad beyond the limit within 8 s."""
    rig = started(simulated(trigger=trigger))
    rig.runs, rig.ticks, rig.heard = False, ticks, heard
    rig.spin_until(lambda: rig.code == 'CLOCK_STOPPED' and rig.standing)
    assert 'CLOCK_STOPPED' in rig.call('policy_server/reset').message
    rig.runs = rig.ticks = rig.heard = True
    watches = rig.server._responder.monitors
    rig.spin_until(lambda: not watches.cause(rig.server.get_clock().now().nanoseconds,
                                             time.monotonic()))
    assert rig.call('policy_server/reset').success


@pytest.mark.parametrize('trigger', ['timer', 'joint_states'])
def test_while_the_clock_stands_the_arm_is_held_where_it_is_safe(
        simulated: Callable[..., SimRig], trigger: str) -> None:
    """Before it is a stop: by then the arm would be beyond its limit."""
    rig = started(simulated(trigger=trigger, clock_timeout=60.0))
    rig.runs = rig.ticks = rig.heard = False
    rig.spin_until(lambda: rig.standing)
    assert rig.code == ''


def test_an_emergency_stop_is_answered_when_its_command_is_out_also_with_a_stopped_clock(
        simulated: Callable[..., SimRig]) -> None:
    rig = started(simulated(trigger='joint_states', clock_timeout=60.0))
    rig.runs = rig.ticks = rig.heard = False
    before = rig.velocity[0]
    client = rig.create_client(Trigger, 'policy_server/estop')
    rig.spin_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    rig.spin_until(future.done)
    sent = rig.server._responder.sender.command
    assert future.result().message == 'stopped' and sent is not None and sent[0] < before
    rig.spin_until(lambda: rig.standing, 3.0)
    assert rig.code == 'ESTOP'


@pytest.mark.parametrize(('ticks', 'now', 'said'), [
    (False, 0, 'nobody publishes /clock'), (True, 0, 'nobody publishes /clock'),
    (True, 5, 'stands at 5 s')])
def test_activating_without_a_clock_that_goes_on_is_refused(
        simulated: Callable[..., SimRig], ticks: bool, now: int, said: str,
        capfd: pytest.CaptureFixture[str]) -> None:
    rig = simulated(controller_time=0.3)
    rig.runs, rig.ticks, rig.now = False, ticks, now * NANO
    assert activate(rig) != OK and said in capfd.readouterr().err
    rig.runs, rig.ticks, rig.now = True, True, 20 * NANO
    assert activate(rig) == OK


def test_a_simulation_that_says_that_its_arm_is_held_may_hold_it(
        simulated: Callable[..., SimRig]) -> None:
    """Lockstep: the arm waits for the learner, and the clock with it."""
    rig = started(simulated(trigger='joint_states', clock_timeout=0.5))
    rig.runs, rig.heard, rig.holds = False, False, True
    rig.velocity, rig.follow = np.zeros(7), False
    rig.spin_for(0.3)
    count = len(rig.commands)
    rig.spin_for(1.5)
    assert rig.code == '' and len(rig.commands) == count
    rig.holds = False
    rig.spin_until(lambda: rig.code == 'CLOCK_STOPPED', 3.0)


@pytest.mark.parametrize('late', [0, 1])
def test_an_arm_whose_clock_stops_stays_within_its_limits(late: int) -> None:
    limit = ROBOT.limits.position[0][1]
    wire = Wire(speed=0.54, late=late)
    wire.responder.monitors._wall = wire.responder.monitors.stamps._wall = False
    wire.position[0] = limit - 0.9
    reached = -np.inf
    for _ in range(120):
        if limit - wire.position[0] > 0.5 and wire.latch.stop is None and reached < limit - 0.5:
            wire.period()
        else:
            wire.position = wire.position + wire.velocity * ROBOT.period
            wire.steady += ROBOT.period
        wire.responder.on_guard(wire.steady)
        if wire.responder.monitors.clock.silent:
            wire.waiting.append(wire.sent[-1].copy())
            wire.velocity = wire.waiting.pop(0)
        reached = max(reached, wire.position[0])
    assert limit - 0.1 < reached <= limit - ROBOT.limits.margin + 1e-9
    assert wire.latch.stop is not None and wire.latch.stop.code == 'CLOCK_STOPPED'


# States that cannot be

def test_a_second_state_with_the_stamp_of_the_first_is_not_acted_on(
        start: Callable[..., Rig]) -> None:
    rig = start(trigger='timer', out_of_order=0, late=0, overruns=0)

    def doubled(msg: JointState) -> JointState:
        rig.states.publish(msg)
        msg.position = [position + 0.4 for position in msg.position]
        return msg
    rig.mutate = doubled
    seen: list[np.ndarray] = []
    answer = rig.server._responder.supervisor.answer
    rig.server._responder.supervisor.answer = (  # type: ignore[method-assign]
        lambda state, age=0.0: seen.append(state.position) or answer(state, age))
    rig.spin_until(lambda: len(seen) > 10)
    assert len(seen) > 5 and rig.code == ''
    assert max(np.abs(position - rig.arm.state().position).max() for position in seen) < 0.2
    assert rig.server._responder.monitors.stamps.repeated > 5
    rig.server._responder.monitors.stamps._disorder.limit = 10
    rig.spin_until(lambda: rig.code == 'OUT_OF_ORDER')


@pytest.mark.parametrize('value', [1000.0, 999_999.0, -4.5])
def test_a_first_state_where_no_arm_can_be_is_not_acted_on_and_can_be_reset(
        start: Callable[..., Rig], value: float) -> None:
    rig = start(active=False, frozen=0, joint_states_time=0.0)
    rig.mutate = lambda msg: setattr(
        msg, 'position', [*msg.position[:3], value, *msg.position[4:]]) or msg
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: rig.code == 'IMPOSSIBLE_POSITION')
    rig.spin_for(0.5)
    assert not rig.steps and rig.standing
    assert 'IMPOSSIBLE' in rig.call('policy_server/reset').message
    rig.mutate = lambda msg: msg
    rig.spin_until(lambda: rig.server._responder.monitors.motion.cause() is None)
    assert rig.call('policy_server/reset').success


# Large messages

@pytest.mark.long
def test_a_huge_bundle_delays_no_tick_and_is_refused_by_its_size(
        start: Callable[..., Rig]) -> None:
    """It was deserialised on the thread that commands: 0.9 s with a command standing."""
    rig, size = start(trigger='timer', max_observation_age=5.0, late=0, overruns=0), 400
    with flooded(size << 20):
        times: list[float] = []
        send = rig.server._responder.sender.send
        rig.server._responder.sender.send = (  # type: ignore[method-assign]
            lambda *args, **kwargs: times.append(time.monotonic()) or send(*args, **kwargs))
        rig.spin_until(lambda: rig.server._border.refused['learner/policy'], 100.0)
    assert 'TOO_LARGE' in rig.server._border.last and rig.code == ''
    # A take under Python's lock is away for a tenth of a second per 40 MB, on any machine.
    assert np.max(np.diff(times)) < size / 400 + 2 * ROBOT.period


@pytest.mark.alone
def test_a_large_bundle_takes_no_tick_and_is_refused_by_name(start: Callable[..., Rig]) -> None:
    rig, size = start(trigger='timer', max_observation_age=5.0, late=0, overruns=0), 200
    loop = rig.server._loop
    with flooded(size << 20):
        rig.spin_until(lambda: rig.server.count_publishers('learner/policy') > 1, 100.0)
        before, steps = loop.records.lost_ticks, len(rig.steps)
        rig.spin_until(lambda: rig.server._border.refused['learner/policy'], 100.0)
    assert 'TOO_LARGE' in rig.server._border.last and rig.code == ''
    assert str(size << 20)[:3] in rig.server._border.last and len(rig.steps) > steps
    # A take under Python's lock is away for a tenth of a second per 40 MB: ten ticks of this arm.
    assert loop.records.lost_ticks - before < 5


def test_bundles_of_every_layout_are_read_and_no_cut_one_is() -> None:
    for data in (b'', b'x', bytes(range(256)) * 5):
        for dims in ([], [MultiArrayDimension(label='a', size=1, stride=2)] * 3,
                     [MultiArrayDimension(label='abcd' * 9)]):
            message = serialize_message(UInt8MultiArray(
                layout=MultiArrayLayout(dim=dims, data_place=3), data=array('B', data)))
            place, end = data_place(message, len(message))
            assert message[place:end] == data
            for length in range(end):
                with pytest.raises(CodecError):
                    data_place(message[:length], length)
    with pytest.raises(CodecError, match='fields'):
        data_place(b'\0\1\0\0\xff\xff\xff\xff', 8)


# The watches alone

def state_at(tick: int, position: float, velocity: float = 0.0) -> RobotState:
    at = np.array(ROBOT.home)
    at[0] = position
    return RobotState(NANO + tick * PERIOD_NS, at, velocity * np.eye(7)[0], np.zeros(7))


def test_ten_states_that_agree_clear_a_spike_however_far_away_they_are() -> None:
    watch = MotionWatch(ROBOT, spike=2.0, frozen=0, mismatch=0.0, ticks=10)
    assert watch.take(state_at(0, 2.5), np.zeros(7)) is None
    stamps = [state_at(1, -2.5 + 1e-3 * n) for n in range(SETTLED)]
    codes = [watch.take(replace(state, stamp_ns=NANO + PERIOD_NS + n), np.zeros(7))
             for n, state in enumerate(stamps)]
    assert [code is None for code in codes] == [False] * (SETTLED - 1) + [True]
    assert watch.cause() is None


def test_states_that_disagree_clear_no_spike() -> None:
    watch = MotionWatch(ROBOT, spike=2.0, frozen=0, mismatch=0.0, ticks=10)
    watch.take(state_at(0, 0.0), np.zeros(7))
    for n in range(30):
        place = 2.5 if n % 2 else -2.5
        assert watch.take(replace(state_at(0, place), stamp_ns=NANO + n + 1), np.zeros(7))


@pytest.mark.parametrize(('commanded', 'drift', 'stops'), [
    (0.0, 0.15, True), (0.5, 0.0, False), (0.5, 0.2, True), (0.0, 0.02, False)])
def test_drift_is_found_within_seconds_and_true_motion_is_not_drift(
        commanded: float, drift: float, stops: bool) -> None:
    """Of an arm whose velocities say what its positions do, only the commands can tell."""
    for honest in (True, False):
        watch, position, found = DriftWatch(ROBOT), 0.0, None
        for tick in range(100):
            sign = 1.0 if tick % 40 < 20 else -1.0
            command = sign * commanded
            watch.commanded(command * np.eye(7)[0])
            position += (command + drift) * ROBOT.period
            reported = command + drift * honest
            found = found or watch.take(state_at(tick, position, reported))
        expected = stops and not (honest and commanded)
        assert (found is not None and found.code == 'DRIFT') == expected


def test_a_reset_by_something_else_is_no_drift() -> None:
    watch = DriftWatch(ROBOT)
    for tick in range(100):
        watch.commanded(None if 40 <= tick < 60 else np.zeros(7))
        assert watch.take(state_at(tick, 0.0 if tick < 60 else 1.5)) is None


def test_a_clock_is_late_by_its_own_measure_and_time_away_does_not_count() -> None:
    watch = ClockWatch(1.0, 0.05)
    steady, now = 100.0, NANO
    for tick in range(60):  # a simulation at a tenth of the speed
        now += PERIOD_NS * (tick % 10 == 0)
        steady += 0.05
        watch.look(now, steady)
        assert tick < 20 or not watch.late and watch.cause() is None
    steady += 30.0  # this process was away
    watch.look(now, steady)
    assert watch.cause() is None
    for _ in range(25):
        steady += 0.05
        watch.look(now, steady)
    assert watch.late and watch.cause() is not None
    watch.hold(now)
    watch.look(now, steady + 0.05)
    assert not watch.late and watch.cause() is None
