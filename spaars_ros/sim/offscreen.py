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

"""Off-screen renderer of a MuJoCo scene."""

from contextlib import suppress
from typing import Any
import weakref

import mujoco
import numpy as np

from spaars_ros.sim.gl import gl_context
from spaars_ros.vision.images import Pixels

SAMPLES = 4
"""Samples per pixel; shadows, which take twenty times as long, are left out."""
MAX_GEOMS = 10_000


class Offscreen:
    """
    Render a scene; only on the thread that created this object.

    It uses the backend that `gl_context` chose, since two backends in one process crash it.
    MuJoCo's own `Renderer` uses the backend chosen when MuJoCo was imported.

    :param model: the model, with the scene
    :param width: largest width, pixels
    :param height: largest height, pixels
    :raises ConfigError: no rendering backend works
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self._model = model
        self._gl = gl_context(width, height)
        self._gl.make_current()
        quality, whole = model.vis.quality, model.vis.global_
        before = quality.offsamples, quality.shadowsize, whole.offwidth, whole.offheight
        try:
            quality.offsamples, quality.shadowsize = SAMPLES, 0
            whole.offwidth, whole.offheight = width, height
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        finally:
            (quality.offsamples, quality.shadowsize, whole.offwidth, whole.offheight) = before
        self._free = weakref.finalize(self, _free, self._context, self._gl)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self.option = mujoco.MjvOption()

    def image(self, data: mujoco.MjData, camera: mujoco.MjvCamera, width: int, height: int
              ) -> Pixels:
        """Return the image (h, w, 3) of a camera."""
        self._gl.make_current()
        mujoco.mjv_updateScene(self._model, data, self.option, mujoco.MjvPerturb(), camera,
                               mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        rectangle = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        pixels = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Free the context."""
        self._free()


def _free(context: mujoco.MjrContext, gl: Any) -> None:
    """Free the renderer, also at exit: OpenGL is gone before Python is."""
    with suppress(Exception):  # the context's thread may have ended
        gl.make_current()
        context.free()
        gl.free()
