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

"""Cameras of a simulated arm, rendered and encoded in process as the nodes do it."""

from collections.abc import Callable
from collections.abc import Sequence

import mujoco

from spaars_ros.data.schema import Array
from spaars_ros.robot.sources import Source
from spaars_ros.sim.cameras import Cameras
from spaars_ros.sim.cameras import place
from spaars_ros.sim.cameras import ticks_of
from spaars_ros.tasks.base import Sample
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.images import Pixels

Seen = Callable[[str, int, Pixels], None]
"""Called with source, stamp in ns, and image."""


class Sight:
    """
    Feature vectors of a task's cameras, with the age that follows from a camera's rate.

    :param model: the model, with the scene
    :param sources: sources of the cameras
    :param rate: Hz, of the control ticks
    :param seen: called with every image that is encoded
    :raises ConfigError: there is no such camera or encoder, or no rendering backend works
    """

    def __init__(self, model: mujoco.MjModel, sources: Sequence[Source], rate: float,
                 seen: Seen = lambda name, stamp, image: None) -> None:
        self._model = model
        self._cameras = Cameras(model, sources)
        self._encoders = {each.name: Encoder(each) for each in sources}
        self._every = {each.name: ticks_of(each, rate) for each in sources}
        self.seen = seen
        self.clear()

    def clear(self) -> None:
        """Start with new images, after the arm was moved to another place."""
        self._tick = 0
        self._stamp = -1
        self._newest: dict[str, tuple[int, Array]] = {}

    def look(self, data: mujoco.MjData, stamp_ns: int) -> dict[str, Sample]:
        """
        Return source -> its vector at a tick; the same result for the same tick.

        :param data: state of the model
        :param stamp_ns: stamp of the tick, ns
        :raises ImageError: an image has no contrast, or its vector is not finite
        """
        if stamp_ns != self._stamp:
            place(self._model, data)
            for name, encoder in self._encoders.items():
                if self._tick % self._every[name] == 0:
                    image = self._cameras.image(name, data)
                    self._newest[name] = stamp_ns, encoder.encode(image)
                    self.seen(name, stamp_ns, image)
            self._tick, self._stamp = self._tick + 1, stamp_ns
        return {name: Sample(values, (stamp_ns - stamp) * 1e-9)
                for name, (stamp, values) in self._newest.items()}

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()
