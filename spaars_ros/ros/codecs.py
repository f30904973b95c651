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

"""Convert messages to arrays and back; malformed messages raise CodecError."""

from array import array
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Union

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension
from std_msgs.msg import MultiArrayLayout
from std_msgs.msg import UInt8MultiArray
from trajectory_msgs.msg import JointTrajectory
from trajectory_msgs.msg import JointTrajectoryPoint

from spaars_ros.data.ranges import MOST
from spaars_ros.data.ranges import Ranges
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.data.schema import StepSchema
from spaars_ros.ros.diagnostics import printable
from spaars_ros.ros.fields import MOST_FIELDS
from spaars_ros.ros.fields import MOST_VALUES

STAMP = 'stamp:'
NANO = 1_000_000_000
MAX_STAMP_DIGITS = 19


class CodecError(ValueError):
    """
    Raised for a malformed message; the text names the field and the values.

    The text may quote the message, so it is made `printable` (one line of limited length).

    :param code: upper-case name of the error, for instance WRONG_SIZE
    """

    def __init__(self, code: str, text: str) -> None:
        text = printable(text)
        super().__init__(f'{code}: {text}')
        self.code = code
        self.text = text


def widths(schema: StepSchema) -> dict[str, int]:
    """Return field name -> width of a step record."""
    return {name: place.stop - place.start for name, place in schema.fields.items()}


class ArrayCodec:
    """
    Codec of named fields in one Float64MultiArray, with one `layout.dim` per field.

    `label` is the name of the field, `size` its width and `stride` its offset in `data`.

    :param fields: a step schema, or field name -> width in order
    """

    def __init__(self, fields: Union[StepSchema, Mapping[str, int]]) -> None:
        self.widths = widths(fields) if isinstance(fields, StepSchema) else dict(fields)
        self.fields: dict[str, slice] = {}
        offset = 0
        dims = []
        for name, width in self.widths.items():
            self.fields[name] = slice(offset, offset + width)
            dims.append(MultiArrayDimension(label=name, size=width, stride=offset))
            offset += width
        self.width = offset
        self._ranges = Ranges(self.widths)
        self._layout = MultiArrayLayout(dim=dims, data_offset=0)

    @classmethod
    def of_message(cls, msg: Float64MultiArray) -> 'ArrayCodec':
        """Return the codec that the labels of a message describe; raises CodecError."""
        if len(msg.layout.dim) > MOST_FIELDS or len(msg.data) > MOST_VALUES:
            raise CodecError('WRONG_SIZE', f'{len(msg.layout.dim)} fields with {len(msg.data)} '
                             f'values, at most {MOST_FIELDS} with {MOST_VALUES}')
        labels = [dim.label for dim in msg.layout.dim]
        if not labels:
            raise CodecError('NO_LABELS', 'the message has no layout')
        if len(set(labels)) != len(labels):
            raise CodecError('DUPLICATE_LABEL', f'labels {labels}')
        if any(dim.size < 0 for dim in msg.layout.dim) \
                or sum(dim.size for dim in msg.layout.dim) != len(msg.data):
            raise CodecError('WRONG_SIZE', f'{len(msg.data)} values, layout says '
                                           f'{sum(dim.size for dim in msg.layout.dim)}')
        codec = cls({dim.label: int(dim.size) for dim in msg.layout.dim})
        codec.row(msg, nonfinite=labels)
        return codec

    def encode(self, row: Union[Array, Sequence[float]]) -> Float64MultiArray:
        """Return the message of a row (width,); raises CodecError if the width is wrong."""
        values = np.asarray(row, dtype=np.float64)
        if values.shape != (self.width,):
            raise CodecError('WRONG_SIZE', f'{values.shape} values for a row of {self.width}')
        return Float64MultiArray(layout=self._layout, data=array('d', values.tobytes()))

    def encode_fields(self, **values: object) -> Float64MultiArray:
        """
        Return the message of the given fields; fields that are not given are 0.

        :raises CodecError: a field is unknown or has a wrong width
        """
        row = np.zeros(self.width)
        for name, value in values.items():
            if name not in self.fields:
                raise CodecError('UNKNOWN_FIELD', name)
            given = np.asarray(value, dtype=np.float64).reshape(-1)
            if given.size != self.widths[name]:
                raise CodecError('WRONG_SIZE', f'{name} has {given.size} values, its field '
                                               f'{self.widths[name]}')
            row[self.fields[name]] = given
        return self.encode(row)

    def row(self, msg: Float64MultiArray, *, nonfinite: Collection[str] = ()) -> Array:
        """
        Return the row (width,) of a message.

        :param nonfinite: fields that may contain NaN or infinity
        :raises CodecError: wrong labels, layout or size, or a value not finite or out of range
        """
        dims = msg.layout.dim
        got = [dim.label for dim in dims]
        if got != list(self.fields):
            wanted = list(self.fields)
            odd = sorted(set(got) ^ set(wanted)) or 'another order'
            raise CodecError('WRONG_LABELS', f'expected {wanted}, differs in {odd}')
        for dim, (name, place) in zip(dims, self.fields.items()):
            if dim.size != self.widths[name] or dim.stride != place.start:
                raise CodecError('WRONG_LAYOUT', f'{name} has size {dim.size} at {dim.stride}, '
                                 f'expected {self.widths[name]} at {place.start}')
        values = np.array(msg.data, dtype=np.float64)
        if values.size != self.width:
            raise CodecError('WRONG_SIZE', f'{values.size} values, layout says {self.width}')
        if not np.isfinite(values).all():
            for name, place in self.fields.items():
                if name not in nonfinite and not np.isfinite(values[place]).all():
                    raise CodecError('NON_FINITE', f'{name} is {values[place]}')
        bad = self._ranges.name_of_bad(values)
        if bad is not None:
            raise CodecError('OUT_OF_RANGE', f'{bad[0]} is {bad[1]:.17g}')
        return values

    def decode(self, msg: Float64MultiArray, *, nonfinite: Collection[str] = ()
               ) -> dict[str, Array]:
        """Return field name -> values (width of the field,) of a message; raises as `row`."""
        row = self.row(msg, nonfinite=nonfinite)
        return {name: row[place] for name, place in self.fields.items()}


