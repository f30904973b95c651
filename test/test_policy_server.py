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

"""The policy server against a MuJoCo arm over real topics: one test a failure mode."""

from collections.abc import Callable
from dataclasses import replace
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import JointState
from server_rig import newer
from server_rig import OK
from server_rig import Rig
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import RobotState
from spaars_ros.policy.bundle import Bundle
from spaars_ros.ros.codecs import encode_bytes
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.stop import Stop

pytestmark = pytest.mark.timeout(120)

pytest_plugins = ['server_rig']


READER = """
import rclpy
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from spaars_ros.ros.qos import QOS
rclpy.init()
node = Node('reader')
node.create_subscription(Float64MultiArray, 'policy_server/step', lambda msg: None,
                         QOS['policy_server/step'])
rclpy.spin(node)
"""


@pytest.mark.parametrize('trigger', ['joint_states', 'timer'])
def test_steps_are_numbered_without_a_gap_and_spooled(start: Callable[..., Rig], trigger: str
                                                      ) -> None:
    rig = start(trigger=trigger)
    rig.spin_until(lambda: len(rig.steps) > 30)
    sequence = [int(step['sequence'][0]) for step in rig.steps]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    spool = rig.server._spool
    assert spool.flush()
    row = spool.read(sequence[5], sequence[5])[0]
    assert spool.schema.get(row, 'sequence') == sequence[5]
    assert np.array_equal(spool.schema.get(row, 'action'), rig.steps[5]['action'])


def test_every_command_answers_a_joint_states_by_its_stamp(start: Callable[..., Rig]) -> None:
    rig = start()
    stamps = {round(float(step['stamp'][0]), 4) for step in rig.steps}
    labels = {round(int(msg.layout.dim[0].label.removeprefix('stamp:')) * 1e-9, 4)
              for msg in rig.commands}
    assert len(stamps & labels) >= len(stamps) - 1


def test_a_stamp_seen_before_gets_the_same_command_and_no_new_record(start: Callable[..., Rig]
                                                                     ) -> None:
    rig = start()
    rig.timer.cancel()
    rig.spin_for(0.1)
    state = rig.arm.state()
    msg = encode_state(RobotState(rig.get_clock().now().nanoseconds, state.position,
                                  state.velocity, state.effort), rig.robot.joints)
    rig.commands.clear()
    rig.steps.clear()
    rig.states.publish(msg)
    rig.spin_until(lambda: rig.commands)
    rig.states.publish(msg)
    rig.spin_until(lambda: len(rig.commands) >= 2)
    assert rig.commands[0].data == rig.commands[1].data
    assert rig.commands[0].layout.dim[0].label == rig.commands[1].layout.dim[0].label
    rig.spin_for(0.05)
    assert len(rig.steps) == 1


def test_a_joint_that_is_no_longer_reported_stops_the_arm_by_name(
        start: Callable[..., Rig]) -> None:
    rig = start(max_observation_age=0.5)

    def drop(msg: JointState) -> JointState:
        msg.name, msg.position = msg.name[:-1], msg.position[:-1]
        msg.velocity, msg.effort = msg.velocity[:-1], msg.effort[:-1]
        return msg

    rig.mutate = drop
    rig.spin_until(lambda: rig.code == 'STALE')
    assert 'panda_joint7' in rig.statuses[-1]['text']
    rig.spin_until(lambda: rig.standing)
    rig.spin_until(lambda: rig.steps[-1]['flag'][0] == Flag.ABORTED)
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'panda_joint7' in answer.message
    rig.mutate = lambda msg: msg
    rig.spin_for(0.2)
    assert rig.code == 'STALE', 'a stop never clears itself'
    assert rig.call('policy_server/reset').success
    rig.spin_until(lambda: rig.code == '')


@pytest.mark.parametrize('field', ['position', 'velocity', 'effort'])
def test_nan_in_joint_states_stops(start: Callable[..., Rig], field: str) -> None:
    rig = start()

    def poison(msg: JointState) -> JointState:
        getattr(msg, field)[2] = float('nan')
        return msg

    rig.mutate = poison
    rig.spin_until(lambda: rig.code == 'NON_FINITE_STATE')
    assert 'panda_joint3' in rig.statuses[-1]['text']
    rig.spin_until(lambda: rig.standing)
    assert all(np.isfinite(msg.data).all() for msg in rig.commands)


