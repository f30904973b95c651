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

"""Publish the values of a simulated sensor on the topic of its source."""

from typing import Any

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.node import Node

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.sources import Source
from spaars_ros.robot.sources import TF
from spaars_ros.ros.sources.kinds import KINDS
from spaars_ros.ros.sources.qos import source_qos


class SourceWriter:
    """
    Publisher of the values of a source, in the place of its sensor.

    :param frame: frame_id of the messages; '' for the frame of the source
    :raises ConfigError: the package of the type is not installed, or the type is not simulated
    """

    def __init__(self, node: Node, source: Source, frame: str = '') -> None:
        self.source = source
        self._kind = KINDS[source.type]
        self._frame = frame or source.frame
        try:
            self._make = type(self._kind.message())
        except ImportError as error:
            raise ConfigError(missing(source, error)) from None
        if source.type == TF:
            raise ConfigError(f'source {source.name!r}: tf is not simulated: use PoseStamped')
        self.publisher = node.create_publisher(self._make, source.on, source_qos(source, False))
        self.fields = tuple(source.select) or self._kind.fields
        """Fields in the order of the values; (): data.0, data.1, ..."""
        scaled = self._kind.fields[:self._kind.scaled]
        self._factor = np.array([source.apply.factor if not self._kind.fields or name in scaled
                                 else 1.0 for name in self.fields] or [source.apply.factor])

    @property
    def width(self) -> int | None:
        """Return the number of values; None for any."""
        return len(self.fields) or None

    def send(self, values: Array, stamp: Time) -> None:
        """Publish values (k,), given in the units of the task."""
        msg: Any = self._make()
        self._kind.fill(msg, self.fields, values / self._factor)
        if self._kind.stamped:
            msg.header.stamp = stamp
            msg.header.frame_id = self._frame
        self.publisher.publish(msg)


def missing(source: Source, error: ImportError) -> str:
    """Return the error text for a source whose package is missing, with the remedy."""
    package = source.type.partition('/')[0]
    rest = ', or publish the pose as geometry_msgs/msg/PoseStamped' if source.type == TF else ''
    return (f'source {source.name!r}: type {source.type} needs the package {package} ({error}): '
            f'sudo apt install ros-$ROS_DISTRO-{package.replace("_", "-")}{rest}')
