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


"""The wiring check over topics, of the simulated arm as a node with each fault of its wiring."""

from pathlib import Path
import re
import threading

from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from spaars_ros.commissioning.check import WiringNode
from spaars_ros.commissioning.simulated import simulated_arm
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.qos import QOS

pytestmark = pytest.mark.timeout(120)

DANGEROUS = 0.15
"""rad that no joint of a wrongly wired arm may move by."""
SWINGS = ('double', 'half', 'degrees', 'late')
"""Faults that the simulation makes of velocities: a position controller swings up with them."""
FAULTS: dict[str, tuple[dict[str, float], str]] = {
    'order': ({'swap': 2, 'swap_with': 4}, 'another order|order of the joints is wrong'),
    'sign': ({'flip': 3}, 'its sign is wrong|its sign or the order'),
    'double': ({'scale': 2.0, 'scale_joint': 1}, r'moves [12]\.\d\d times as far'),
    'half': ({'scale': 0.5, 'scale_joint': 4}, r'moves 0\.\d\d times as far'),
    'degrees': ({'scale': 57.3}, r'times as far|does not stay'),
    'lost': ({'command_drop': 1.0}, 'does not move'),
    'nobody': ({'unsubscribed': 1}, 'nobody subscribes to /command'),
    'late': ({'command_delay': 0.3}, 'late'),
    'pushed': ({'push': 0.1, 'push_joint': 2}, 'without a command|does not stay'),
    'zero_velocity': ({'velocity_zero': 1}, 'reports a velocity of 0.000'),
    'no_velocity': ({'velocity_empty': 1}, 'no velocity'),
    'nan_velocity': ({'velocity_nan': 1}, 'no velocity'),
    'no_states': ({'drop': 1.0}, 'no joint_states of'),
    'no_timeout': ({'command_timeout': 0.0}, ''),
}


def checked(name: str, faults: dict[str, float], folder: Path, monkeypatch: pytest.MonkeyPatch
            ) -> tuple[dict[str, object], float]:
    """Return the check's record of a faulty arm, and how far any joint moved, rad."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next(DOMAINS)))
    robot = load_robot(name)
    try:
        robot.model_path.stat()
    except (OSError, ConfigError) as error:
        pytest.skip(f'{error}: pip install --no-deps it')
    node = WiringNode(robot)
    seen: list[np.ndarray] = []
    node.node.create_subscription(JointState, 'sim/state', lambda msg: seen.append(
        np.asarray(msg.position)), QOS['joint_states'])
    try:
        with simulated_arm(node, folder, {
                key if key == 'command_timeout' else f'fault.{key}': value
                for key, value in faults.items()}):
            record = node.run()
    finally:
        node.close()
    return record, max((float(np.abs(place - seen[0]).max()) for place in seen), default=0.0)


@pytest.mark.long
@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('name', ['panda', 'ur5e', 'so101'])
def test_a_wiring_fault_is_named_over_the_nodes(
        name: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in test_wiring_check, with what lies between: topics, clocks, another process."""
    faults, words = FAULTS[fault]
    record, furthest = checked(name, faults, tmp_path, monkeypatch)
    holds = load_robot(name).control.command_interface != 'forward_velocity'
    if fault == 'no_timeout':
        assert record['timeout'] is None, record
    elif not (holds and fault == 'pushed'):  # who holds a place makes up for a hand
        assert not record['passed'] and re.search(words, str(record['faults'])), record
    if not (holds and fault in SWINGS):
        assert furthest < DANGEROUS


@pytest.mark.parametrize('name', ['panda', 'so101'])
def test_two_joints_exchanged_are_named_over_the_nodes(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The accident: an SO-101 that went 0.6 rad before it was named.

    It was sent back to where it had been a period before, and ran past that each time.
    """
    faults, words = FAULTS['order']
    record, furthest = checked(name, faults, tmp_path, monkeypatch)
    assert not record['passed'] and re.search(words, str(record['faults'])), record
    assert furthest < DANGEROUS


def test_a_controller_that_says_another_order_is_named_before_anything_is_sent(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Under position control the first command, of no motion at all, moves a wrongly wired arm."""
    domain = next(DOMAINS)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    robot = load_robot('panda')
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    controller = rclpy.create_node('velocity_controller', context=context)
    names = list(robot.joints)
    names[1], names[3] = names[3], names[1]
    controller.declare_parameter('joints', names)
    controller.declare_parameter('interface_name', 'position')
    sent: list[Float64MultiArray] = []
    controller.create_subscription(Float64MultiArray, 'command', sent.append, QOS['command'])
    states = controller.create_publisher(JointState, 'joint_states', QOS['joint_states'])
    controller.create_timer(0.05, lambda: states.publish(JointState(
        name=list(robot.joints), position=[float(value) for value in robot.home])))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(controller)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    node = WiringNode(robot)
    try:
        record = node.run()
    finally:
        node.close()
        executor.shutdown()
        spinning.join(10.0)
        controller.destroy_node()
        rclpy.shutdown(context=context)
    said = ' '.join(record['faults'])
    assert 'panda_joint4 where the robot file has panda_joint2' in said
    assert '/velocity_controller takes position, and forward_velocity is sent' in said
    assert not record['passed'] and not sent