def brakes_slowly(rig: Rig, periods: int = 100) -> list[tuple[float, Any]]:
    """
    Set the last command to 1 rad/s and let it take `periods` to come to rest.

    At the Panda's accelerations one period is enough, and braking too fast would not show.
    Returns what `listen` does.
    """
    limits = rig.robot.limits.model_copy(update={
        'acceleration': [1.0 / (periods * rig.robot.period)] * 7})
    slow = SafetyFilter(rig.robot.model_copy(update={'limits': limits}))
    slow._last = np.ones(7)
    rig.server._loop.filter = slow
    return listen(rig)


def listen(rig: Rig) -> list[tuple[float, Any]]:
    """Return the list that every command sent from now on is put into, with its time."""
    writer = rig.server._writer
    sent: list[tuple[float, Any]] = []
    send = writer.send

    def timed(velocity: Any, position: Any, stamp: int) -> None:
        sent.append((time.monotonic(), velocity))
        send(velocity, position, stamp)

    writer.send = timed  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize('trigger', ['joint_states', 'timer'])
def test_nan_ten_times_a_period_brakes_within_the_acceleration_limit(
        start: Callable[..., Rig], trigger: str) -> None:
    rig = start(trigger=trigger)
    rig.timer.cancel()
    period = rig.robot.period
    sent = brakes_slowly(rig)

    def poison() -> None:
        state = rig.arm.state()
        rig.states.publish(encode_state(RobotState(
            rig.get_clock().now().nanoseconds, state.position * np.nan, state.velocity,
            state.effort), rig.robot.joints))

    rig.create_timer(period / 10, poison)
    rig.spin_until(lambda: rig.code == 'NON_FINITE_STATE')
    rig.spin_until(lambda: len(sent) > 12)
    begin, first = sent[0]
    step = 1.0 / 100
    for at, velocity in sent:
        # Two periods for timers that are late and catch up.
        assert (np.abs(velocity - first) <= step * ((at - begin) / period + 2.0)).all()


def test_a_stopped_arm_without_joint_states_brakes_in_every_period(start: Callable[..., Rig]
                                                                   ) -> None:
    rig = start()
    rig.timer.cancel()
    rig.spin_for(0.1)
    sent = brakes_slowly(rig)
    rig.server._responder.trip(Stop('ESTOP', 1.0, 0.0, 'by the test'))
    rig.spin_until(lambda: len(sent) > 12)
    assert np.median(np.diff([at for at, _ in sent])) < 1.5 * rig.robot.period


def test_a_driver_that_repeats_one_stamp_is_stopped(start: Callable[..., Rig]) -> None:
    """Each repeated state gets its command again, but a stop has to brake all the same."""
    rig = start(max_observation_age=0.3)
    rig.timer.cancel()
    rig.spin_for(0.1)
    state = rig.arm.state()
    msg = encode_state(RobotState(rig.get_clock().now().nanoseconds, state.position,
                                  state.velocity, state.effort), rig.robot.joints)
    brakes_slowly(rig, 20)
    rig.create_timer(rig.robot.period / 4, lambda: rig.states.publish(msg))
    rig.spin_until(lambda: rig.code == 'STALE')
    rig.spin_until(lambda: rig.standing, 4.0)


def test_without_fresh_joint_states_the_timer_does_not_drive_into_a_limit(
        start: Callable[..., Rig]) -> None:
    rig = start(trigger='timer', max_observation_age=2.0)
    rig.timer.cancel()
    rig.spin_for(0.1)
    server, room = rig.server, 0.2
    lost = server._loop.records.lost_ticks
    sent = listen(rig)
    state = server._responder.supervisor._state
    server._loop.filter.reset(replace(state, velocity=np.eye(7)[0]))
    position = np.array(rig.robot.home)
    position[0] = rig.robot.limits.position[0][1] - room
    now = rig.get_clock().now().nanoseconds
    server._responder.monitors.stamps._newest = now
    server._responder.monitors.stamps._arrived = time.monotonic()
    server._responder.sender.stamp = now
    server._responder.sender.command = server._loop.filter.last
    server._responder.supervisor._state = replace(state, position=position, stamp_ns=now)
    begin = time.monotonic()
    rig.spin_until(lambda: len(sent) > 20)
    assert rig.code == ''
    times = np.array([begin, *(at for at, _ in sent)])
    speeds = np.array([1.0, *(velocity[0] for _, velocity in sent)])
    travelled = float(np.sum(speeds[:-1] * np.diff(times)))
    assert 0.5 * room < travelled < room + 0.02
    assert server._loop.records.lost_ticks - lost >= len(sent)


