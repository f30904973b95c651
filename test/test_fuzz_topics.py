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

"""
Rubbish on every topic: whatever a node hears, it counts and names it, and goes on.

The topics are those that the real nodes subscribe to, so that none can be forgotten: each callback
is given mutated messages, changed by field and byte by byte. A few hundred a topic by default,
100,000 with `./run test long`, within its budget.
"""

from array import array
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import re
import time
from types import SimpleNamespace
from typing import Any

from at_length import Clock
from at_length import SEED
from at_length import WANTED
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from domains import DOMAINS
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import TransitionEvent
import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from sensor_msgs.msg import Joy
from small_run import prepare
from std_msgs.msg import Float64
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension
from std_msgs.msg import String
from std_msgs.msg import UInt8MultiArray

from spaars_ros.commissioning.check import WiringNode
from spaars_ros.commissioning.state_log import FILE
from spaars_ros.commissioning.state_log import StateLog
from spaars_ros.commissioning.stress_watch import StressWatch
from spaars_ros.data.schema import StepSchema
from spaars_ros.nodes.cost_monitor.node import CostMonitor
from spaars_ros.nodes.learner.node import LearnerNode
from spaars_ros.nodes.policy_server.node import PolicyServer
from spaars_ros.nodes.sim.node import SimNode
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.sources import IMAGES
from spaars_ros.robot.sources import NEED_SELECT
from spaars_ros.robot.sources import Source
from spaars_ros.robot.sources import TF
from spaars_ros.robot.sources import TYPES
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.fields import LAYOUTS
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.robot_description import RobotDescription
from spaars_ros.ros.sources.source_set import SourceSet
from spaars_ros.run.describe import Describer
from spaars_ros.run.fleet import LearnerProgress
from spaars_ros.run.lifecycle_watch import LifecycleWatch
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.page.link import Link
from spaars_ros.run.run_observer import RunObserver
from spaars_ros.run.simulated_person import PersonNode
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

SHORT = 200
ROBOT = 'left'
"""Of a fleet."""
OK = TransitionCallbackReturn.SUCCESS
NUMBERS = (0.0, -1.0, 0.5, 7.0, 1e6, 1e10, 1e308, -1e308, float('nan'), float('inf'),
           -float('inf'), 2.0**53, 2.0**63)
TEXTS = ('', 'x', '\x1b[2J\x1b[31mended: all safe', 'a\nended: all safe', '\u202e', '\0', '²',
         'stamp:5', 'stamp:' + '9' * 40, 'BUDGET_DONE', 'é' * 3000, '٣', '1e999', '-1', 'nan')
LISTENS = {
    'nodes/sim/node.py', 'nodes/sim/channel_reader.py', 'nodes/learner/member.py',
    'nodes/cost_monitor/node.py', 'ros/sources/source_reader.py', 'run/fleet.py',
    'run/page/link.py',
    'nodes/policy_server/cost_listener.py', 'nodes/policy_server/learner_listener.py',
    'nodes/policy_server/node.py',
    'nodes/policy_server/person_listener.py', 'nodes/policy_server/simulated_time.py',
    'ros/raw_take.py',  # takes bytes: test_simulated_time.py and below
    'run/run_observer.py', 'run/lifecycle_watch.py', 'commissioning/check.py',
    'commissioning/stress_watch.py', 'commissioning/state_log.py',
    'run/describe.py', 'run/simulated_person.py',
    'run/judging.py',  # the same records by the same border as the simulated person
    'nodes/encoder/eye.py',  # images: test_encoder.py
    'run/operator.py',  # keeps the message and shows it: test_ros_room.py has what is shown
}
"""Files that subscribe; what each hears is below."""


def test_every_file_that_subscribes_is_fuzzed() -> None:
    root = Path(__file__).parent.parent / 'spaars_ros'
    found = {str(path.relative_to(root)) for path in root.rglob('*.py')
             if re.search(r'create_subscription|message_filters|Subscriber\(', path.read_text())}
    assert found == LISTENS, 'give its node to `subscriptions` below'


def diagnostics() -> DiagnosticArray:
    return DiagnosticArray(status=[DiagnosticStatus(
        name='policy_server', level=DiagnosticStatus.ERROR, message='stop', values=[
            KeyValue(key='code', value='STALE'), KeyValue(key='steps', value='5'),
            KeyValue(key='late_ticks', value='5')])])


