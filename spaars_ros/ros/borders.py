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

"""Validation of incoming messages: malformed ones are counted, logged and ignored."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from typing import Protocol

from std_msgs.msg import Float64MultiArray

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import step_schema
from spaars_ros.ros.fields import LAYOUTS

LOGGED = 5.0
"""s between two log lines about refused messages of one node."""


class Logger(Protocol):
    """Interface of the logger of a node."""

    def error(self, message: str, *, throttle_duration_sec: float) -> Any:
        """Log one line, at most once per `throttle_duration_sec`."""


class Border:
    """
    Counter and log of the messages that one node refuses.

    :param logger: logger of the node; None logs nothing
    """

    def __init__(self, logger: Logger | None = None) -> None:
        self.refused: Counter[str] = Counter()
        """Topic -> number of refused messages."""
        self.last = ''
        """Topic and reason of the last refused message; '' if none."""
        self._logger = logger
        self._said = 0

    def guarded(self, topic: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a callback that calls `take` and refuses a message if it raises CodecError."""
        def call(msg: Any) -> None:
            try:
                take(msg)
            except CodecError as error:
                self.refuse(topic, error)
        return call

    def refuse(self, topic: str, error: CodecError) -> None:
        """Count and log a refused message."""
        self.refused[topic] += 1
        self.last = f'{topic}: {error}'
        if self._logger is not None:
            self._logger.error(f'{topic} ignored: {error}', throttle_duration_sec=LOGGED)

    def news(self) -> str:
        """Return topic and reason of the last refusal since the previous call; '' if none."""
        said, self._said = self._said, self.refused.total()
        return self.last if self._said > said else ''

    def values(self) -> dict[str, object]:
        """Return the values for the diagnostics of the node."""
        return {'refused_messages': self.refused.total(), 'last_refused': self.last}


class TopicReader:
    """
    Reader of the messages of a topic of `fields.LAYOUTS`.

    Fields that the layout does not declare are read, too: a newer publisher may have more.

    :param needs: required fields; () for all fields of the layout
    """

    def __init__(self, topic: str, *, needs: tuple[str, ...] = ()) -> None:
        self._layout = LAYOUTS[topic]
        self._needs = needs or tuple(self._layout.widths)
        self._codec: ArrayCodec | None = None

    def read(self, msg: Float64MultiArray) -> dict[str, Array]:
        """Return field name -> values (width,); raises CodecError."""
        try:
            codec = self._codec or self._codec_of(msg)
            fields = codec.decode(msg, nonfinite=self._layout.unmeasured)
        except CodecError:
            self._codec = None  # another publisher may use another layout
            raise
        self._codec = codec
        return fields

    def _codec_of(self, msg: Float64MultiArray) -> ArrayCodec:
        codec = ArrayCodec.of_message(msg)
        for name in self._needs:
            if name not in codec.widths:
                raise CodecError('WRONG_LABELS', f'there is no field {name}')
        wide = [name for name, width in self._layout.widths.items()
                if width is None and name in codec.widths]
        for name, width in codec.widths.items():
            wanted = codec.widths[wide[0]] if name in wide else self._layout.widths.get(name)
            if width != (width if wanted is None else wanted):
                raise CodecError('WRONG_SIZE', f'{name} has {width} values, expected {wanted}')
        return codec


class StepReader:
    """
    Reader of step records; the labels of the message define the layout, so no bundle is needed.

    :param observation: required width of the observation; None for any
    :param joints: required number of joints; None for any
    :param action: required width of the action; None for any
    """

    def __init__(self, observation: int | None = None, joints: int | None = None,
                 action: int | None = None) -> None:
        self._wanted = {'observation': observation, 'effort': joints, 'action': action}
        self._codec: ArrayCodec | None = None
        self._schema: StepSchema | None = None

    def read(self, msg: Float64MultiArray) -> tuple[StepSchema, Array]:
        """Return schema and values (width,) of a step record; raises CodecError."""
        if self._codec is None or self._schema is None:
            codec = ArrayCodec.of_message(msg)
            schema = step_schema(codec)
            for name, wanted in self._wanted.items():
                if wanted is not None and codec.widths[name] != wanted:
                    raise CodecError('WRONG_SIZE', f'{name} has {codec.widths[name]} values, '
                                                   f'the task and robot file {wanted}')
            self._codec, self._schema = codec, schema
        try:
            return self._schema, self._codec.row(msg)
        except CodecError:
            self._codec = None  # another policy server may use another layout
            raise
