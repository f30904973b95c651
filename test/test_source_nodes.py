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

"""Sources over real topics: a recording gives the same rows, and the simulated sensors speak."""

from array import array

from domains import DOMAINS
from geometry_msgs.msg import PointStamped
from geometry_msgs.msg import WrenchStamped
from mcap_ros2.writer import Writer
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from spaars_ros.nodes.sim.node import SimNode
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.sources import Source
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.sources.bag import rows_of_bag
from spaars_ros.ros.sources.frames import Frames
from spaars_ros.ros.sources.row import RowMaker
from spaars_ros.ros.sources.source_set import SourceSet

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope='module')
def graph():
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=next(DOMAINS))
    node = rclpy.create_node('ears', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def spin_until(executor, done, seconds=20.0):
    import time
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    assert done()


ENTRIES = (
    Source(name='wrench', topic='w', type='WrenchStamped', frame='base', qos='reliable',
           select=['torque.y', 'force.x'], apply={'unit': 'kgf', 'filter': 0.05}),
    Source(name='fingers', topic='j', type='JointState', qos='reliable',
           select=['position.right', 'position.left'], apply={'unit': 'mm'}),
    Source(name='array', topic='a', type='Float64MultiArray', qos='reliable',
           select=['data.2'], apply={'clamp': (-1.0, 1.0)}),
)


def messages():
    """Return (topic, time, message) as three sensors publish them, one message of them a NaN."""
    rng = np.random.default_rng(3)
    found = []
    for tick in range(20):
        ns = 5_000_000_000 + tick * 50_000_000
        wrench, joints = WrenchStamped(), JointState(name=['left' if tick % 2 else 'right'])
        for msg in (wrench, joints):
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(ns, 1_000_000_000)
        wrench.header.frame_id = 'tool_tip'
        force = wrench.wrench.force
        force.x, force.y, force.z = rng.normal(size=3).tolist()
        if tick == 7:
            force.x = float('nan')
        joints.position = array('d', rng.normal(size=1))
        found += [('w', ns, wrench), ('j', ns, joints),
                  ('a', ns, Float64MultiArray(data=array('d', rng.normal(size=3))))]
    return found


def makers():
    robot = load_robot('panda_peg')
    frames = Frames(Kinematics(robot), robot.tip, lambda: np.asarray(robot.home))
    return {entry.on: RowMaker(entry, frames.between) for entry in ENTRIES}


def test_a_recording_gives_the_same_rows_as_live_topics(graph, tmp_path):
    node, executor = graph
    path = tmp_path / 'bag.mcap'
    store = get_typestore(Stores.ROS2_JAZZY)
    live, times = {entry.on: [] for entry in ENTRIES}, {}
    publishers, heard = {}, []
    by_topic = makers()

    def take(topic, msg):
        heard.append(topic)
        try:
            row = by_topic[topic].row(msg, times[topic].pop(0))
        except ValueError as error:
            assert 'NOT_FINITE' in str(error)
            return
        if row is not None:
            live[topic].append(row)
    with open(path, 'wb') as file:
        writer, schemas = Writer(file), {}
        for topic, ns, msg in messages():
            kind = next(entry.type for entry in ENTRIES if entry.on == topic)
            if topic not in publishers:
                schemas[topic] = writer.register_msgdef(
                    kind, store.generate_msgdef(kind, ros_version=2)[0])
                node.create_subscription(type(msg), topic,
                                         lambda got, topic=topic: take(topic, got), 100)
                publishers[topic] = node.create_publisher(type(msg), topic, 100)
                spin_until(executor, lambda p=publishers[topic]: p.get_subscription_count() > 0)
            writer.write_message(f'/{topic}', schemas[topic], msg, ns, ns)
            times.setdefault(topic, []).append(ns)
            publishers[topic].publish(msg)
        writer.finish()
    spin_until(executor, lambda: len(heard) == len(messages()))
    refused = []
    for topic, maker in makers().items():
        kept = [row for _, row in rows_of_bag(path, maker, refused.append)]
        assert len(kept) == len(live[topic]) >= 19
        for one, other in zip(kept, live[topic]):
            assert one.stamp_ns == other.stamp_ns
            np.testing.assert_array_equal(one.values, other.values)
    assert [error.code for error in refused] == ['NOT_FINITE']


@pytest.fixture
def sim():
    made = []

    def make(task, robot, **parameters):
        rclpy.init(args=[], domain_id=next(DOMAINS))
        node = SimNode(task=task, robot=robot, real_time_factor=1.0, **parameters)
        ears = rclpy.create_node('ears')
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.add_node(ears)
        made.append((node, ears, executor))
        return node, ears, executor
    yield make
    for node, ears, executor in made:
        executor.shutdown()
        node.destroy_node()
        ears.destroy_node()
        rclpy.shutdown()


def test_the_simulated_sensors_speak_with_the_stamps_of_the_states(sim):
    node, ears, executor = sim('insert', 'panda_peg')
    wrenches, holes, states = [], [], []
    ears.create_subscription(WrenchStamped, 'wrist/wrench', wrenches.append, 10)
    ears.create_subscription(PointStamped, 'hole/point', holes.append, 10)
    ears.create_subscription(JointState, 'joint_states', states.append, QOS['joint_states'])
    assert node.trigger_configure().name == node.trigger_activate().name == 'SUCCESS'
    spin_until(executor, lambda: len(wrenches) > 5 and len(holes) > 5 and len(states) > 5)
    stamps = {(msg.header.stamp.sec, msg.header.stamp.nanosec) for msg in states}
    assert {(msg.header.stamp.sec, msg.header.stamp.nanosec) for msg in holes[:4]} & stamps
    assert wrenches[0].header.frame_id == 'tool_tip' and holes[0].header.frame_id == 'base'
    assert 0.4 < holes[0].point.x < 0.6


def test_a_scene_that_is_inside_the_arm_refuses_to_begin_and_says_which(sim, tmp_path, capfd):
    task = tmp_path / 'task.yaml'
    task.write_text('task: pick\nsources: [{name: cube, type: PointStamped}, '
                    '{name: fingers, type: Float64}]\n'
                    'cube_low: [0.58, 0.18]\ncube_high: [0.58, 0.18]\n')
    node, _, _ = sim(str(task), 'panda_gripper')
    assert node.trigger_configure().name != 'SUCCESS'
    said = capfd.readouterr().err
    assert 'mm inside each other at reset' in said and 'Traceback' not in said


def test_a_source_as_wide_as_another_is_refused_by_the_simulation(sim, tmp_path, capfd):
    task = tmp_path / 'task.yaml'
    task.write_text('task: pick\nsources: [{name: cube, type: PoseStamped}, '
                    '{name: fingers, type: Float64}]\n')
    node, _, _ = sim(str(task), 'panda_gripper')
    assert node.trigger_configure().name != 'SUCCESS'
    assert "source 'cube': the scene measures 3 values" in capfd.readouterr().err


# What a node knows of a source that does not come

def a_set(node, *entries):
    robot = load_robot('panda_peg')
    return SourceSet(node, entries, kinematics=Kinematics(robot), tip=robot.tip,
                     position=lambda: None, simulated=False,
                     now=lambda: node.get_clock().now().nanoseconds)


def test_a_source_without_a_publisher_is_waited_for_and_named_with_the_time(graph):
    node, _ = graph
    sources = a_set(node, Source(name='hole', topic='lonely', type='PointStamped'))
    assert not sources.complete and sources.missing() == '', 'a second is nothing'
    sources.readers['hole'].since -= 7.0
    assert sources.missing().startswith(
        'waiting for hole on /lonely (geometry_msgs/msg/PointStamped) for 7 s: nobody publishes')
    assert sources.absent(0.0) is None
    stop = sources.absent(5.0)
    assert stop.code == 'NO_SOURCE' and stop.value > 6.9


def test_another_type_on_a_sources_topic_is_named(graph):
    node, executor = graph
    other = rclpy.Context()
    rclpy.init(args=[], context=other, domain_id=node.context.get_domain_id())
    driver = rclpy.create_node('driver', context=other)
    driver.create_publisher(WrenchStamped, 'mixed', 10)
    sources = a_set(node, Source(name='hole', topic='mixed', type='PointStamped'))
    spin_until(executor, lambda: node.get_publishers_info_by_topic('/mixed'))
    said = sources.readers['hole'].why()
    driver.destroy_node()
    rclpy.shutdown(context=other)
    assert said.endswith(' publishes geometry_msgs/msg/WrenchStamped on it')


def test_a_frame_that_the_model_does_not_have_is_refused_by_name(graph):
    with pytest.raises(ConfigError, match="source 'hole': frame: .* no site or body 'camera'"):
        a_set(graph[0], Source(name='hole', type='PointStamped', frame='camera'))


def test_tf_without_its_package_says_what_to_install(graph):
    pytest.importorskip('rclpy')
    try:
        import tf2_msgs  # noqa: F401
    except ImportError:
        entry = Source(name='hole', type='TFMessage', frame='base', child='hole')
        with pytest.raises(ConfigError, match='needs the package tf2_msgs .*apt install ros-'):
            a_set(graph[0], entry)
    else:
        pytest.skip('tf2_msgs is installed here')