class Seeds:
    """One good message of each topic."""

    def __init__(self, schema: StepSchema, joints: list[str], bundle: bytes) -> None:
        self._schema, self._joints, self._bundle = schema, joints, bundle
        self._sequence = 0

    def of(self, topic: str, kind: Any) -> Any:
        """Return the next good message of a topic; fails where none is known."""
        self._sequence += 1
        name = topic.removeprefix('/')
        if name == 'policy_server/step':
            return ArrayCodec(self._schema).encode(self._schema.row(
                sequence=self._sequence, index=self._sequence, stamp=0.02 * self._sequence))
        name = name.removeprefix(f'{ROBOT}/')
        if name in LAYOUTS:
            return ArrayCodec(LAYOUTS[name].sized(1)).encode_fields()
        if name == 'learner/fetch':
            return Float64MultiArray(data=[0.0, 5.0])
        if name == 'command' and kind is Float64MultiArray:
            return Float64MultiArray(data=[0.0] * len(self._joints))
        if kind is JointState:
            values = [0.0] * len(self._joints)
            msg = JointState(name=self._joints, position=values, velocity=values, effort=values)
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(
                self._sequence * 20_000_000, 1_000_000_000)
            return msg
        if name == 'teleop/twist':
            msg = TwistStamped()
            msg.header.frame_id, msg.twist.linear.x = 'base', 0.05
            return msg
        if name == 'teleop/joint_velocity':
            return Float64MultiArray(data=[0.01] * len(self._joints))
        if name == 'joy':
            return Joy(axes=[0.0] * 6, buttons=[0, 0, 0, 0, self._sequence % 3, 0, 0, 0])
        if name == 'label':
            return String(data=('success', 'failure 0', 'discard', 'ready')[self._sequence % 4])
        if kind is UInt8MultiArray:
            return UInt8MultiArray(data=array('B', self._bundle))
        if kind is DiagnosticArray:
            return diagnostics()
        if kind is TransitionEvent:
            return TransitionEvent()
        if name.startswith('source_') or kind is Float64:
            return kind()
        raise AssertionError(f'{topic}: a topic without a seed of type {kind.__name__}')


class Mutator:
    """Changes messages by field, or their bytes on the wire."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def changed(self, msg: Any) -> Any:
        """Return a changed message, None where the bytes are no message any more."""
        if self.rng.random() < 0.3:
            return self._on_the_wire(msg)
        for _ in range(int(self.rng.integers(1, 4))):
            self._change(msg)
        return msg

    def _on_the_wire(self, msg: Any) -> Any:
        data = bytearray(serialize_message(msg))
        for _ in range(int(self.rng.integers(1, 6))):
            data[int(self.rng.integers(4, len(data)))] = int(self.rng.integers(256))
        try:
            return deserialize_message(bytes(data), type(msg))
        except Exception:  # noqa: BLE001 - the middleware drops it before any callback
            return None

    def _change(self, msg: Any, depth: int = 0) -> None:
        name = self.pick(sorted(msg.get_fields_and_field_types()))
        value = getattr(msg, name)
        if hasattr(value, 'get_fields_and_field_types'):
            self._change(value, depth + 1)
        elif isinstance(value, bool):
            setattr(msg, name, not value)
        elif isinstance(value, bytes):
            setattr(msg, name, bytes([int(self.rng.integers(256))]))
        elif isinstance(value, str):
            setattr(msg, name, self.pick(TEXTS))
        elif isinstance(value, int):
            for number in (self.pick((0, 1, 3, 5, 2**31 - 1, 2**32 - 1, -1, -2**31)), 0):
                try:
                    setattr(msg, name, number)
                    break
                except AssertionError:
                    continue
        elif isinstance(value, array):
            setattr(msg, name, self._numbers(value))
        elif isinstance(value, list):
            setattr(msg, name, self._list(value, depth))

    def _numbers(self, values: Any) -> Any:
        out = array(values.typecode, values)
        place = int(self.rng.integers(max(len(out), 1)))
        how = self.pick(('set', 'set', 'set', 'cut', 'more', 'none'))
        if values.typecode == 'B':
            if how == 'set' and len(out):
                out[place] = int(self.rng.integers(256))
            return out[:place] if how in ('cut', 'none') else out
        whole = values.typecode not in 'fd'
        if how == 'set' and len(out):
            out[place] = self.pick((0, 1, -1, 7, 2**31 - 1, -2**31) if whole else NUMBERS)
        return (out[:place] if how == 'cut' else out + out[:3] if how == 'more'
                else array(values.typecode) if how == 'none' else out)

    def _list(self, values: Any, depth: int) -> Any:
        how = self.pick(('inside', 'inside', 'inside', 'cut', 'twice', 'none', 'other'))
        if how == 'none' or not values:
            return []
        place = int(self.rng.integers(len(values)))
        if how == 'cut':
            return values[:place]
        if how == 'twice':
            return [*values, values[place]]
        if how == 'other':
            return [*values[:place], *reversed(values[place:])]
        if isinstance(values[place], str):
            return [*values[:place], self.pick(TEXTS), *values[place + 1:]]
        one = values[place]
        if isinstance(one, MultiArrayDimension) or depth < 3:
            # A codec's messages share their layout: the one that is changed is a copy.
            copy = type(one)(**{each.lstrip('_'): getattr(one, each.lstrip('_'))
                                for each in one.__slots__ if each != '_check_fields'})
            self._change(copy, depth + 1)
            return [*values[:place], copy, *values[place + 1:]]
        return values


@pytest.fixture(scope='module')
def graph() -> Iterator[None]:
    """Shut down also where a node does not come up: the next file of tests begins anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        rclpy.init(domain_id=next(DOMAINS))
        yield
        rclpy.try_shutdown()


