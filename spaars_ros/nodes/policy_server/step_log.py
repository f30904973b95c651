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

"""Publish step records and write them to the spool."""

from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.schema import Array
from spaars_ros.data.spool import Spool
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.safety.stop import Stop


class StepLog:
    """
    Publish and spool step records.

    :param max_backlog: maximum records that wait for the disk; more stop the robot
    """

    def __init__(self, publisher: 'Publisher[Float64MultiArray]', spool: Spool,
                 max_backlog: int) -> None:
        self._publisher = publisher
        self._codec = ArrayCodec(spool.schema)
        self._spool = spool
        self._max_backlog = max_backlog

    def publish(self, record: Array) -> None:
        """Publish one record (width,) without spooling it."""
        self._publisher.publish(self._codec.encode(record))

    def add(self, record: Array) -> Stop | None:
        """Publish and spool a new record (width,); return a stop if the disk is too slow."""
        self.publish(record)
        if not self._spool.append(record) or self._spool.lost \
                or self._spool.backlog > self._max_backlog:
            return self.cause()
        return None

    def cause(self) -> Stop | None:
        """Return a stop if too many records wait for the disk, or the spool file is lost."""
        backlog = self._spool.backlog
        if self._spool.lost:
            return Stop('SPOOL', backlog, self._max_backlog,
                        f'{self._spool.directory}: steps.f64 {self._spool.lost}')
        return None if backlog <= self._max_backlog else Stop(
            'SPOOL', backlog, self._max_backlog,
            f'records wait for the disk: {self._spool.error}')
