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

"""Codecs and parameters: what is malformed is named."""

from array import array
import math
import os
import subprocess
import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.derived_velocity import DerivedVelocity
from spaars_ros.data.schema import RobotState
from spaars_ros.data.schema import StepSchema
from spaars_ros.ros import codecs
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.diagnostics import LoopStatistics
from spaars_ros.ros.diagnostics import printable
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.qos import QOS
from spaars_ros.run.liveview import clean

SCHEMA = StepSchema(observation=4, latent=2, action=3)
JOINTS = ['a', 'b', 'c']


def joint_state(**changes: Any) -> JointState:
    values = {'name': ['c', 'gripper', 'a', 'b'], 'position': [3.0, 9.0, 1.0, 2.0],
              'velocity': [0.3, 0.9, 0.1, 0.2], 'effort': [30.0, 90.0, 10.0, 20.0], **changes}
    return JointState(**values)


def test_step_record_survives_the_wire_and_its_labels_describe_it() -> None:
    row = np.arange(SCHEMA.width, dtype=float)
    for name in ('flag', 'mode', 'reward_given', 'outcome', 'budget'):
        SCHEMA.set(row, name, 1)
    msg = ArrayCodec(SCHEMA).encode(row)
    assert np.array_equal(ArrayCodec(SCHEMA).row(msg), row)
    other = ArrayCodec.of_message(msg)
    assert other.fields == SCHEMA.fields
    place = msg.layout.dim[list(SCHEMA.fields).index('action')]
    assert (place.label, place.size, place.stride) == ('action', 3, SCHEMA.fields['action'].start)


def test_a_message_of_another_schema_names_the_field() -> None:
    msg = ArrayCodec(StepSchema(observation=5, latent=2, action=3)).encode_fields()
    with pytest.raises(CodecError, match='observation has size 5') as error:
        ArrayCodec(SCHEMA).row(msg)
    assert error.value.code == 'WRONG_LAYOUT'
    with pytest.raises(CodecError, match="'y'"):
        ArrayCodec({'x': 1}).row(ArrayCodec({'y': 1}).encode([1.0]))


def test_a_message_with_too_few_values_is_refused() -> None:
    msg = ArrayCodec({'x': 2, 'y': 1}).encode([1.0, 2.0, 3.0])
    msg.data = msg.data[:2]
    with pytest.raises(CodecError, match='2 values'):
        ArrayCodec({'x': 2, 'y': 1}).row(msg)
    with pytest.raises(CodecError, match='NO_LABELS'):
        ArrayCodec.of_message(Float64MultiArray(data=[1.0]))


def test_a_non_finite_field_is_refused_unless_allowed() -> None:
    codec = ArrayCodec({'x': 1, 'gate': 1})
    with pytest.raises(CodecError, match='gate'):
        codec.row(codec.encode([1.0, math.nan]))
    assert math.isnan(codec.row(codec.encode([1.0, math.nan]), nonfinite=('gate',))[1])
    with pytest.raises(CodecError, match='x is'):
        codec.row(codec.encode([math.inf, 0.0]), nonfinite=('gate',))


def test_joint_states_are_put_into_the_robot_files_order() -> None:
    msg = joint_state()
    msg.header.stamp.sec, msg.header.stamp.nanosec = 12, 345
    state = JointStateReader(JOINTS).read(msg)
    assert state.stamp_ns == 12_000_000_345
    assert state.position.tolist() == [1.0, 2.0, 3.0]
    assert state.velocity.tolist() == [0.1, 0.2, 0.3]
    assert state.effort.tolist() == [10.0, 20.0, 30.0]


@pytest.mark.parametrize(('changes', 'code', 'named'), [
    ({'name': ['c', 'a', 'a', 'b']}, 'DUPLICATE_JOINT', "'a'"),
    ({'position': [1.0]}, 'WRONG_LENGTH', 'position'),
    ({'velocity': []}, 'WRONG_LENGTH', 'velocity.*`velocity: derived`'),
    ({'effort': []}, 'WRONG_LENGTH', 'effort.*`effort: none`'),
    ({'velocity': [0.0, 0.0, 0.0, math.nan]}, 'NON_FINITE_STATE',
     'velocity of b.*`velocity: derived`'),
    ({'position': [math.inf, 0.0, 0.0, 0.0]}, 'NON_FINITE_STATE', 'position of c')])
def test_malformed_joint_states_name_what_is_wrong(changes: dict[str, Any], code: str,
                                                   named: str) -> None:
    reader = JointStateReader(JOINTS)
    reader.read(joint_state())
    with pytest.raises(CodecError, match=named) as error:
        reader.read(joint_state(**changes))
    assert error.value.code == code


def part(names: str, sec: int, value: float) -> JointState:
    """Return the message of some joints, all at one value."""
    msg = JointState(name=list(names), position=[value] * len(names),
                     velocity=[value] * len(names), effort=[value] * len(names))
    msg.header.stamp.sec = sec
    return msg


