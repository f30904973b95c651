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

"""Take large messages as bytes on a separate thread, so that no executor waits for them."""

from collections.abc import Callable
import ctypes
import struct
import threading
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import UInt8MultiArray

from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.fields import MOST_FIELDS

EVERY = 0.05
"""s between two polls for a message."""
CHUNK = 2**20
"""Bytes copied at once; other Python threads can run between two chunks."""
LAYOUT = 2**16
"""Maximum bytes of the layout, which precedes the data."""
OK, NOTHING = 0, 401
"""Return codes of rcl_take_serialized_message."""


class Unspun(CallbackGroup):
    """Callback group that no executor serves: `LargeBytes` takes its messages."""

    def can_execute(self, entity: object) -> bool:
        """Return False: no executor waits for this group."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Return False: no executor executes this group."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Do nothing: no execution begins."""


class _Allocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in (
        'allocate', 'deallocate', 'reallocate', 'zero_allocate', 'state')]


class _Serialized(ctypes.Structure):
    _fields_ = [('buffer', ctypes.c_void_p), ('length', ctypes.c_size_t),
                ('capacity', ctypes.c_size_t), ('allocator', _Allocator)]


class LargeBytes:
    """
    Subscription of UInt8MultiArray messages that may be large.

    rclpy takes a message while it holds the GIL, which lasts a second for 400 MB. rcl's own take,
    called through ctypes, does not hold it. Only data of at most `most` bytes is copied into
    Python, in chunks.

    :param most: maximum bytes of data; a message above this plus `LAYOUT` is refused uncopied
    :param take: called with the data, on the thread of this object
    :param refuse: called with the error of a refused message, on the same thread
    """

    def __init__(self, node: Node, topic: str, qos: QoSProfile, *, most: int,
                 take: Callable[[bytes], None], refuse: Callable[[CodecError], None]) -> None:
        self._most = most
        self._take = take
        self._refuse = refuse
        self.subscription = node.create_subscription(
            UInt8MultiArray, topic, lambda msg: None, qos, callback_group=Unspun(), raw=True)
        self._rcl, rcutils = ctypes.CDLL('librcl.so'), ctypes.CDLL('librcutils.so')
        rcutils.rcutils_get_default_allocator.restype = _Allocator
        self._allocator = rcutils.rcutils_get_default_allocator()
        self._end_array = rcutils.rcutils_uint8_array_fini
        self._forget_error = rcutils.rcutils_reset_error
        self._rcl.rcl_take_serialized_message.argtypes = [ctypes.c_void_p] * 4
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name='large_bytes', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; wait for it for at most 5 s."""
        self._closing.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        handle: Any = self.subscription.handle
        while not self._closing.wait(EVERY):
            message = _Serialized(None, 0, 0, self._allocator)
            try:
                with handle:
                    found = self._rcl.rcl_take_serialized_message(
                        handle.pointer, ctypes.addressof(message), None, None)
            except InvalidHandle:  # the node was destroyed
                return
            if found == OK:
                try:
                    self._take(self._data(message))
                except CodecError as error:
                    self._refuse(error)
                finally:
                    self._end_array(ctypes.byref(message))
            else:
                self._forget_error()

    def _data(self, message: _Serialized) -> bytes:
        """Return the data of a message; raises CodecError."""
        if message.length > self._most + LAYOUT:
            raise CodecError('TOO_LARGE', f'{message.length} bytes, at most {self._most}')
        view = memoryview((ctypes.c_char * message.length).from_address(message.buffer)).cast('B')
        start, end = data_place(bytes(view[:LAYOUT]), message.length)
        data = bytearray(end - start)
        for place in range(0, len(data), CHUNK):
            data[place:place + CHUNK] = view[start + place:min(start + place + CHUNK, end)]
        return bytes(data)


def data_place(head: bytes, length: int) -> tuple[int, int]:
    """
    Return begin and end of the data, in bytes, in a serialized UInt8MultiArray (CDR).

    :param head: first bytes of the message
    :param length: bytes of the complete message
    :raises CodecError: too many layout fields, or the message is shorter than it declares
    """
    try:
        order = '<' if head[1] & 1 else '>'
        place = 4

        def number() -> int:
            nonlocal place
            place += -place % 4
            value: int = struct.unpack_from(order + 'I', head, place)[0]
            place += 4
            return value
        dims = number()
        if dims > MOST_FIELDS:
            raise CodecError('WRONG_SIZE', f'{dims} fields, at most {MOST_FIELDS}')
        for _ in range(dims):
            label = number()
            place += label
            number(), number()
        number()
        size = number()
    except (struct.error, IndexError):
        raise CodecError('WRONG_LAYOUT', 'the message is cut off in its layout') from None
    if size > length - place:
        raise CodecError('WRONG_SIZE', f'{length - place} bytes of data, {size} by their count')
    return place, place + size
