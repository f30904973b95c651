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

"""Cameras of a MuJoCo scene, rendered off screen."""

from collections.abc import Mapping
from collections.abc import Sequence

import mujoco

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.sources import Source
from spaars_ros.sim.offscreen import Offscreen
from spaars_ros.vision.encoder_file import camera_of
from spaars_ros.vision.encoder_file import input_size
from spaars_ros.vision.images import Pixels


def size_of(source: Source) -> tuple[int, int]:
    """Return width and height of a simulated camera's images."""
    return camera_of(source).size or input_size(source)


def ticks_of(source: Source, rate: float) -> int:
    """Return the control ticks between two images, at a control rate in Hz."""
    camera = camera_of(source)
    return max(1, round(rate / camera.rate)) if camera.rate else 1


def camera_ids(model: mujoco.MjModel, sources: Sequence[Source]) -> dict[str, int]:
    """Return source -> camera id in the scene; raise ConfigError for a camera that it lacks."""
    there = [model.camera(number).name for number in range(model.ncam)]
    for source in sources:
        name = camera_of(source).simulated or source.name
        if name not in there:
            raise ConfigError(f'source {source.name!r}: the scene has no camera {name!r}, it has '
                              f'{there}: add one in Scene.build, with add_camera(name={name!r}, '
                              '...), or name another as camera.simulated')
    return {source.name: there.index(camera_of(source).simulated or source.name)
            for source in sources}


def place(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Move bodies, cameras and lights to the joints' and mocap bodies' positions."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)


class Cameras:
    """
    Render the cameras of sources; only on the thread that created this object.

    :raises ConfigError: the scene has no such camera, or no rendering backend works
    """

    def __init__(self, model: mujoco.MjModel, sources: Sequence[Source]) -> None:
        self._ids = camera_ids(model, sources)
        self._sizes: Mapping[str, tuple[int, int]] = {each.name: size_of(each)
                                                      for each in sources}
        width, height = (max(size[axis] for size in self._sizes.values()) for axis in (0, 1))
        self._drawing = Offscreen(model, width, height)
        # Sites are markers of the model, which no real camera sees.
        self._drawing.option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def image(self, name: str, data: mujoco.MjData) -> Pixels:
        """Return the image (h, w, 3) of a source's camera; call `place` first."""
        self._camera.fixedcamid = self._ids[name]
        return self._drawing.image(data, self._camera, *self._sizes[name])

    def close(self) -> None:
        """Free the context."""
        self._drawing.close()
