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

"""Keyboard teleoperation: keys as twists, dead man's switch and labels."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
import os
import select
import sys
import termios
import time
import tty
from typing import Any

from geometry_msgs.msg import TwistStamped
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Joy

from spaars_ros.interrupts import Interrupts
from spaars_ros.ros.qos import QOS
from spaars_ros.run.operator import OperatorError

RATE = 30.0
"""Hz of the published messages."""
HELD = 0.6
"""s that a key counts as held after each event: terminals report repeats but no release."""
PULSE = 0.15
"""s that a button is reported as pressed."""
MOVES = {'w': (0, 1), 's': (0, -1), 'a': (1, 1), 'd': (1, -1), 'r': (2, 1), 'f': (2, -1),
         'j': (3, 1), 'l': (3, -1), 'i': (4, 1), 'k': (4, -1), 'u': (5, 1), 'o': (5, -1),
         '\x1b[A': (0, 1), '\x1b[B': (0, -1), '\x1b[D': (1, 1), '\x1b[C': (1, -1)}
"""Key -> (axis of the twist, direction)."""
BUTTONS = {'g': 0, 'h': 1, 'x': 2, '\r': 3, '\n': 3, 'z': 6, 'n': 7}
"""Key -> index of the button, as in the default parameters of the policy server."""
DEAD_MAN = 4
COUNT = 8
SPEEDS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""m/s; an angular axis has five times the value in rad/s."""
HELP = """\
w s  forward, back     a d  left, right      r f  up, down      (also the arrows)
u o  turn about z      i k  about y          j l  about x
g h  close, open       + -  faster, slower   t    frame: base or tip
Enter  success         x    failure          z    discard       n  ready, things are put back
space  let go          q    quit
A motion key that is held is the dead man's switch: let go and the arm is the policy's again."""


@dataclass
class Keys:
    """State of the keyboard, independent of ROS and of the terminal."""

    speed: int = 2
    frame: str = 'base'
    done: bool = False
    _axis: int = 0
    _direction: int = 0
    _moved: float = -1e9
    _pressed: dict[int, float] = field(default_factory=dict)

    def press(self, key: str, now: float) -> None:
        """Handle a key press at time `now` in s."""
        key = key.lower() if len(key) == 1 else key
        if key in MOVES:
            self._axis, self._direction = MOVES[key]
            self._moved = now
        elif key in BUTTONS:
            self._pressed[BUTTONS[key]] = now
            if BUTTONS[key] < 2 and self.held(now):
                self._moved = now  # a gripper key keeps the switch held, too
        elif key == ' ':
            self._moved = -1e9
        elif key in '+=':
            self.speed = min(self.speed + 1, len(SPEEDS) - 1)
        elif key in '-_':
            self.speed = max(self.speed - 1, 0)
        elif key == 't':
            self.frame = 'tip' if self.frame == 'base' else 'base'
        elif key in ('q', '\x03', '\x04'):
            self.done = True

    def held(self, now: float) -> bool:
        """Return whether the dead man's switch is held at `now` s."""
        return now - self._moved <= HELD

    def twist(self, now: float) -> list[float]:
        """Return the twist (6,) in m/s and rad/s, 0 while the switch is released."""
        values = [0.0] * 6
        if self.held(now):
            speed = SPEEDS[self.speed]
            values[self._axis] = self._direction * (speed if self._axis < 3 else 5 * speed)
        return values

    def buttons(self, now: float) -> list[int]:
        """Return the states of the joystick buttons (COUNT,), 0 or 1."""
        down = [0] * COUNT
        down[DEAD_MAN] = int(self.held(now))
        for button, at in self._pressed.items():
            down[button] = int(now - at <= PULSE)
        return down

    def line(self, now: float) -> str:
        """Return the state as one line of text."""
        speed = SPEEDS[self.speed]
        who = 'YOU ACT' if self.held(now) else 'released'
        twist = ' '.join(f'{value:+.2f}' for value in self.twist(now))
        return (f'{who:9s} {twist}   {speed:g} m/s, {5 * speed:g} rad/s, axes of the '
                f'{self.frame}')


def split_keys(text: str) -> list[str]:
    """Split terminal input into keys; an arrow key is three characters."""
    keys = []
    while text:
        size = 3 if text[:3] in MOVES else 1
        keys.append(text[:size])
        text = text[size:]
    return keys


@contextmanager
def raw_terminal() -> Iterator[Callable[[float], str]]:
    """
    Yield a function that waits up to the given time in s and returns the pressed keys.

    :raises OperatorError: standard input is not a terminal
    """
    if not sys.stdin.isatty():
        raise OperatorError('teleop reads the keyboard: start it in a terminal')
    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)

    def read(wait: float) -> str:
        if not select.select([place], [], [], wait)[0]:
            return ''
        data = os.read(place, 1024)
        return data.decode(errors='ignore') if data else 'q'  # no data: the terminal is closed
    try:
        tty.setcbreak(place)
        yield read
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)


class TeleopNode:
    """Node that publishes the state of the keyboard as twist and joystick."""

    def __init__(self, namespace: str) -> None:
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self.node: Node = rclpy.create_node(f'teleop_{os.getpid()}', namespace=namespace,
                                            context=self._context)
        self._twist = self.node.create_publisher(TwistStamped, 'teleop/twist',
                                                 QOS['teleop/twist'])
        self._joy = self.node.create_publisher(Joy, 'joy', QOS['joy'])

    @property
    def heard(self) -> bool:
        """Return whether a subscriber to the joystick exists, such as a policy server."""
        return self._joy.get_subscription_count() > 0

    def send(self, keys: Keys, now: float) -> None:
        """Publish the state of the keyboard at `now` s; a twist only while the switch is held."""
        stamp: Any = self.node.get_clock().now().to_msg()
        joy = Joy(axes=[0.0] * 6, buttons=keys.buttons(now))
        joy.header.stamp, joy.header.frame_id = stamp, 'keyboard'
        self._joy.publish(joy)
        if not keys.held(now):
            return
        msg = TwistStamped()
        msg.header.stamp, msg.header.frame_id = stamp, keys.frame
        linear, angular = msg.twist.linear, msg.twist.angular
        (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z) = keys.twist(now)
        self._twist.publish(msg)

    def close(self) -> None:
        """Destroy the node."""
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


def teleop(namespace: str, say: Callable[[str], Any], show: Callable[[str], Any],
           interrupts: Interrupts) -> None:
    """
    Drive the arm of a running policy server from the keyboard until q or interrupted.

    :param say: prints a line
    :param show: overwrites the status line
    :raises OperatorError: standard input is not a terminal
    """
    with raw_terminal() as read:
        node = TeleopNode(namespace)
        keys, shown = Keys(), ''
        try:
            say(HELP)
            with interrupts.deferred():
                while not keys.done and not interrupts.requested:
                    for key in split_keys(read(1.0 / RATE)):
                        keys.press(key, time.monotonic())
                    now = time.monotonic()
                    node.send(keys, now)
                    line = keys.line(now) if node.heard else 'no policy server listens here'
                    if line != shown:
                        show(line)
                        shown = line
        finally:
            # Release the switch, whatever the reason of the end; three times, in case one is lost.
            for _ in range(3):
                node.send(Keys(), time.monotonic())
                time.sleep(0.03)
            node.close()
            say('')
