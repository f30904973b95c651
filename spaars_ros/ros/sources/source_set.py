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

"""All sources of a task on live topics."""

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any

from rclpy.node import Node

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.sources import Source
from spaars_ros.ros.sources.frames import Frames
from spaars_ros.ros.sources.source_reader import SourceReader
from spaars_ros.safety.stop import Stop
from spaars_ros.tasks.base import Sample

PATIENCE = 1.0
"""s without a first sample before it is reported."""


class SourceSet:
    """
    Newest samples, ages, stops and warnings of the sources of a task.

    :param kinematics: model of the robot, for the frames
    :param tip: name of the tip in the model, which is the frame `tool`
    :param position: returns joint positions (d,) rad, None before the first; for the frames
    :param simulated: whether time is simulated, that is, given by the stamps of the states
    :param now: returns the time of the node's clock in ns
    :raises ConfigError: a source cannot be subscribed to, or its frame is unknown
    """

    def __init__(self, node: Node, sources: Sequence[Source], *, kinematics: Kinematics, tip: str,
                 position: Callable[[], Array | None], simulated: bool,
                 now: Callable[[], int]) -> None:
        frames = Frames(kinematics, tip, position)
        self.came: Callable[[], None] = lambda: None
        """Called after every new sample."""
        self.readers: dict[str, SourceReader] = {}
        for source in sources:
            try:
                frames.check(source.frame)
            except ConfigError as error:
                raise ConfigError(f'source {source.name!r}: frame: {error}') from None
            self.readers[source.name] = SourceReader(
                node, source, simulated=simulated, now=now, between=frames.between,
                same=lambda one, other: frames.name(one) == frames.name(other),
                came=lambda: self.came())
        self.newest = 0
        """ns, stamp of the newest state."""

    @property
    def subscriptions(self) -> list[Any]:
        """Return all subscriptions."""
        return [reader.subscription for reader in self.readers.values()]

    def wait(self) -> None:
        """Start the wait for the first sample of every source now."""
        for reader in self.readers.values():
            reader.since = time.monotonic()

    def are_of(self, stamp_ns: int) -> bool:
        """Return whether every source without `silent: hold` is as new as a stamp in ns."""
        return all(reader.is_of(stamp_ns) for reader in self.readers.values()
                   if reader.source.silent != 'hold')

    @property
    def complete(self) -> bool:
        """Return whether every source has at least one sample."""
        return all(reader.values is not None for reader in self.readers.values())

    def samples(self, stamp_ns: int) -> dict[str, Sample]:
        """Return source -> newest sample, where there is one, for a state of this stamp in ns."""
        self.newest = stamp_ns
        found = {}
        for name, reader in self.readers.items():
            reader.settle(stamp_ns)
            if reader.values is not None:
                found[name] = Sample(reader.values, reader.age(stamp_ns))
        return found

    def cause(self) -> Stop | None:
        """Return the stop of the first source that has one; None if none."""
        stops = (reader.stop(self.newest) for reader in self.readers.values())
        return next((stop for stop in stops if stop is not None), None)

    def warnings(self) -> list[str]:
        """Return the warnings of all sources."""
        return [text for reader in self.readers.values() for text in reader.warnings(self.newest)]

    def missing(self) -> str:
        """Return which source has no sample yet, since when and why; '' for the first second."""
        for reader in self.readers.values():
            waited = time.monotonic() - reader.since
            if reader.values is None and waited > PATIENCE:
                return f'waiting for {reader.where} for {waited:.0f} s: {reader.why()}'
        return ''

    def absent(self, limit: float) -> Stop | None:
        """Return a stop if a source has no sample after `limit` s; 0 for no limit."""
        for reader in self.readers.values():
            waited = time.monotonic() - reader.since
            if reader.values is None and 0.0 < limit < waited:
                return Stop('NO_SOURCE', waited, limit, f's without {reader.where}: '
                            f'{reader.why()}')
        return None

    def counts(self) -> dict[str, object]:
        """Return the values for the diagnostics of the node."""
        refused = sum(reader.watch.refused for reader in self.readers.values())
        return {'source_messages_refused': refused} if self.readers else {}
