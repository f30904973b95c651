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

"""Read samples of a source from a recording, with the same code as for live topics."""

from collections.abc import Callable
from collections.abc import Iterator
import os
from typing import Any

from mcap_ros2.decoder import DecoderFactory

from spaars_ros.data.recording import read_messages
from spaars_ros.ros.sources.kind import SourceError
from spaars_ros.ros.sources.row import Row
from spaars_ros.ros.sources.row import RowMaker


def rows_of_bag(path: str | os.PathLike[str], maker: RowMaker,
                refused: Callable[[SourceError], None] = lambda error: None
                ) -> Iterator[tuple[int, Row]]:
    """
    Yield (log time in ns, sample) of each message on the topic of a source, in file order.

    :param refused: called with the error of each message that is skipped
    :raises RecorderError: the file is not a recording
    """
    topic, factory = maker.source.on.lstrip('/'), DecoderFactory()
    decoders: dict[int, Any] = {}
    for schema, channel, message in read_messages(path):
        if channel.topic.lstrip('/') != topic or schema.name != maker.kind.carried:
            continue
        if channel.id not in decoders:
            decoders[channel.id] = factory.decoder_for(channel.message_encoding, schema)
        decode = decoders[channel.id]
        if decode is None:
            continue
        try:
            row = maker.row(decode(message.data), message.log_time)
        except SourceError as error:
            refused(error)
            continue
        if row is not None:
            yield message.log_time, row
