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

"""Convert messages of a source to arrays, for live topics and recordings alike."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import MAX_VALUE
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.sources import Source
from spaars_ros.robot.sources import TF
from spaars_ros.ros.sources.features import check_encoder
from spaars_ros.ros.sources.frames import Pose
from spaars_ros.ros.sources.kind import SourceError
from spaars_ros.ros.sources.kinds import KINDS
from spaars_ros.ros.sources.tf_message import transform_of
from spaars_ros.vision.encoder_file import digest_of
from spaars_ros.vision.encoder_file import read_encoder

NANO = 1_000_000_000
Between = Callable[[str, str], Pose]


@dataclass(frozen=True)
class Row:
    """One sample of a source."""

    stamp_ns: int | None
    """ns; None: messages of this type have no stamp."""
    values: Array
    """(k,), finite, in the units of the task."""


class RowMaker:
    """
    Convert messages of a source to samples: scale, rotate, select, clamp and filter, in order.

    :param between: (frame of the message, frame of the source) -> position (3,) m and rotation
        (3, 3); None: every frame other than that of the source is unknown
    :param same: (frame, frame) -> whether both names mean the same frame
    :raises ConfigError: the source selects a field that its type does not have
    """

    def __init__(self, source: Source, between: Between | None = None,
                 same: Callable[[str, str], bool] = lambda one, other: one == other) -> None:
        self.source = source
        self.kind = KINDS[source.type]
        self._between = between
        self._same = same
        self._fields = self.kind.fields or tuple(source.select)
        for name in source.select:
            if self.kind.fields and name not in self.kind.fields:
                raise ConfigError(f'source {source.name!r}: select: {name!r} is no field of '
                                  f'{source.type}: {", ".join(self.kind.fields)}')
        self._chosen = [self.kind.fields.index(name) for name in source.select] \
            if self.kind.fields and source.select else None
        self._factor = np.ones(len(self.kind.fields)) if self.kind.fields else np.ones(1)
        self._factor[:self.kind.scaled] *= source.apply.factor
        self._digest = digest_of(source) if source.camera is not None else ''
        self._parts: Array | None = None
        self._stamps: Array | None = None
        self._width: int | None = None
        if source.camera is not None and not source.select:
            self._width = read_encoder(source.camera.encoder).features
        self._filtered: tuple[int, Array] | None = None

    def forget(self) -> None:
        """Restart the filter, for instance after a reset of the arm."""
        self._filtered = None

    def row(self, msg: Any, arrived_ns: int) -> Row | None:
        """
        Return the sample of a message; None if it has no sample of this source, or only a part.

        :param arrived_ns: arrival time in ns, for the filter of messages without a stamp
        :raises SourceError: the message is malformed
        """
        if self.source.type == TF:
            msg = transform_of(msg, self.source.child)
            if msg is None:
                return None
        stamp = self._stamp(msg)
        if self._digest:
            check_encoder(msg, self._digest)
        values = self.kind.read(msg, self._fields)
        if self.kind.parts:
            whole = self._together(values, stamp or 0)
            if whole is None:
                return None
            values, stamp = whole
        self._check(values)
        values = values * self._factor
        if self.source.frame and self.kind.turn is not None:
            values = self._turned(values, msg.header.frame_id)
        if self._chosen is not None:
            values = values[self._chosen]
        clamp = self.source.apply.clamp
        if clamp is not None:
            values = np.clip(values, *clamp)
        return Row(stamp, self._smoothed(values, arrived_ns if stamp is None else stamp))

    def _stamp(self, msg: Any) -> int | None:
        if self.kind.stamp is not None:
            return self.kind.stamp(msg)
        return _stamp(msg) if self.kind.stamped else None

    def _together(self, values: Array, stamp: int) -> tuple[Array, int] | None:
        """Merge partial messages; return values and oldest stamp in ns once all are received."""
        if self._parts is None or self._stamps is None:
            self._parts = np.full(len(values), np.nan)
            self._stamps = np.zeros(len(values), np.int64)
        here = np.isfinite(values)
        if not here.any():
            return None
        self._parts[here], self._stamps[here] = values[here], stamp
        return None if np.isnan(self._parts).any() else (
            self._parts.copy(), int(self._stamps.min()))

    def _check(self, values: Array) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            raise SourceError('NOT_FINITE', f'{self._name(int(np.argmin(finite)))} is '
                              f'{values[~finite][0]}')
        if not len(values):
            raise SourceError('WRONG_SIZE', 'no values')
        if np.abs(values).max() > MAX_VALUE:
            worst = int(np.abs(values).argmax())
            raise SourceError('IMPLAUSIBLE', f'{self._name(worst)} is {values[worst]:g}')
        if self._width is not None and len(values) != self._width:
            raise SourceError('WRONG_SIZE', f'{len(values)} values, expected {self._width}')
        self._width = len(values)

    def _name(self, place: int) -> str:
        return self._fields[place] if place < len(self._fields) else f'data.{place}'

    def _turned(self, values: Array, frame: str) -> Array:
        wanted = self.source.frame
        if not frame or self._same(frame, wanted):
            return values
        if self._between is None:
            raise SourceError('UNKNOWN_FRAME', f'frame {frame!r}, {wanted!r} is wanted')
        assert self.kind.turn is not None
        return self.kind.turn(values, *self._between(frame, wanted))

    def _smoothed(self, values: Array, stamp: int) -> Array:
        constant = self.source.apply.filter
        if not constant:
            return values
        if self._filtered is not None:
            before, last = self._filtered
            share = 1.0 - math.exp(-max(0, stamp - before) * 1e-9 / constant)
            values = last + share * (values - last)
        self._filtered = stamp, values
        return values


def _stamp(msg: Any) -> int:
    stamp = msg.header.stamp
    # Recordings of other ROS distributions name the second field nsec.
    return int(stamp.sec) * NANO + int(getattr(stamp, 'nanosec', getattr(stamp, 'nsec', 0)))
