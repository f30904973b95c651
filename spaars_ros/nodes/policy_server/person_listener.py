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

"""Subscriptions of the policy server to people: commands, dead man's switches, labels."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import String

from spaars_ros.control.labels import LabelRefused
from spaars_ros.control.labels import READY
from spaars_ros.control.labels import WORDS
from spaars_ros.control.takeover import Takeover
from spaars_ros.ros.borders import Border
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import decode_command
from spaars_ros.ros.people import BUTTONS
from spaars_ros.ros.people import decode_label
from spaars_ros.ros.people import decode_twist
from spaars_ros.ros.people import JoyMap
from spaars_ros.ros.qos import QOS

MOST_SOURCES = 16


class PersonListener:
    """
    Subscribe to teleop/twist, teleop/joint_velocity, joy and label.

    A malformed command brakes the arm while a person acts. A refused label is reported and has no
    other effect.

    :param p: parameters of the policy server
    :param label: applies the text of a label and returns the result; raises LabelRefused
    :param border: counts refused messages
    """

    def __init__(self, node: Node, takeover: Takeover, p: Mapping[str, Any],
                 label: Callable[[str], str], border: Border) -> None:
        self._node, self._takeover, self._label = node, takeover, label
        self._person = takeover.person
        self._joints = len(takeover.joints)
        self._map = JoyMap({name: p[f'joy_{name}'] for name in BUTTONS})
        self._held: dict[str, dict[str, bool]] = {}
        self.missing = ''
        """Text that names assigned buttons that a joystick lacks; '' if none."""
        self.subscriptions = [
            node.create_subscription(kind, topic, border.guarded(topic, take), QOS[topic])
            for kind, topic, take in (
                (TwistStamped, 'teleop/twist', self._on_twist),
                (Float64MultiArray, 'teleop/joint_velocity', self._on_joints),
                (Joy, 'joy', self._on_joy), (String, 'label', self._on_label))]

    def _on_twist(self, msg: TwistStamped) -> None:
        try:
            values, frame = decode_twist(msg)
            if not self._takeover.knows(frame):
                raise CodecError('UNKNOWN_FRAME', f'twist in the frame {frame!r}: expected base, '
                                 'tip, or a body or site of the model')
        except CodecError as error:
            self._person.refuse(f'teleop/twist: {error}')
            raise
        self._person.twist(values, frame)

    def _on_joints(self, msg: Float64MultiArray) -> None:
        try:
            values = decode_command(msg, self._joints)
        except CodecError as error:
            self._person.refuse(f'teleop/joint_velocity: {error}')
            raise
        self._person.joint_velocities(values)

    def _on_joy(self, msg: Joy) -> None:
        pressed = self._map.read(msg)
        self.missing = pressed.missing
        before = self._held.get(pressed.source, {})
        if len(self._held) >= MOST_SOURCES and pressed.source not in self._held:
            self._held.clear()
        self._held[pressed.source] = pressed.held
        self._person.switch(pressed.source, pressed.held.get('dead_man', False))
        for name, action in (('open', -1.0), ('close', 1.0)):
            if pressed.held.get(name):
                self._person.channels.update(dict.fromkeys(range(self._takeover.channels), action))
        for word in (*WORDS, READY):
            # On the press, not while held: one press is one label.
            if pressed.held.get(word) and not before.get(word, True):
                self._say(word)

    def _on_label(self, msg: String) -> None:
        self._say(decode_label(msg))

    def _say(self, text: str) -> None:
        try:
            said = self._label(text)
        except LabelRefused as error:
            raise CodecError('LABEL', str(error)) from None
        self._node.get_logger().info(f'label: {said}')
