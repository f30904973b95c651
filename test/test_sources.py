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

"""Sources: what files say of them, messages to rows, frames, and what is wrong with samples."""

from types import SimpleNamespace

from geometry_msgs.msg import PointStamped
from geometry_msgs.msg import PoseStamped
from geometry_msgs.msg import TwistStamped
from geometry_msgs.msg import WrenchStamped
import numpy as np
from pydantic import ValidationError
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_msgs.msg import Float64
from std_msgs.msg import Float64MultiArray

from spaars_ros.control.given import Given
from spaars_ros.data.schema import Outcome
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.sources import IMAGES
from spaars_ros.robot.sources import Source
from spaars_ros.robot.sources import TYPES
from spaars_ros.ros.sources.frames import Frames
from spaars_ros.ros.sources.frames import quaternion_of
from spaars_ros.ros.sources.frames import quaternion_product
from spaars_ros.ros.sources.kind import SourceError
from spaars_ros.ros.sources.kinds import KINDS
from spaars_ros.ros.sources.row import RowMaker
from spaars_ros.safety.monitors.source_watch import SourceWatch
from spaars_ros.sim.source_faults import SourceFaults
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import sources_of

S = 1_000_000_000


def source(type_, **more):
    return Source(name='s', type=type_, **more)


def stamped(msg, stamp=5 * S, frame=''):
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, S)
    msg.header.frame_id = frame
    return msg


def row(entry, msg, **more):
    return RowMaker(entry, **more).row(msg, 0)


@pytest.mark.parametrize('type_', [
    t for t in TYPES if not t.startswith('tf2') and t not in IMAGES])
def test_what_is_filled_in_is_read_again(type_):
    kind = KINDS[type_]
    select = ['position.b', 'position.a', 'effort.b'] if kind.parts else []
    fields = kind.fields or tuple(select)
    values = np.arange(1.0, 1.0 + (len(fields) or 4)) if len(fields) != 1 else np.ones(1)
    msg = kind.message()
    kind.fill(msg, fields, values)
    if kind.stamped:
        stamped(msg)
    made = row(source(type_, select=select), msg)
    np.testing.assert_array_equal(made.values, values)
    assert made.stamp_ns == (5 * S if kind.stamped else None)


def test_fields_are_selected_in_the_order_of_the_file():
    msg = stamped(WrenchStamped())
    msg.wrench.force.z, msg.wrench.torque.x = 3.0, 4.0
    entry = source('WrenchStamped', select=['torque.x', 'force.z'])
    np.testing.assert_array_equal(row(entry, msg).values, [4.0, 3.0])


def test_units_clamp_and_scale_come_before_the_task():
    msg = stamped(PoseStamped())
    msg.pose.position.x, msg.pose.orientation.w = 250.0, 1.0
    entry = source('PoseStamped', apply={'unit': 'mm', 'clamp': (-0.2, 1.0)})
    np.testing.assert_allclose(row(entry, msg).values, [0.2 + 0.05, 0, 0, 0, 0, 0, 1.0])
    msg.pose.position.x = -900.0
    assert row(entry, msg).values[0] == -0.2, 'clamped, in metres'


