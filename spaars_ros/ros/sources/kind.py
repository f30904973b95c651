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

"""What is known of a message type: which values it has, and how to fill one. Free of rclpy."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array


class SourceError(ValueError):
    """
    A message is no sample of its source.

    :param code: upper-case name, for instance NOT_FINITE
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f'{code}: {text}')
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Kind:
    """A message type; messages are those of rclpy or of a recording: the same fields."""

    type: str
    read: Callable[[Any, Sequence[str]], Array]
    """(message, fields) -> values (k,), NaN where a part of the message is to come."""
    fill: Callable[[Any, Sequence[str], Array], None]
    """Write values (k,) of fields into a new message."""
    fields: tuple[str, ...] = ()
    """(): those that a source selects."""
    scaled: int | None = None
    """So many values, the first ones, have the unit of `apply`; None: all."""
    turn: Callable[[Array, Array, Array], Array] | None = None
    """(values, place (3,) m, rotation (3, 3)) -> values in the other frame; None: they have no
    frame."""
    stamped: bool = True
    parts: bool = False
    """Whether several messages make one sample."""
    wire: str = ''
    """Message type of the values, where an encoder makes them; '': the type itself."""
    stamp: Callable[[Any], int] | None = None
    """ns, of a message without a header; None: of its header."""

    @property
    def carried(self) -> str:
        """Return the message type on the topic of the values."""
        return self.wire or self.type

    def message(self) -> Any:
        """Return a new message; raises ImportError where its package is not installed."""
        package, _, name = self.carried.partition('/msg/')
        return getattr(import_module(f'{package}.msg'), name)()


def attributes(root: str) -> tuple[Callable[[Any, Sequence[str]], Array],
                                   Callable[[Any, Sequence[str], Array], None]]:
    """Return `read` and `fill` of a kind whose fields are attributes below `root`."""
    above = root.split('.') if root else []

    def read(msg: Any, fields: Sequence[str]) -> Array:
        top = reduce(getattr, above, msg)
        return np.array([reduce(getattr, name.split('.'), top) for name in fields], np.float64)

    def fill(msg: Any, fields: Sequence[str], values: Array) -> None:
        top = reduce(getattr, above, msg)
        for name, value in zip(fields, values.tolist()):
            *way, last = name.split('.')
            setattr(reduce(getattr, way, top), last, value)
    return read, fill


XYZ = ('x', 'y', 'z')


def name_fields(*parts: str) -> tuple[str, ...]:
    """Return part.x, part.y, part.z of each part."""
    return tuple(f'{part}.{axis}' for part in parts for axis in XYZ)
