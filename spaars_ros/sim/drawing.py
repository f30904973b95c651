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

"""Rendering of a moving arm on a separate thread."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import threading

import mujoco

from spaars_ros.data.schema import Array
from spaars_ros.robot.sources import Source
from spaars_ros.sim.cameras import Cameras
from spaars_ros.sim.cameras import place
from spaars_ros.vision.images import Pixels

Shown = Callable[[int, Mapping[str, Pixels]], None]
"""Called with a stamp in ns, and source -> image."""


@dataclass(frozen=True)
class _Moment:
    """Everything that an image depends on."""

    stamp_ns: int
    names: Sequence[str]
    position: Array
    mocap: tuple[Array, Array]


class Drawing:
    """
    Render cameras on a separate thread; only the newest request is rendered.

    OpenGL belongs to the thread that opened it, and an image takes some milliseconds, too long for
    a step.

    :param model: the model, with the scene
    :param sources: sources of the cameras
    :param shown: called on that thread with the images of each request
    :raises ConfigError: the scene has no such camera, or no rendering backend works
    """

    def __init__(self, model: mujoco.MjModel, sources: Sequence[Source], shown: Shown) -> None:
        self._model, self._sources, self._shown = model, sources, shown
        self._wanted: _Moment | None = None
        self._wake, self._ready = threading.Event(), threading.Event()
        self._closing = False
        self._failed: Exception | None = None
        self.passed_over = 0
        """Number of requests that a newer one replaced."""
        self._thread = threading.Thread(target=self._run, name='drawing', daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    def want(self, data: mujoco.MjData, stamp_ns: int, names: Sequence[str]) -> None:
        """Request images of sources' cameras of the scene in its present state; return at once."""
        self.passed_over += self._wanted is not None
        self._wanted = _Moment(stamp_ns, names, data.qpos.copy(),
                               (data.mocap_pos.copy(), data.mocap_quat.copy()))
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            cameras = Cameras(self._model, self._sources)
        except Exception as error:  # raised again in the constructor
            self._failed = error
            return
        finally:
            self._ready.set()
        data = mujoco.MjData(self._model)
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._closing:
                cameras.close()
                return
            moment, self._wanted = self._wanted, None
            if moment is None:
                continue
            data.qpos[:] = moment.position
            data.mocap_pos[:], data.mocap_quat[:] = moment.mocap
            place(self._model, data)
            images = {name: cameras.image(name, data) for name in moment.names}
            if not self._closing:
                self._shown(moment.stamp_ns, images)
