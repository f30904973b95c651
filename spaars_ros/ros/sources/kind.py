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

"""Description of a message type: how to read its values and how to fill it; without rclpy."""

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
    Raised if a message is no valid sample of its source.

    :param code: upper-case name of the error, for instance NOT_FINITE
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f'{code}: {text}')
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Kind:
    """Message type of a source; messages of rclpy and of recordings have the same fields."""

    type: str
    read: Callable[[Any, Sequence[str]], Array]
    """(message, fields) -> values (k,); NaN where another message has the value."""
    fill: Callable[[Any, Sequence[str], Array], None]
    """(message, fields, values (k,)): write the values into a new message."""
    fields: tuple[str, ...] = ()
    """Fields of the type; (): the type has no fixed fields, the source selects them."""
    scaled: int | None = None
    """Number of leading values that `apply` scales; None: all."""
    turn: Callable[[Array, Array, Array], Array] | None = None
    """(values, position (3,) m, rotation (3, 3)) -> values in the other frame; None: no frame."""
    stamped: bool = True
    parts: bool = False
    """Whether several messages are merged into one sample."""
    wire: str = ''
    """Message type of the values, where an encoder publishes them; '': the type itself."""
    stamp: Callable[[Any], int] | None = None
    """message -> stamp in ns, for types without a header; None: stamp of the header."""

    @property
    def carried(self) -> str:
        """Return the message type on the topic of the values."""
        return self.wire or self.type

    def message(self) -> Any:
        """Return a new message; raises ImportError if its package is not installed."""
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
