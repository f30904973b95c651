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

"""Publish the images of the simulated cameras on the topics of the task's sources."""

from array import array
from collections.abc import Mapping
import math
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from spaars_ros.nodes.sim.state_writer import time_of
from spaars_ros.robot.sources import Source
from spaars_ros.ros.sources.qos import source_qos
from spaars_ros.sim.camera_faults import CameraFaults
from spaars_ros.sim.cameras import camera_ids
from spaars_ros.sim.cameras import size_of
from spaars_ros.sim.cameras import ticks_of
from spaars_ros.sim.drawing import Drawing
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.tasks.sources import one_per_topic
from spaars_ros.vision.image_messages import COMPRESSED
from spaars_ros.vision.images import jpeg_of
from spaars_ros.vision.images import Pixels

UNKNOWN = 'spaars_unknown'
"""Encoding in the messages under the fault camera_encoding."""


class CameraPublishers:
    """
    Render and publish each camera of the task at its rate, on a separate thread.

    :param seed: seed of the camera faults
    :raises ConfigError: the scene lacks a camera, or rendering is not available
    """

    def __init__(self, node: Node, task: Task, arm: DrivenArm, *, seed: int) -> None:
        self._arm = arm
        self._cameras = {each.name: each for each in one_per_topic(cameras_of(task))}
        self._faults = CameraFaults(seed=seed)
        self._set: Mapping[str, float] = {}
        self._sent: dict[str, list[Any]] = {}
        self._publishers: dict[str, tuple[Publisher[Any], Publisher[Any]]] = {}
        self._infos: dict[str, CameraInfo] = {}
        self._tick = 0
        self._drawing: Drawing | None = None
        if not self._cameras:
            return
        rate = task.robot.control.rate
        self._every = {name: ticks_of(each, rate) for name, each in self._cameras.items()}
        ids = camera_ids(arm.model, tuple(self._cameras.values()))
        for name, source in self._cameras.items():
            kind: Any = CompressedImage if source.type == COMPRESSED else Image
            qos = source_qos(source, subscription=False)
            above, _, _ = source.images.rpartition('/')
            self._publishers[name] = (
                node.create_publisher(kind, source.images, qos),
                node.create_publisher(CameraInfo, f'{above}/camera_info'.lstrip('/') if above
                                      else f'{source.images}/camera_info', qos))
            self._infos[name] = _info(source, float(arm.model.cam_fovy[ids[name]]))
        self._drawing = Drawing(arm.model, tuple(self._cameras.values()), self._show)

    @property
    def publishers(self) -> list[Any]:
        """Return all publishers."""
        return [one for pair in self._publishers.values() for one in pair]

    def clear(self) -> None:
        """Discard delayed images and restart the rate, for instance after a reset of the arm."""
        self._faults.clear()
        self._tick = 0

    def close(self) -> None:
        """Stop rendering."""
        if self._drawing is not None:
            self._drawing.close()

    def send(self, stamp_ns: int, faults: Mapping[str, float], again: bool = False) -> None:
        """
        Request the images of a state, to be rendered and published on the other thread.

        :param stamp_ns: stamp of the state in ns
        :param faults: fault -> value
        :param again: publish the last images again, for an encoder that has not answered
        """
        if self._drawing is None:
            return
        self._set = dict(faults)
        if again:
            for name, messages in list(self._sent.items()):
                for publisher, msg in zip(self._publishers[name], messages):
                    publisher.publish(msg)
            return
        due = [name for name, every in self._every.items() if self._tick % every == 0]
        self._tick += 1
        if due:
            self._drawing.want(self._arm.data, stamp_ns, due)

    def _show(self, stamp_ns: int, images: Mapping[str, Pixels]) -> None:
        """Publish images; called on the rendering thread."""
        for stamp, name, image in self._faults.shown(stamp_ns, images, self._set):
            msg = _message(self._cameras[name], image)
            if self._set['camera_encoding']:
                if isinstance(msg, Image):
                    msg.encoding = UNKNOWN
                else:
                    msg.data = array('B', b'no image')
            info = self._infos[name]
            msg.header.stamp = info.header.stamp = time_of(stamp)
            msg.header.frame_id = info.header.frame_id = name
            self._sent[name] = [msg, info]
            for publisher, one in zip(self._publishers[name], (msg, info)):
                publisher.publish(one)


def _message(source: Source, image: Pixels) -> Any:
    if source.type == COMPRESSED:
        return CompressedImage(format='jpeg', data=array('B', jpeg_of(image)))
    height, width = image.shape[:2]
    return Image(height=height, width=width, encoding='rgb8', step=3 * width,
                 data=array('B', image.tobytes()))


def _info(source: Source, fovy: float) -> CameraInfo:
    """Return the CameraInfo of a pinhole camera with a vertical field of view in degrees."""
    width, height = size_of(source)
    focal = height / 2 / math.tan(math.radians(fovy) / 2)
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(height=height, width=width, distortion_model='plumb_bob', d=[0.0] * 5, k=k,
                      r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                      p=[*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0])