def step_schema(codec: ArrayCodec) -> StepSchema:
    """Return the step schema of a codec; raises CodecError if its fields are no step record."""
    try:
        return StepSchema.of_fields(codec.widths)
    except ValueError as error:
        raise CodecError('WRONG_LABELS', str(error)) from None


def encode_state(state: RobotState, joints: Sequence[str]) -> JointState:
    """Return the JointState message of a state, with the stamp of the state."""
    msg = JointState(name=list(joints), position=array('d', state.position.tobytes()),
                     velocity=array('d', state.velocity.tobytes()),
                     effort=array('d', state.effort.tobytes()))
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(state.stamp_ns, NANO)
    return msg


def encode_command(values: Array, stamp_ns: int) -> Float64MultiArray:
    """Return the message of a command (d,), labelled with the stamp of its joint_states in ns."""
    dim = MultiArrayDimension(label=f'{STAMP}{stamp_ns}', size=values.size, stride=values.size)
    return Float64MultiArray(layout=MultiArrayLayout(dim=[dim]),
                             data=array('d', np.asarray(values, dtype=np.float64).tobytes()))


def encode_command_into(msg: Float64MultiArray, values: Array, stamp_ns: int) -> None:
    """Overwrite a message of `encode_command` with as many values; takes half the time."""
    msg.layout.dim[0].label = f'{STAMP}{stamp_ns}'
    msg.data = array('d', values.tobytes())


def encode_trajectory(joints: Sequence[str], position: Array, velocity: Array, period: float,
                      stamp_ns: int) -> JointTrajectory:
    """Return a trajectory of one point: reach `position` (d,) rad `period` s from now."""
    point = JointTrajectoryPoint(positions=position.tolist(), velocities=velocity.tolist())
    point.time_from_start.nanosec = round(period * NANO) % NANO
    point.time_from_start.sec = round(period * NANO) // NANO
    # The joint_trajectory_controller reads a zero stamp as 'start now'. The stamp of the
    # joint_states is therefore in the frame_id.
    msg = JointTrajectory(joint_names=list(joints), points=[point])
    msg.header.frame_id = f'{STAMP}{stamp_ns}'
    return msg


def command_stamp(msg: Union[Float64MultiArray, JointTrajectory]) -> int | None:
    """Return the stamp in ns of the joint_states that a command answers; None if unlabelled."""
    if isinstance(msg, JointTrajectory):
        label = msg.header.frame_id
    else:
        label = msg.layout.dim[0].label if msg.layout.dim else ''
    number = label.removeprefix(STAMP)
    # ASCII only: str.isdigit accepts digits that int rejects.
    fits = len(number) <= MAX_STAMP_DIGITS and number.isascii() and number.isdigit()
    return int(number) if label.startswith(STAMP) and fits else None


def decode_range(msg: Float64MultiArray) -> tuple[int, int]:
    """Return the first and last sequence number of a `learner/fetch`; raises CodecError."""
    values = np.array(msg.data, dtype=np.float64)
    if values.size != 2:
        raise CodecError('WRONG_SIZE', f'learner/fetch has {values.size} values, expected 2')
    if not ((values >= 0) & (values <= MOST) & (values == np.floor(values))).all():
        raise CodecError('OUT_OF_RANGE', f'learner/fetch asks for {values.tolist()}')
    return int(values[0]), int(values[1])


def decode_command(msg: Float64MultiArray, size: int) -> Array:
    """Return a command (size,); raises CodecError if the size is wrong or a value not finite."""
    values = np.array(msg.data, dtype=np.float64)
    if values.size != size:
        raise CodecError('WRONG_SIZE', f'command has {values.size} values for {size} joints')
    if not np.isfinite(values).all():
        raise CodecError('NON_FINITE_COMMAND', f'command is {values.tolist()}')
    return values


def encode_bytes(data: bytes) -> UInt8MultiArray:
    """Return the message of the bytes of a bundle."""
    return UInt8MultiArray(data=array('B', data))


def decode_bytes(msg: UInt8MultiArray) -> bytes:
    """Return the bytes of a bundle message."""
    return bytes(msg.data)
