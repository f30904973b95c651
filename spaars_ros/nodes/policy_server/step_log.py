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

"""Where a step record goes: to its readers, and to disk."""

from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.schema import Array
from spaars_ros.data.spool import Spool
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.safety.stop import Stop


class StepLog:
    """
    Publish step records and spool them.

    :param max_backlog: records that may wait for the disk before the robot has to stop
    """

    def __init__(self, publisher: 'Publisher[Float64MultiArray]', spool: Spool,
                 max_backlog: int) -> None:
        self._publisher = publisher
        self._codec = ArrayCodec(spool.schema)
        self._spool = spool
        self._max_backlog = max_backlog

    def publish(self, record: Array) -> None:
        """Send one record (width,) to its readers."""
        self._publisher.publish(self._codec.encode(record))

    def add(self, record: Array) -> Stop | None:
        """Publish and spool a new record (width,); returns a stop when the disk falls behind."""
        self.publish(record)
        if not self._spool.append(record) or self._spool.lost \
                or self._spool.backlog > self._max_backlog:
            return self.cause()
        return None

    def cause(self) -> Stop | None:
        """Return a stop while more records wait for the disk than may, or their file is gone."""
        backlog = self._spool.backlog
        if self._spool.lost:
            return Stop('SPOOL', backlog, self._max_backlog,
                        f'{self._spool.directory}: steps.f64 {self._spool.lost}')
        return None if backlog <= self._max_backlog else Stop(
            'SPOOL', backlog, self._max_backlog,
            f'records wait for the disk: {self._spool.error}')