def test_a_filter_follows_with_its_time_constant_and_begins_with_the_first_sample():
    maker = RowMaker(source('PointStamped', apply={'filter': 0.1}))
    seen = []
    for tick, x in enumerate((1.0, 3.0, 3.0)):
        msg = stamped(PointStamped(), 5 * S + tick * S // 10)
        msg.point.x = x
        seen.append(maker.row(msg, 0).values[0])
    share = 1 - np.exp(-1)
    np.testing.assert_allclose(seen, [1.0, 1 + 2 * share, 1 + 2 * share + share * (2 - 2 * share)])


def test_joints_of_several_publishers_are_one_sample_as_old_as_its_oldest_part():
    maker = RowMaker(source('JointState', select=['position.left', 'position.right']))
    left = stamped(JointState(name=['left', 'arm'], position=[1.0, 9.0]), 5 * S)
    right = stamped(JointState(name=['right'], position=[2.0]), 6 * S)
    other = stamped(JointState(name=['arm'], position=[9.0]), 7 * S)
    assert maker.row(left, 0) is None, 'a part is to come'
    whole = maker.row(right, 0)
    assert whole.stamp_ns == 5 * S
    np.testing.assert_array_equal(whole.values, [1.0, 2.0])
    assert maker.row(other, 0) is None, 'none of ours'


@pytest.mark.parametrize(('entry', 'msg', 'words'), [
    (source('Float64'), Float64(data=float('nan')), 'NOT_FINITE: data is nan'),
    (source('Float64'), Float64(data=1e9), 'IMPLAUSIBLE: data is 1e'),
    (source('Float64MultiArray'), Float64MultiArray(), 'WRONG_SIZE: no values'),
    (source('Float64MultiArray', select=['data.3']), Float64MultiArray(data=[1.0]),
     'WRONG_SIZE: 1 values, data.3 is wanted'),
    (source('Float64MultiArray', select=['datum.3']), Float64MultiArray(data=[1.0]),
     "WRONG_FIELD: 'datum.3'"),
    (source('JointState', select=['position.a']), stamped(JointState(name=['a'])),
     'WRONG_SIZE: position has 0 values for 1 joints'),
    (source('JointState', select=['speed.a']), stamped(JointState(name=['a'])),
     "WRONG_FIELD: 'speed.a'"),
])
def test_a_message_that_is_no_sample_is_named(entry, msg, words):
    with pytest.raises(SourceError, match=words) as error:
        row(entry, msg)
    assert '\n' not in str(error.value)


def test_values_that_change_their_number_are_refused():
    maker = RowMaker(source('Float64MultiArray'))
    maker.row(Float64MultiArray(data=[1.0, 2.0]), 0)
    with pytest.raises(SourceError, match='1 values, expected 2'):
        maker.row(Float64MultiArray(data=[1.0]), 0)


# Frames

@pytest.fixture(scope='module')
def frames():
    robot = load_robot('panda_peg')
    return Frames(Kinematics(robot), robot.tip, lambda: np.asarray(robot.home))


def test_values_of_another_frame_of_the_model_are_turned(frames):
    place, turn = frames.between('tool_tip', 'base')
    msg = stamped(PointStamped(), frame='tool_tip')
    msg.point.z = 0.1
    made = row(source('PointStamped', frame='base'), msg, between=frames.between)
    np.testing.assert_allclose(made.values, place + 0.1 * turn[:, 2])
    wrench = stamped(WrenchStamped(), frame='world')
    wrench.wrench.force.z = 2.0
    made = row(source('WrenchStamped', frame='tool'), wrench, between=frames.between)
    np.testing.assert_allclose(turn @ made.values[:3], [0, 0, 2.0], atol=1e-9)
    # The same wrench, about the tool's origin: r x F with the base seen from there.
    np.testing.assert_allclose(turn @ made.values[3:], np.cross(-place, [0, 0, 2.0]), atol=1e-9)
    twist = stamped(TwistStamped(), frame='tool_tip')
    twist.twist.angular.x = 1.0
    made = row(source('TwistStamped', frame='base'), twist, between=frames.between)
    np.testing.assert_allclose(made.values, [0, 0, 0, *turn[:, 0]], atol=1e-9)


def test_a_pose_is_turned_with_its_orientation(frames):
    _, turn = frames.between('tool_tip', 'base')
    msg = stamped(PoseStamped(), frame='tool_tip')
    msg.pose.orientation.w = 1.0
    made = row(source('PoseStamped', frame='base'), msg, between=frames.between)
    x, y, z, w = made.values[3:]
    np.testing.assert_allclose(turn[:, 2], [2 * (x * z + w * y), 2 * (y * z - w * x),
                                            1 - 2 * (x * x + y * y)], atol=1e-9)


def test_quaternions_compose_as_rotations_do():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
        one, other = (each * np.sign(np.linalg.det(each)) for each in (one, other))
        both = quaternion_product(quaternion_of(one), quaternion_of(other))
        np.testing.assert_allclose(both * np.sign(both[3]), quaternion_of(one @ other), atol=1e-9)


def test_a_frame_that_nobody_knows_is_named(frames):
    msg = stamped(PointStamped(), frame='camera_link')
    with pytest.raises(SourceError, match="UNKNOWN_FRAME: frame 'camera_link' is neither base"):
        row(source('PointStamped', frame='base'), msg, between=frames.between)
    with pytest.raises(ConfigError, match="no site or body 'camera_link'"):
        frames.check('camera_link')


# What files say

@pytest.mark.parametrize(('changes', 'words'), [
    ({'type': 'Wrench'}, "none of .*; did you mean 'WrenchStamped'"),
    ({'type': 'JointState'}, 'select: source .* has to say which joints'),
    ({'type': 'Float64', 'select': ['data', 'data']}, 'a field twice'),
    ({'type': 'Float64', 'apply': {'unit': 'inch'}}, "unit: 'inch' is none of"),
    ({'type': 'Float64', 'apply': {'scale': 0.0}}, 'every value 0'),
    ({'type': 'Float64', 'apply': {'clamp': (1.0, 0.0)}}, 'clamp: 1.0 is not below 0.0'),
    ({'type': 'Float64', 'silent': 'zeros'}, "'stop', 'warn' or 'hold'"),
    ({'type': 'TFMessage'}, 'child: source'),
])
def test_an_entry_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        Source(name='s', **changes)


def test_a_field_that_the_type_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="select: 'force.w' is no field of geometry_msgs"):
        RowMaker(source('WrenchStamped', select=['force.w']))