def test_parts_make_one_state_with_the_oldest_parts_stamp() -> None:
    """A gripper's driver, or half an arm's, publishes its joints in messages of its own."""
    reader = JointStateReader(['a', 'b', 'c'])
    assert reader.read(part('xy', 1, 9.0)) is None, 'none of ours'
    assert reader.read(part('ac', 1, 1.0)) is None and reader.behind == ['b']
    state = reader.read(part('xb', 2, 2.0))
    assert state is not None and state.stamp_ns == 10**9
    assert state.position.tolist() == [1.0, 2.0, 1.0] == state.effort.tolist()
    state = reader.read(part('ac', 3, 3.0))
    assert state is not None and state.stamp_ns == 2 * 10**9 and reader.behind == ['b']
    assert reader.read(part('ac', 4, 4.0)) is None, 'the other part is as old as before'
    kept = state.position
    reader.read(part('b', 5, 5.0))
    assert kept.tolist() == [3.0, 2.0, 3.0], 'a state that was given does not change'


def test_a_state_in_parts_that_comes_again_is_given_again() -> None:
    reader = JointStateReader(['a', 'b'])
    reader.read(part('a', 1, 1.0))
    assert reader.read(part('b', 1, 1.0)) is not None
    assert reader.read(part('a', 1, 1.0)) is not None


def test_a_robot_without_velocities_has_them_from_its_positions() -> None:
    reader = JointStateReader(['a'], derived=DerivedVelocity(0.05))
    rng, speeds = np.random.default_rng(0), []
    for k in range(200):
        msg = JointState(name=['a'], position=[0.3 * k * 0.05 + rng.normal() * 1e-4], effort=[0.0],
                         velocity=[] if k % 2 else [math.nan])
        msg.header.stamp.nanosec = k * 50_000_000 % 10**9
        msg.header.stamp.sec = k * 50_000_000 // 10**9
        state = reader.read(msg)
        assert state is not None
        speeds.append(state.velocity[0])
    assert speeds[0] == 0.0
    np.testing.assert_allclose(speeds[2:], 0.3, atol=0.01)
    reader.forget()
    msg.position = [-2.0]
    msg.header.stamp.sec += 1
    again = reader.read(msg)
    assert again is not None and again.velocity[0] == 0.0, 'the arm was put somewhere else'


def test_nan_of_a_joint_that_is_not_ours_is_ignored() -> None:
    msg = joint_state(position=[3.0, math.nan, 1.0, 2.0])
    assert JointStateReader(JOINTS).read(msg).position.tolist() == [1.0, 2.0, 3.0]


def test_effort_may_be_missing_only_where_it_is_not_needed() -> None:
    reader = JointStateReader(JOINTS, effort=False)
    assert reader.read(joint_state(effort=[])).effort.tolist() == [0.0, 0.0, 0.0]
    nan = [math.nan] * 4
    assert reader.read(joint_state(effort=nan)).effort.tolist() == [0.0, 0.0, 0.0]


def test_commands_carry_the_stamp_that_they_answer() -> None:
    command = codecs.encode_command(np.array([1.0, 2.0]), 1_234_567_890_123_456_789)
    assert codecs.command_stamp(command) == 1_234_567_890_123_456_789
    assert codecs.decode_command(command, 2).tolist() == [1.0, 2.0]
    trajectory = codecs.encode_trajectory(['a'], np.ones(1), np.zeros(1), 0.05, 77)
    assert codecs.command_stamp(trajectory) == 77
    assert trajectory.header.stamp.sec == 0, 'zero means at once'
    assert trajectory.points[0].time_from_start.nanosec == 50_000_000
    assert codecs.command_stamp(Float64MultiArray(data=[1.0])) is None


@pytest.mark.parametrize('data', [[1.0], [1.0, math.nan]])
def test_a_bad_command_is_refused(data: list[float]) -> None:
    with pytest.raises(CodecError):
        codecs.decode_command(Float64MultiArray(data=data), 2)


def test_bytes_and_states_survive_the_wire() -> None:
    data = bytes(range(256)) * 10
    assert codecs.decode_bytes(codecs.encode_bytes(data)) == data
    state = RobotState(5_000_000_007, np.ones(3), np.zeros(3), np.full(3, 2.0))
    again = JointStateReader(JOINTS).read(codecs.encode_state(state, JOINTS))
    assert again.stamp_ns == state.stamp_ns and again.effort.tolist() == [2.0, 2.0, 2.0]
    assert isinstance(codecs.encode_state(state, JOINTS).position, array)


TABLE = ParameterTable(
    Param('limit', 5.0, 'what is allowed', unit='m', low=0.0, high=10.0, live=True),
    Param('count', 3, 'how many', low=1), Param('kind', 'a', 'which', choices=('a', 'b')))