def test_nothing_is_sent_while_the_reset_service_drives_the_arm(
        start: Callable[..., Rig], tmp_path: Path) -> None:
    task = tmp_path / 'short.yaml'
    text = (Path(__file__).parents[1] / 'config/task/reach.yaml').read_text()
    task.write_text(text.replace('horizon: 100', 'horizon: 8').replace('hold: 10', 'hold: 2'))
    rig = start(trigger='timer', task=str(task), reset_service='arm/reset')
    rig.spin_until(lambda: rig.statuses[-1]['phase'] == 'RESETTING')
    rig.spin_for(0.1)
    assert rig.standing
    rig.commands.clear()
    rig.timer.cancel()  # also without new joint_states
    rig.spin_for(0.5)
    assert rig.code == '' and not rig.commands
    assert rig.call('policy_server/estop').success
    rig.spin_until(lambda: rig.standing)


@pytest.mark.parametrize('trigger', ['joint_states', 'timer'])
def test_stale_joint_states_stop_the_arm_smoothly(start: Callable[..., Rig], trigger: str
                                                  ) -> None:
    rig = start(trigger=trigger, max_observation_age=0.2)
    rig.mutate = lambda msg: None
    rig.spin_until(lambda: rig.code == 'STALE')
    value, threshold = (float(rig.statuses[-1][key]) for key in ('value', 'threshold'))
    assert value > threshold == 0.2
    rig.spin_until(lambda: rig.standing)
    limit = np.asarray(rig.robot.limits.acceleration) * rig.robot.period + 1e-9
    sent = np.array([msg.data for msg in rig.commands])
    assert (np.abs(np.diff(sent, axis=0)) <= limit).all()
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'STALE' in answer.message


def test_estop_latches_until_reset(start: Callable[..., Rig]) -> None:
    rig = start()
    assert rig.call('policy_server/estop').success
    rig.spin_until(lambda: rig.standing)
    rig.spin_until(lambda: rig.steps[-1]['flag'][0] == Flag.ABORTED)
    count = len(rig.steps)
    rig.spin_for(0.5)
    assert rig.code == 'ESTOP' and rig.standing and len(rig.steps) == count
    episode = rig.steps[-1]['episode'][0]
    assert rig.call('policy_server/reset').success
    rig.spin_until(lambda: len(rig.steps) > count, 20.0)
    assert rig.steps[-1]['episode'][0] == episode + 1 and rig.steps[count]['index'][0] == 0


