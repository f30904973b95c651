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

"""A person's messages: twists, joint velocities, joysticks, labels; checked before they count."""

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
"""Characters of a frame or a source that count."""
MOST_BUTTONS = 1000

BUTTONS = ('dead_man', 'open', 'close', 'success', 'failure', 'discard', 'ready')
"""What a button may mean; parameters `joy_<name>` say which, from 0; -1 for none."""


def decode_twist(msg: TwistStamped) -> tuple[Array, str]:
    """Return the twist (6,) m/s and rad/s, and the frame of its axes; raises CodecError."""
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
    """What a Joy message says."""

    source: str
    """Its frame: joystick, keyboard and page have one each."""
    held: dict[str, bool]
    """Meaning of a button -> whether it is down; those that there are."""
    missing: str
    """Buttons that the parameters name and the message has not, ''."""


class JoyMap:
    """
    Which button of a Joy message means what.

    :param buttons: of `BUTTONS` -> its number, -1 for none
    """

    def __init__(self, buttons: Mapping[str, int]) -> None:
        self._buttons = {name: number for name, number in buttons.items() if number >= 0}

    def read(self, msg: Joy) -> Pressed:
        """Return what is pressed; raises CodecError where there is no dead man's switch."""
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
    """Return the text of a label; raises CodecError where it is too long to be one."""
    if len(msg.data) > LONGEST:
        raise CodecError('WRONG_SIZE', f'label {msg.data!r}')
    return str(msg.data)