def insert(tmp_path, text):
    path = tmp_path / 'insert.yaml'
    path.write_text(f'task: insert\n{text}')
    return make_task(load_robot('panda_peg'), load_task(str(path)))


def test_a_source_that_is_declared_nowhere_is_named(tmp_path):
    with pytest.raises(ConfigError, match="needs the source 'wrench', which neither the task"):
        sources_of(insert(tmp_path, ''))


def test_a_source_that_is_not_needed_is_named(tmp_path):
    text = 'sources: [{name: wrensh, type: WrenchStamped}]\n'
    with pytest.raises(ConfigError, match="'wrensh' is none that it needs.*did you mean 'wrench'"):
        sources_of(insert(tmp_path, text))


def test_two_types_on_one_topic_are_refused(tmp_path):
    text = ('sources: [{name: wrench, topic: a, type: WrenchStamped}, '
            '{name: hole, topic: a, type: PointStamped}]\n')
    with pytest.raises(ConfigError, match="'hole' is of type .*, another on the same topic 'a'"):
        sources_of(insert(tmp_path, text))


def test_the_task_files_entry_wins_over_the_robot_files(tmp_path):
    task = insert(tmp_path, 'sources: [{name: hole, topic: b, type: PointStamped}]\n')
    of_robot = [Source(name='hole', topic='a', type='PointStamped'),
                Source(name='wrench', topic='w', type='WrenchStamped')]
    task.robot = task.robot.model_copy(update={'sources': of_robot})
    assert [entry.on for entry in sources_of(task)] == ['w', 'b']


def test_success_and_reward_may_come_from_sources_that_the_class_does_not_know(tmp_path):
    task = insert(tmp_path, 'success: {source: done}\nreward: score\n')
    assert task.sources == ('wrench', 'hole', 'done', 'score')


# Watches

def watch(**changes):
    return SourceWatch('s on /s', **{'max_age': 0.2, 'silent': 'stop', 'wrong': 'stop',
                                     **changes})


def test_a_silent_source_stops_warns_or_holds():
    assert watch().stop(0.3, False).code == 'SOURCE_SILENT'
    assert watch().stop(0.1, False) is None
    warned = watch(silent='warn')
    assert warned.stop(0.3, False) is None and 'SOURCE_SILENT' in warned.warnings(0.3, False)[0]
    held = watch(silent='hold')
    assert held.stop(9.0, False) is None and not held.warnings(9.0, False)


def test_old_stamps_are_stale_and_not_silent():
    assert watch().stop(0.5, True).code == 'SOURCE_STALE'


def test_a_stamp_of_the_future_is_refused():
    one = watch()
    assert not one.sample(9 * S, np.ones(1), -5.0)
    assert one.stop(0.0, False).code == 'SOURCE_FUTURE'


def test_samples_out_of_order_are_not_used_and_many_of_them_stop():
    one = watch()
    assert one.sample(5 * S, np.ones(1), 0.0)
    for _late in range(10):
        assert one.stop(0.0, False) is None
        assert not one.sample(4 * S, np.ones(1), 0.0)
    assert one.stop(0.0, False).code == 'SOURCE_ORDER'


def test_the_same_sample_again_is_not_out_of_order():
    one = watch()
    for _ in range(30):
        one.sample(5 * S, np.ones(1), 0.0)
    assert one.stop(0.0, False) is None


def test_a_sensor_whose_clock_is_set_back_goes_on_from_there():
    """The accident: every later sample counts as old, and no reset ever helps."""
    one = watch()
    assert one.sample(900 * S, np.ones(1), 0.0)
    assert one.sample(5 * S, np.ones(1), 0.0) and one.sample(6 * S, np.ones(1), 0.0)
    assert one.stop(0.0, False) is None


def test_a_message_that_is_not_finite_stops_until_a_good_one_comes():
    one = watch()
    one.refuse('NOT_FINITE', 'x is nan')
    assert one.stop(0.0, False).code == 'SOURCE_NOT_FINITE'
    one.sample(5 * S, np.ones(1), 0.0)
    assert one.stop(0.0, False) is None and one.refused == 1


def test_equal_samples_are_frozen_where_the_file_says_how_many():
    one, free = watch(frozen=3), watch()
    for tick in range(3):
        assert one.stop(0.0, False) is None
        for each in (one, free):
            each.sample(tick * S, np.ones(2), 0.0)
    assert one.stop(0.0, False).code == 'SOURCE_FROZEN' and free.stop(0.0, False) is None
    one.sample(9 * S, np.zeros(2), 0.0)
    assert one.stop(0.0, False) is None


# Faults of simulated sensors