@pytest.mark.parametrize(('name', 'value', 'wrong'), [
    ('limit', 4, ''), ('limit', 10.0, ''), ('limit', math.nan, 'not finite'),
    ('limit', -0.1, 'below 0'), ('limit', 10.5, 'above 10'), ('limit', '4', 'not a float'),
    ('limit', True, 'not a float'), ('count', 0, 'below 1'), ('count', 2.0, 'not a int'),
    ('kind', 'c', 'not one of')])
def test_parameter_values_are_checked(name: str, value: Any, wrong: str) -> None:
    found = TABLE.params[name].check(value)
    assert (wrong in found and name in found) if wrong else found == ''


def test_parameter_table_has_a_row_for_each() -> None:
    lines = TABLE.markdown().splitlines()
    assert len(lines) == 5
    assert lines[2] == '| `limit` | float | `5.0` | m | 0 to 10 | yes | what is allowed |'


def test_stop_state_and_policy_reach_those_who_come_late() -> None:
    for topic in ('policy_server/status', 'cost_monitor/multiplier', 'learner/policy'):
        assert QOS[topic].durability.name == 'TRANSIENT_LOCAL'
        assert QOS[topic].reliability.name == 'RELIABLE'


@pytest.mark.parametrize('text', [
    '\x1b[2J\x1b[1;32mended: all safe', 'a\nended: all safe', '\u202e', '\0', '\ud800',
    'x' * 10**6])
def test_texts_of_others_are_one_line_that_moves_no_cursor(text: str) -> None:
    """On the terminal, in the live view, in errors: who can send diagnostics forges no output."""
    assert printable(text).isprintable() and len(printable(text)) < 4000
    said = values_of(DiagnosticStatus(values=[KeyValue(key='k', value=text)]))['k'] \
        if '\ud800' not in text else printable(text)
    assert said == printable(text)
    assert clean(f'one\ntwo {text[:9]}').replace('\n', '').isprintable()


def test_loop_statistics() -> None:
    statistics = LoopStatistics()
    assert statistics.values()['rate_hz'] == 0.0
    for i in range(101):
        statistics.add(0.02 * i, 0.001 if i < 99 else 0.010)
    values = statistics.values()
    assert values['rate_hz'] == pytest.approx(50.0)
    assert values['latency_p50_ms'] == pytest.approx(1.0)
    assert values['latency_p99_ms'] == pytest.approx(10.0)


THREADS = """
import os, resource, threading
from spaars_ros.ros.thread_priority import ThreadPriority
{prepare}
before, priority = os.sched_getscheduler(0), ThreadPriority()
failed = priority.take({wanted})
later = threading.Thread(target=lambda: policies.append(os.sched_getscheduler(0)))
policies = [os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK]
later.start(); later.join()
again = priority.take(0)
names = {{os.SCHED_FIFO: 'fifo', os.SCHED_OTHER: 'other'}}
print([failed, *(names[policy] for policy in policies), again,
       names[os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK]])
"""
NOBODY = 'if os.geteuid() == 0: os.setuid(65534)'


def scheduled(wanted: int, prepare: str = '') -> str:
    """Return failure, own and later thread's policy, failure to give back, policy after it."""
    run = subprocess.run([sys.executable, '-c', THREADS.format(prepare=prepare, wanted=wanted)],
                         text=True, capture_output=True, timeout=60, check=True)
    return run.stdout.strip()


def may(tried: str) -> bool:
    """Return whether a child may do it."""
    return not subprocess.run([sys.executable, '-c', f'import os, resource; {tried}'],
                              capture_output=True).returncode


needs_priority = pytest.mark.skipif(
    not may('os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))'),
    reason='no right to SCHED_FIFO')
ALLOW = 'resource.setrlimit(resource.RLIMIT_RTPRIO, (99, 99))' if os.geteuid() == 0 else ''


@needs_priority
def test_a_thread_priority_holds_for_the_executor_and_not_for_threads_made_later() -> None:
    """Of the same real-time priority, a file's thread would not yield to the control loop."""
    assert scheduled(40) == "['', 'fifo', 'other', '', 'other']"


@needs_priority
@pytest.mark.skipif(not may(ALLOW or 'pass'), reason='no right to permit it to a user')
def test_a_user_without_other_rights_gives_a_priority_back() -> None:
    assert scheduled(40, f'{ALLOW}\n{NOBODY}') == "['', 'fifo', 'other', '', 'other']"


@needs_priority
def test_a_process_that_was_started_with_a_priority_keeps_it() -> None:
    """With chrt or systemd's CPUSchedulingPolicy, say; 0 is the parameter's default."""
    prepare = 'os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))'
    assert scheduled(0, prepare) == "['', 'fifo', 'fifo', '', 'fifo']"


def test_a_thread_priority_that_is_not_permitted_says_what_to_set() -> None:
    """The node goes on as an ordinary process, and its log has the line."""
    prepare = 'resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n' + NOBODY
    found = scheduled(40, prepare)
    assert 'thread_priority 40 not permitted' in found and 'rtprio' in found
    assert found.endswith("'other', 'other', '', 'other']")
