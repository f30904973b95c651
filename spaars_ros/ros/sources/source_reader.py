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

"""One source on a live topic: newest sample, age and faults."""

from collections.abc import Callable
import time
from typing import Any

from rclpy.node import Node

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.sources import Source
from spaars_ros.ros.absence import why_silent
from spaars_ros.ros.sources.kind import SourceError
from spaars_ros.ros.sources.qos import source_qos
from spaars_ros.ros.sources.row import Between
from spaars_ros.ros.sources.row import RowMaker
from spaars_ros.ros.sources.writer import missing
from spaars_ros.safety.monitors.source_watch import SourceWatch
from spaars_ros.safety.stop import Stop

FOREVER = float('inf')


class SourceReader:
    """
    Subscription of a source.

    With simulated time, the age of a sample is relative to the stamp of the newest state, and a
    sample without a stamp belongs to the next state. Otherwise, the age at arrival increases
    with a steady clock.

    :param simulated: whether time is simulated, that is, given by the stamps of the states
    :param now: returns the time of the node's clock in ns
    :param between: see `RowMaker`
    :param same: see `RowMaker`
    :param came: called after each new sample
    :raises ConfigError: the package of the message type is missing, or a selected field is wrong
    """

    def __init__(self, node: Node, source: Source, *, simulated: bool, now: Callable[[], int],
                 between: Between, same: Callable[[str, str], bool],
                 came: Callable[[], None] = lambda: None) -> None:
        self.source = source
        self._node = node
        self._simulated = simulated
        self._now = now
        self._came = came
        self._maker = RowMaker(source, between, same)
        self._qos = source_qos(source)
        self._carried = self._maker.kind.carried
        self.where = f'{source.name} on {node.resolve_topic_name(source.on)} ({self._carried})'
        # A camera slower than the states has no image for most of them: its last one is used.
        self._wait_ns = source.camera.period_ns if source.camera is not None else 0
        self.watch = SourceWatch(self.where, max_age=source.max_age, silent=source.silent,
                                 wrong=source.wrong, frozen=source.frozen)
        self.values: Array | None = None
        self._stamp: int | None = None
        """ns; None: it belongs to the next state."""
        self._counter = 0
        self._age_then = 0.0
        self._at = time.monotonic()
        self.since = self._at
        """s on the steady clock, start of the wait for the first sample."""
        try:
            kind = type(self._maker.kind.message())
        except ImportError as error:
            raise ConfigError(missing(source, error)) from None
        self.subscription = node.create_subscription(kind, source.on, self._on_message, self._qos)

    def _on_message(self, msg: Any) -> None:
        now = self._now()
        try:
            row = self._maker.row(msg, now)
        except SourceError as error:
            if error.code != 'NO_STATE':
                self.watch.refuse(error.code, error.text)
            return
        if row is None:
            return
        self._counter += 1
        age, order = 0.0, self._counter
        if row.stamp_ns is not None:
            age, order = (now - row.stamp_ns) * 1e-9, row.stamp_ns
        if self._simulated:
            age = 0.0  # the age is computed when the next state comes
        if self.watch.sample(order, row.values, age):
            self.values, self._stamp = row.values, row.stamp_ns
            self._age_then, self._at = max(age, 0.0), time.monotonic()
            self._came()

    def settle(self, stamp_ns: int) -> None:
        """Assign the stamp of this state in ns to a sample without a stamp."""
        if self._stamp is None and self.values is not None:
            self._stamp = stamp_ns

    def is_of(self, stamp_ns: int) -> bool:
        """Return whether the sample is as new as a stamp in ns, or in its camera's period."""
        return self.values is not None and (
            self._stamp is None or self._stamp + max(self._wait_ns, 0) >= stamp_ns)

    def age(self, stamp_ns: int) -> float:
        """Return the age of the newest sample in s at a state's stamp in ns; infinite if none."""
        if self.values is None:
            return FOREVER
        if self._simulated:
            return 0.0 if self._stamp is None else max(0.0, (stamp_ns - self._stamp) * 1e-9)
        return self._age_then + time.monotonic() - self._at

    def stop(self, stamp_ns: int) -> Stop | None:
        """Return a stop if the source has a fault; it tells why a silent source is silent."""
        stop = self.watch.stop(self.age(stamp_ns), self._late)
        if stop is None or stop.code != 'SOURCE_SILENT':
            return stop
        return Stop(stop.code, stop.value, stop.threshold, f'{stop.text}: {self.why()}')

    def warnings(self, stamp_ns: int) -> list[str]:
        """Return the faults that cause a warning and no stop."""
        return self.watch.warnings(self.age(stamp_ns), self._late)

    def why(self) -> str:
        """Return the last refusal, or else why the topic is silent according to the graph."""
        bad = self.watch.refusal
        return bad or self._silence()

    def _silence(self) -> str:
        said = why_silent(self._node, self.source.on, self._carried, self._qos)
        if self.source.camera is None:
            return said
        return f'its encoder ({said.partition(": ")[0]}); the images on ' \
            f'{self._node.resolve_topic_name(self.source.images)}: ' \
            + why_silent(self._node, self.source.images, self.source.type, self._qos)

    def forget(self) -> None:
        """Restart filter and monitor after a reset of the arm or a jump of the clock."""
        self._maker.forget()
        self.watch.restart()

    @property
    def _late(self) -> bool:
        return self._age_then > self.source.max_age
