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

"""Encode the images of one camera into feature vectors."""

from collections.abc import Callable
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray

from spaars_ros.robot.sources import Source
from spaars_ros.ros import diagnostics
from spaars_ros.ros.absence import why_silent
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.sources.features import features_message
from spaars_ros.ros.sources.qos import source_qos
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.frames import FrameWriter
from spaars_ros.vision.image_messages import COMPRESSED
from spaars_ros.vision.images import decompress
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import Pixels
from spaars_ros.vision.images import pixels_of

SILENT = 1.0
"""s without an image before it is reported."""
BUSY = 0.9
"""Share of the time spent on encoding above which the encoder is too slow."""
LOGGED = 5.0
"""s between two log lines about refused images."""
JPEG = b'\xff\xd8'
"""First bytes of every JPEG file."""


class Eye:
    """
    Subscribe to a camera and publish the features of each image.

    The queue holds one image: an image that arrives during encoding replaces the waiting one. For
    an image that cannot be used, a message with its stamp, the reason and no values is published.

    :param active: returns whether images are encoded now
    :param frames: stores the images; None: they are not stored
    """

    def __init__(self, node: Node, source: Source, encoder: Encoder,
                 active: Callable[[], bool], frames: FrameWriter | None = None) -> None:
        self.source = source
        self._node = node
        self._encoder = encoder
        self._active = active
        self._frames = frames
        # Depth 1: only the newest image waits.
        asked = source_qos(source)
        self._qos = QoSProfile(history=asked.history, depth=1, reliability=asked.reliability,
                               durability=asked.durability)
        kind: Any = CompressedImage if source.type == COMPRESSED else Image
        self.publisher = node.create_publisher(
            Float64MultiArray, source.on, source_qos(source, subscription=False))
        self.subscription = node.create_subscription(kind, source.images, self._on_image,
                                                     self._qos)
        self._period_ns = source.camera.period_ns if source.camera is not None else 0
        self._newest = 0
        self._heard = time.monotonic()
        self._busy, self._asked = 0.0, self._heard
        self._refusal = ''
        self.encoded = self.refused = 0
        self.statistics = diagnostics.LoopStatistics()

    def _on_image(self, msg: Any) -> None:
        begin = self._heard = time.monotonic()
        if not self._active():
            return
        stamp = int(msg.header.stamp.sec) * NANO + int(msg.header.stamp.nanosec)
        if 0 < stamp - self._newest < self._period_ns:
            return
        self._newest = stamp
        try:
            image = self._pixels(msg)
            values = self._encoder.encode(image)
        except ImageError as error:
            self._refuse(error, stamp)
            return
        self._refusal = ''
        self.publisher.publish(features_message(values, stamp, self._encoder.digest))
        self._keep(msg, image, stamp)
        self.encoded += 1
        took = time.monotonic() - begin
        self._busy += took
        self.statistics.add(begin, took)

    def _keep(self, msg: Any, image: Pixels, stamp: int) -> None:
        if self._frames is not None:
            whole = bytes(msg.data) if self.source.type == COMPRESSED else b''
            self._frames.put(self._node.resolve_topic_name(self.source.images), stamp,
                             whole if whole.startswith(JPEG) else image)

    def _pixels(self, msg: Any) -> Pixels:
        if self.source.type == COMPRESSED:
            return decompress(bytes(msg.data))
        return pixels_of(msg.encoding, msg.width, msg.height, msg.step, msg.data)

    def _refuse(self, error: ImageError, stamp: int) -> None:
        self.refused += 1
        self._refusal = diagnostics.printable(str(error))
        self.publisher.publish(features_message(np.zeros(0), stamp, self._encoder.digest,
                                                self._refusal))
        self._node.get_logger().error(f'{self.source.name}: image refused: {self._refusal}',
                                      throttle_duration_sec=LOGGED)

    def status(self) -> DiagnosticStatus:
        """Return the diagnostics of the camera; its load is that since the previous call."""
        now = time.monotonic()
        share = self._busy / max(now - self._asked, 1e-6)
        self._busy, self._asked = 0.0, now
        level, text = diagnostics.OK, 'encoding'
        if now - self._heard > SILENT:
            level, text = diagnostics.WARN, (
                f'no image on {self._node.resolve_topic_name(self.source.images)} for '
                f'{now - self._heard:.0f} s: '
                + why_silent(self._node, self.source.images, self.source.type, self._qos))
        elif self._refusal:
            level, text = diagnostics.WARN, f'image refused: {self._refusal}'
        elif self._frames is not None and self._frames.error:
            level, text = diagnostics.WARN, self._frames.error
        elif share > BUSY:
            level, text = diagnostics.WARN, (
                f'falls behind: it encodes {share:.0%} of the time, and passes over images that '
                'come meanwhile: a smaller encoder, a rate, or a GPU')
        return diagnostics.status(
            diagnostics.full_name(self._node.get_namespace(), f'encoder: {self.source.name}'),
            level, text, **self.statistics.values(),
            encoded=self.encoded, refused=self.refused, busy=share,
            frames_kept=self._frames.kept if self._frames is not None else 0,
            frames_lost=self._frames.lost if self._frames is not None else 0,
            provider=self._encoder.provider, encoder=self._encoder.digest[:16])