def test_a_latched_stop_survives_deactivate_and_activate(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.call('policy_server/estop')
    assert rig.server.trigger_deactivate() == OK
    assert rig.server.trigger_activate() == OK
    count = len(rig.steps) + 1
    rig.spin_for(0.5)
    assert rig.code == 'ESTOP' and rig.standing and len(rig.steps) <= count


def test_bundle_with_a_wrong_digest_is_refused_while_running(start: Callable[..., Rig],
                                                             bundle: Bundle) -> None:
    rig = start()
    data = bytearray(newer(bundle, 1))
    data[len(data) // 2] ^= 1
    rig.policy.publish(encode_bytes(bytes(data)))
    rig.spin_until(lambda: rig.diagnostics and 'wrong_digest' in rig.diagnostics[-1].message)
    assert values_of(rig.diagnostics[-1])['bundle_version'] == '0'
    count = len(rig.steps)
    rig.spin_until(lambda: len(rig.steps) > count + 3)
    assert rig.code == ''


def test_bundle_for_other_joints_and_older_version_are_refused(start: Callable[..., Rig],
                                                               bundle: Bundle) -> None:
    rig = start()
    joints = [*bundle.manifest.joints[:-1], 'elbow']
    for data, reason in ((newer(bundle, 3, joints=joints), 'wrong_joints'),
                         (newer(bundle, 2), ''), (newer(bundle, 1), 'old_version')):
        rig.policy.publish(encode_bytes(data))
        if reason:
            rig.spin_until(lambda r=reason: rig.diagnostics  # type: ignore[misc]
                           and r in values_of(rig.diagnostics[-1])['refusal'])
        else:
            rig.spin_until(lambda: rig.steps[-1]['bundle_version'][0] == 2)
    assert rig.steps[-1]['bundle_version'][0] == 2


def test_swap_loses_no_tick(start: Callable[..., Rig], bundle: Bundle) -> None:
    """Driven state by state: on a busy machine a timer's states overtake each other."""
    rig = start(shadow_ticks=3)  # five trials within an episode
    rig.timer.cancel()
    rig.spin_for(0.2)
    answered = len(rig.steps)
    for tick in range(40):
        if tick % 8 == 0:
            rig.policy.publish(encode_bytes(newer(bundle, 1 + tick // 8)))
        rig.spin_for(rig.robot.period)
        rig.move()
        rig.spin_until(lambda n=answered + tick: len(rig.steps) > n)  # type: ignore[misc]
        assert float(rig.steps[-1]['stamp'][0]) == pytest.approx(rig.asked[-1] * 1e-9, abs=1e-6,
                                                                 rel=0)
    indices = [int(step['index'][0]) for step in rig.steps[answered:]]
    assert np.all(np.diff(indices) == 1)
    assert rig.steps[-1]['bundle_version'][0] == 5 and rig.code == ''


def test_second_server_is_refused(start: Callable[..., Rig], tmp_path: Path,
                                  capfd: pytest.CaptureFixture[str]) -> None:
    start()
    second = start(active=False, run_dir=str(tmp_path / 'other'), discovery_time=2.0)
    capfd.readouterr()
    assert second.server.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert 'a second policy server on the same robot' in capfd.readouterr().err


def test_a_second_server_that_comes_later_stops_the_arm(start: Callable[..., Rig]) -> None:
    """Two that are configured at the same time do not see each other then."""
    rig = start()
    other = rig.create_publisher(Float64MultiArray, 'command', QOS['command'])
    rig.spin_until(lambda: rig.code == 'SECOND_SERVER')
    assert rig.statuses[-1]['value'] == '2'
    rig.spin_until(lambda: rig.standing)
    assert 'SECOND_SERVER' in rig.call('policy_server/reset').message
    rig.destroy_publisher(other)
    rig.spin_until(lambda: rig.call('policy_server/reset').success)


def test_run_folder_in_use_is_refused(start: Callable[..., Rig], tmp_path: Path) -> None:
    start()
    second = start(active=False, discovery_time=0.0)
    second.server._exclusive.refuse = lambda own, wait: None  # type: ignore[method-assign]
    assert second.server.trigger_configure() == TransitionCallbackReturn.FAILURE


@pytest.mark.parametrize('overrides', [
    {'bundle': ''}, {'bundle': '/nowhere/a.spaars'}, {'robot': 'nobody'}, {'task': 'nothing'}])
def test_configure_fails_on_what_cannot_be_loaded(start: Callable[..., Rig],
                                                  overrides: dict[str, str]) -> None:
    rig = start(active=False, **overrides)
    assert rig.server.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert not rig.commands


def test_zero_is_the_last_command_at_deactivate(start: Callable[..., Rig]) -> None:
    """A driver that holds its last command would otherwise go on moving for ever."""
    rig = start()
    assert rig.server.trigger_deactivate() == OK
    rig.spin_for(0.5)
    assert rig.standing
    assert rig.steps[-1]['flag'][0] == Flag.ABORTED


def test_a_closing_record_that_fails_leaves_no_velocity_on_the_controller(
        start: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = start()

    def fail(row: Any) -> bool:
        raise ValueError('no such record')

    monkeypatch.setattr(rig.server._spool, 'append', fail)
    brakes_slowly(rig)
    assert rig.server.trigger_deactivate() == OK
    rig.spin_for(0.3)
    assert rig.standing


def test_lost_ticks_go_on_counting_in_a_reopened_run(start: Callable[..., Rig]) -> None:
    rig = start()
    server = rig.server
    server._loop.records.lost_ticks += 500
    assert server.trigger_deactivate() == OK and server.trigger_cleanup() == OK
    assert server.trigger_configure() == OK
    assert server._loop.records.lost_ticks >= 500


def test_reopened_run_continues_numbering(start: Callable[..., Rig]) -> None:
    rig = start()
    server = rig.server
    assert server.trigger_deactivate() == OK and server.trigger_cleanup() == OK
    rig.spin_for(0.3)
    before = rig.steps[-1]
    rig.steps.clear()
    assert server.trigger_configure() == OK and server.trigger_activate() == OK
    rig.spin_until(lambda: rig.steps)
    assert rig.steps[0]['sequence'][0] == before['sequence'][0] + 1
    assert rig.steps[0]['episode'][0] == before['episode'][0] + 1
    assert rig.steps[0]['index'][0] == 0


def test_fetch_publishes_recorded_steps_again(start: Callable[..., Rig]) -> None:
    rig = start()
    rig.spin_until(lambda: rig.steps[-1]['sequence'][0] >= 10)
    rig.steps.clear()
    rig.fetch.publish(Float64MultiArray(data=[2.0, 7.0]))
    rig.spin_until(lambda: {2, 3, 4, 5, 6, 7} <= {int(s['sequence'][0]) for s in rig.steps})


@pytest.mark.alone
def test_a_stalled_reader_delays_no_command(start: Callable[..., Rig]) -> None:
    """A learner that hangs with its queues full must not hold the arm's controller."""
    rig = start()
    rig.spin_until(lambda: len(rig.steps) > 20)
    reader = subprocess.Popen(
        [sys.executable, '-c', READER],
        env={**os.environ, 'ROS_DOMAIN_ID': str(rig.context.get_domain_id())})
    try:
        rig.spin_until(lambda: rig.server._steps.get_subscription_count() == 2, 20.0)
        reader.send_signal(signal.SIGSTOP)
        # The rig shares the server's process: its own decoding of the flood would be the delay.
        rig.destroy_subscription(rig.hearing)
        took: list[float] = []
        publish = rig.server._steps.publish

        def timed(msg: Float64MultiArray) -> None:
            begin = time.monotonic()
            publish(msg)
            took.append(time.monotonic() - begin)

        rig.server._steps.publish = timed  # type: ignore[method-assign]
        for _ in range(300):  # 6,000 records, more than any queue on the way holds
            rig.server._replayer.request(0, 19)
            rig.spin_for(0.02)
        assert len(took) > 3000 and rig.code == ''
        # One that waits for the reader takes Fast DDS's 100 ms.
        assert np.mean(np.array(took) > 0.05) < 0.01
    finally:
        reader.kill()
        reader.wait()


def test_budget_done_holds_and_makes_no_more_records(start: Callable[..., Rig],
                                                     tmp_path: Path) -> None:
    task = tmp_path / 'short.yaml'
    text = (Path(__file__).parents[1] / 'config/task/reach.yaml').read_text()
    task.write_text(text.replace('horizon: 100', 'horizon: 8').replace('hold: 10', 'hold: 2'))
    rig = start(task=str(task), episodes=2)
    rig.spin_until(lambda: rig.code == 'BUDGET_DONE', 40.0)
    rig.spin_until(lambda: rig.standing)
    count = len(rig.steps)
    rig.spin_for(0.5)
    assert len(rig.steps) == count and rig.steps[-1]['episode'][0] == 1
    assert [int(s['flag'][0]) for s in rig.steps].count(Flag.TRUNCATED) == 2


def test_a_spool_that_cannot_write_stops_the_arm_before_a_record_is_lost(
        start: Callable[..., Rig]) -> None:
    rig = start(max_backlog=5)
    spool = rig.server._spool
    full = os.open('/dev/full', os.O_WRONLY)
    spool._fd, good = full, spool._fd
    rig.spin_until(lambda: rig.code == 'SPOOL')
    answer = rig.call('policy_server/reset')
    assert not answer.success and 'SPOOL' in answer.message
    count = spool.count
    # The full disk is another file to the spool; with the first one back nothing is lost.
    spool._fd, spool.lost = good, ''
    os.close(full)
    assert spool.flush()
    assert spool.read(0, count - 1)[:, 0].tolist() == list(range(count))
    assert rig.call('policy_server/reset').success


def test_a_lost_learner_is_said_and_its_last_bundle_goes_on(start: Callable[..., Rig],
                                                            bundle: Bundle) -> None:
    rig = start()
    rig.policy.publish(encode_bytes(newer(bundle, 4)))
    rig.spin_until(lambda: rig.diagnostics
                   and values_of(rig.diagnostics[-1])['learner_connected'] == 'True'
                   and rig.steps[-1]['bundle_version'][0] == 4)
    rig.destroy_publisher(rig.policy)
    rig.spin_until(lambda: rig.diagnostics[-1].message
                   == 'learner gone: running bundle version 4')
    count = len(rig.steps)
    rig.spin_until(lambda: len(rig.steps) > count + 5)
    assert rig.steps[-1]['bundle_version'][0] == 4 and rig.code == ''


def test_missed_periods_are_counted(start: Callable[..., Rig]) -> None:
    rig = start(trigger='timer')
    before = rig.server._loop.records.lost_ticks
    time.sleep(10.5 * rig.robot.period)
    rig.spin_for(0.3)
    assert rig.server._loop.records.lost_ticks - before >= 9


def test_a_clock_that_jumps_back_stops(start: Callable[..., Rig]) -> None:
    rig = start()

    def back(msg: JointState) -> JointState:
        msg.header.stamp.sec -= 100
        return msg

    rig.mutate = back
    rig.spin_until(lambda: rig.code == 'CLOCK_JUMP')
    rig.spin_until(lambda: rig.standing)


def test_joint_states_from_the_future_stop(start: Callable[..., Rig]) -> None:
    rig = start(active=False)

    def ahead(msg: JointState) -> JointState:
        msg.header.stamp.sec += 100
        return msg

    rig.mutate = ahead
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: rig.code == 'CLOCK_AHEAD')
    assert 'CLOCK_AHEAD' in rig.call('policy_server/reset').message


@pytest.mark.parametrize('answer', ['false', 'nothing'])
def test_a_reset_that_fails_stops(start: Callable[..., Rig], tmp_path: Path, answer: str
                                  ) -> None:
    task = tmp_path / 'short.yaml'
    text = (Path(__file__).parents[1] / 'config/task/reach.yaml').read_text()
    task.write_text(text.replace('horizon: 100', 'horizon: 8').replace('hold: 10', 'hold: 2'))
    rig = start(task=str(task), reset_service='arm/reset', reset_time=1.0)
    if answer == 'false':
        rig.create_service(Trigger, 'arm/reset', lambda request, response: response)
    rig.spin_until(lambda: rig.code == 'RESET_FAILED', 20.0)
    assert 'arm/reset' in rig.statuses[-1]['text'] and rig.standing


def test_position_interface_starts_at_the_measured_position(start: Callable[..., Rig]) -> None:
    """From the last commanded position, an arm moved by hand would jump back there."""
    rig = start(active=False, command_interface='forward_position')
    rig.follow = False
    rig.arm.reset(np.asarray(rig.robot.home) + 0.1)
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.commands) > 3)
    limit = np.asarray(rig.robot.limits.velocity) * rig.robot.period
    for msg in rig.commands:
        assert (np.abs(np.array(msg.data) - rig.arm.state().position) <= 2.0 * limit + 0.01).all()
    assert (np.abs(np.array(rig.commands[0].data) - np.asarray(rig.robot.home) - 0.1)
            <= limit).all()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_zero_as_the_last_command_and_exit_code_0(
        start: Callable[..., Rig], bundle_file: Path, tmp_path: Path, number: signal.Signals
        ) -> None:
    """Ctrl-C in the middle of a motion must not leave the last velocity on the controller."""
    rig = start(active=False)
    process = subprocess.Popen(
        [sys.executable, '-m', 'spaars_ros.nodes.policy_server.node', '--ros-args', '-r',
         '__node:=outside', '-p', f'bundle:={bundle_file}', '-p', f'run_dir:={tmp_path}', '-p',
         'trigger:=joint_states', '-p', 'max_observation_age:=2.0'],
        env={**os.environ, 'ROS_DOMAIN_ID': str(rig.context.get_domain_id())})
    try:
        client = rig.create_client(ChangeState, 'outside/change_state')
        rig.spin_until(client.service_is_ready, 30.0)
        rig.spin_for(0.5)  # the answer's way back is matched a little later
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            future = client.call_async(request)
            rig.spin_until(future.done, 30.0)
            assert future.result().success
        rig.spin_until(lambda: any(any(msg.data) for msg in rig.commands)
                       and len(rig.steps) > 5, 20.0)
        process.send_signal(number)
        rig.spin_until(lambda: process.poll() is not None, 20.0)
        rig.spin_for(0.3)
        assert process.returncode == 0
        assert rig.standing and rig.steps[-1]['flag'][0] == Flag.ABORTED
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