@pytest.fixture(scope='module')
def listening(graph: None, tmp_path_factory: pytest.TempPathFactory
              ) -> Iterator[tuple[list[tuple[str, Any]], Seeds]]:
    """Yield (node, subscription) of everything that listens, active, and good messages."""
    folder = prepare(tmp_path_factory.mktemp('fuzz'))
    patch = pytest.MonkeyPatch()
    patch.setenv(FILE, str(folder / 'states'))
    robot, settings = load_robot(), load_task(str(folder / 'task.yaml'))
    common = {'task': str(folder / 'task.yaml'), 'run_dir': str(folder)}
    bundle = folder / 'initial.spaars'
    managed = [
        SimNode(task=common['task'], real_time_factor=0.0), CostMonitor(**common),
        LearnerNode(**common, bundle=str(bundle), training=str(folder / 'training.yaml')),
        PolicyServer(**common, bundle=str(bundle), trigger='joint_states', discovery_time=0.0,
                     learner='stop', learner_timeout=3600.0)]
    for node in managed:
        assert node.trigger_configure() == OK and node.trigger_activate() == OK
    # A task with a channel, on the robot that has it.
    managed.append(SimNode(task='pick', robot='panda_gripper', real_time_factor=0.0))
    assert managed[-1].trigger_configure() == OK and managed[-1].trigger_activate() == OK
    plain = [rclpy.create_node(name) for name in ('conductor', 'stress', 'reader', 'describer')]
    sources = SourceSet(plain[2], [
        Source(name=f'source_{place}', type=kind,
               select=['position.a'] if kind in NEED_SELECT else [])
        for place, kind in enumerate(TYPES) if kind not in (TF, *IMAGES)],
        kinematics=Kinematics(robot), tip=robot.tip, position=lambda: None, simulated=False,
        now=lambda: 0)
    fleet = LearnerProgress(SimpleNamespace(node=plain[0]), [ROBOT])
    page = Link('')
    page.listen_to_joints(robot.joints, 'joint_states')
    watch = RunObserver(plain[0], ReachTask(robot, settings), LiveState())
    lifecycle = LifecycleWatch(plain[0], ['learner'])
    stress = StressWatch(plain[1], robot)
    log, check = StateLog(), WiringNode(robot)
    person = PersonNode('', ReachTask(robot, settings), 0)
    plain[3].create_subscription(
        JointState, 'joint_states',
        Describer(robot.joints, RobotDescription(plain[3], robot).send).hear, QOS['joint_states'])
    manifest = load_bundle(bundle).manifest
    schema = StepSchema(observation=manifest.observation_dim, latent=manifest.latent_dim,
                        action=manifest.action_dim)
    heard = (*managed, *plain, log, check.node, page.node, person.node)
    yield ([(node.get_name(), each) for node in heard for each in node.subscriptions],
           Seeds(schema, list(robot.joints), bundle.read_bytes()))
    assert None not in (watch, lifecycle, stress, sources, fleet)
    page.close()
    person.close()
    check.close()
    for node in managed:
        node.finish()
    for node in (*managed, *plain, log):
        node.destroy_node()
    patch.undo()


def fuzz(listening: tuple[list[tuple[str, Any]], Seeds], count: int, seed: int) -> None:
    subscriptions, seeds = listening
    for number, (node, subscription) in enumerate(subscriptions):
        mutator = Mutator(seed + number)
        topic, kind = subscription.topic_name, subscription.msg_type
        callback: Callable[[Any], None] = subscription.callback
        clock = Clock(f'{node} {topic}', count // 20 if kind is UInt8MultiArray and count < WANTED
                      else count)
        refused = 0
        while clock.goes_on:
            msg = seeds.of(topic, kind)
            if clock.done % 3:
                msg = mutator.changed(msg)
            clock.done += 1
            if msg is None:
                refused += 1
                continue
            begin = time.process_time()
            try:
                callback(msg)
            except Exception as error:
                raise AssertionError(f'{node} on {topic}, seed {seed}, message {clock.done}: '
                                     f'{msg!r:.1000}') from error
            clock.slowest = max(clock.slowest, time.process_time() - begin)
        clock.finish(f', {refused} not read')


@pytest.mark.timeout(240)
def test_no_message_ends_a_node(listening: tuple[list[tuple[str, Any]], Seeds]) -> None:
    fuzz(listening, SHORT, seed=0)


@pytest.mark.long
@pytest.mark.timeout(10 * 3600)
def test_no_message_of_a_hundred_thousand_ends_a_node(
        listening: tuple[list[tuple[str, Any]], Seeds]) -> None:
    fuzz(listening, WANTED, seed=SEED)