def test_faults_of_sources_drop_delay_freeze_and_spoil():
    none = {'source_drop': 0.0, 'source_delay': 0.0, 'source_nan': 0.0, 'source_frozen': 0.0}
    faults = SourceFaults(seed=0)

    def at(tick, **values):
        return faults.measured(tick * S, {'a': np.array([float(tick)])}, {**none, **values})
    assert at(1)[0][2] == 1.0
    assert at(2, source_drop=1.0) == []
    assert np.isnan(at(3, source_nan=1.0)[0][2]).all()
    assert at(4, source_frozen=1.0)[0][2] == at(5, source_frozen=1.0)[0][2] == 4.0
    assert at(6, source_delay=1.5) == []
    stamp, _, value = at(8, source_delay=1.5)[0]
    assert stamp == 6 * S and value == 6.0


def test_a_transform_of_the_wanted_child_is_a_pose():
    """Chains are not followed; tf2_msgs is not needed for what is recorded."""
    def transform(child, x):
        zero = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        header = SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=0), frame_id='base')
        return SimpleNamespace(header=header, child_frame_id=child, transform=SimpleNamespace(
            translation=SimpleNamespace(x=x, y=0.0, z=0.0), rotation=zero))
    entry = source('TFMessage', frame='base', child='hole')
    maker = RowMaker(entry)
    assert maker.row(SimpleNamespace(transforms=[transform('cup', 1.0)]), 0) is None
    made = maker.row(SimpleNamespace(transforms=[transform('cup', 1.0), transform('hole', 2.0)]),
                     0)
    np.testing.assert_array_equal(made.values, [2.0, 0, 0, 0, 0, 0, 1.0])


def test_bool_is_0_or_1():
    assert row(source('Bool'), Bool(data=True)).values == [1.0]


# Given success and reward

def samples(**values):
    return {name: Sample(np.array([float(value)]), 0.0) for name, value in values.items()}


@pytest.fixture
def given(tmp_path):
    return Given(insert(tmp_path, 'success: {source: done, above: 0.8, below: 0.2, hold: 2}\n'
                                  'reward: score\n'))


def test_a_success_has_to_hold_and_between_its_bounds_nothing_changes(given):
    def said(value):
        return given.outcome(Outcome.RUNNING, samples(done=value))
    assert [said(v) for v in (1, 0, 1, 0, 0.5)] == [Outcome.RUNNING] * 5, 'flickers'
    assert said(0.9) is Outcome.RUNNING and said(0.5) is Outcome.SUCCESS, 'holds between bounds'
    given.restart()
    assert said(0.5) is Outcome.RUNNING


def test_where_success_is_given_the_tasks_own_does_not_count_but_its_failure_does(given):
    assert given.outcome(Outcome.SUCCESS, samples(done=0)) is Outcome.RUNNING
    assert given.outcome(Outcome.FAILURE, samples(done=0)) is Outcome.FAILURE


def test_a_given_reward_is_in_the_record_as_given(given):
    assert given.reward(samples(done=0, score=-3)) == {'reward_given': 1.0, 'reward': -3.0}
    assert given.reward({}) == {}


def test_the_learner_takes_given_rewards_and_computes_the_others(tmp_path):
    task = insert(tmp_path, 'reward: score\n')
    n, rng = task.observation_dim, np.random.default_rng(0)
    replay = Replay(100, task, Normaliser(np.zeros(n), np.ones(n)), action=5, constraints=0,
                    gamma=0.5, n_step=2, given=True)
    states, actions = rng.normal(size=(4, n)), rng.uniform(-1, 1, (3, 5))
    replay.add_episode(states, actions, True, rewards=np.array([1.0, np.nan, 10.0]))
    own = task.reward(states[:-1].astype(np.float32), actions.astype(np.float32),
                      states[1:].astype(np.float32))
    rewards = np.array([1.0, own[1], 10.0])
    found = replay.gather(np.arange(3), rng, relabel=1.0)['reward'].numpy()
    np.testing.assert_allclose(found, rewards + 0.5 * np.array([rewards[1], 10.0, 0.0]),
                               rtol=1e-5)


@pytest.mark.parametrize('topic', [
    'a b', '///x', 'x/', '1st', 'gelenk_ü', '{node}', 'a-b', '~', 'a\n'])
def test_a_topic_that_is_no_name_of_ros_is_refused_on_loading(topic):
    with pytest.raises(ValueError, match='topic: source .s.*no name of a ROS topic'):
        Source(name='s', type='Float64', topic=topic)
    with pytest.raises(ValueError, match='no name of a ROS topic'):
        Source(name=topic, type='Float64')


@pytest.mark.parametrize('topic', ['', '/a/b_2', '~/a', 'gripper/width', '_x'])
def test_a_topic_that_is_a_name_of_ros_is_taken(topic):
    assert Source(name='s', type='Float64', topic=topic).on == (topic or 's')
