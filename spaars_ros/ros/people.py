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

"""Decode and check the messages of a person: twists, joystick buttons, labels."""

from collections.abc import Mapping
from dataclasses import dataclass

from geometry_msgs.msg import TwistStamped
import numpy as np
from sensor_msgs.msg import Joy
from std_msgs.msg import String

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import MAX_VALUE
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.diagnostics import printable

LONGEST = 64
"""Maximum characters of a frame, a source or a label."""
MOST_BUTTONS = 1000

BUTTONS = ('dead_man', 'open', 'close', 'success', 'failure', 'discard', 'ready')
"""Functions of buttons; parameter `joy_<name>` is the number of the button from 0, -1 for none."""


def decode_twist(msg: TwistStamped) -> tuple[Array, str]:
    """Return twist (6,) (linear m/s, angular rad/s) and frame of its axes; raises CodecError."""
    twist = msg.twist
    values = np.array([twist.linear.x, twist.linear.y, twist.linear.z,
                       twist.angular.x, twist.angular.y, twist.angular.z], dtype=np.float64)
    frame = msg.header.frame_id.lstrip('/')
    if not np.isfinite(values).all():
        raise CodecError('NON_FINITE', f'twist is {values.tolist()}')
    if np.abs(values).max() > MAX_VALUE:
        raise CodecError('OUT_OF_RANGE', f'twist is {values.tolist()}')
    if len(frame) > LONGEST:
        raise CodecError('UNKNOWN_FRAME', f'{frame!r}')
    return values, frame


@dataclass(frozen=True)
class Pressed:
    """Decoded Joy message."""

    source: str
    """frame_id of the message: joystick, keyboard and page have different ones."""
    held: dict[str, bool]
    """Function of a button, see `BUTTONS` -> whether it is pressed; those of the message only."""
    missing: str
    """Text that names the assigned buttons that the message lacks; '' if none."""


class JoyMap:
    """
    Assignment of the buttons of a Joy message to functions.

    :param buttons: name in `BUTTONS` -> number of the button from 0; -1 for none
    """

    def __init__(self, buttons: Mapping[str, int]) -> None:
        self._buttons = {name: number for name, number in buttons.items() if number >= 0}

    def read(self, msg: Joy) -> Pressed:
        """Return the pressed buttons; raises CodecError if the dead man's switch is missing."""
        count = len(msg.buttons)
        if count > MOST_BUTTONS:
            raise CodecError('WRONG_SIZE', f'joy has {count} buttons')
        dead_man = self._buttons.get('dead_man')
        if dead_man is not None and dead_man >= count:
            raise CodecError('FEWER_BUTTONS', f"joy has {count} buttons, the dead man's switch "
                             f'is number {dead_man} (parameter joy_dead_man)')
        missing = [f'joy_{name} {number}' for name, number in self._buttons.items()
                   if number >= count]
        return Pressed(
            source=printable(msg.header.frame_id, LONGEST) or 'joy',
            held={name: msg.buttons[number] > 0 for name, number in self._buttons.items()
                  if number < count},
            missing=f'joy has {count} buttons, and not {", ".join(missing)}' if missing else '')


def decode_label(msg: String) -> str:
    """Return the text of a label; raises CodecError if longer than `LONGEST`."""
    if len(msg.data) > LONGEST:
        raise CodecError('WRONG_SIZE', f'label {msg.data!r}')
    return str(msg.data)
