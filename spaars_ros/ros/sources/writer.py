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

"""Values of a simulated sensor to the topic of its source."""

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
    Publish the values of a source as its sensor would.

    :param frame: name of the source's frame in the model
    :raises ConfigError: the type's package is not installed, or a sensor of it cannot be played
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
        """In the order of the values; (): data.0, data.1, ..."""
        scaled = self._kind.fields[:self._kind.scaled]
        self._factor = np.array([source.apply.factor if not self._kind.fields or name in scaled
                                 else 1.0 for name in self.fields] or [source.apply.factor])

    @property
    def width(self) -> int | None:
        """Return the number of values; None: any."""
        return len(self.fields) or None

    def send(self, values: Array, stamp: Time) -> None:
        """Publish values (k,) as the task has them."""
        msg: Any = self._make()
        self._kind.fill(msg, self.fields, values / self._factor)
        if self._kind.stamped:
            msg.header.stamp = stamp
            msg.header.frame_id = self._frame
        self.publisher.publish(msg)


def missing(source: Source, error: ImportError) -> str:
    """Return what to do where the package of a source's type is not installed."""
    package = source.type.partition('/')[0]
    rest = ', or publish the pose as geometry_msgs/msg/PoseStamped' if source.type == TF else ''
    return (f'source {source.name!r}: type {source.type} needs the package {package} ({error}): '
            f'sudo apt install ros-$ROS_DISTRO-{package.replace("_", "-")}{rest}')
