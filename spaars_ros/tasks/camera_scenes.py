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

"""Scenes of the camera tasks: those of `pick` and `insert`, each with a camera."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.insert_camera import InsertCameraSettings
from spaars_ros.tasks.insert_scene import InsertScene
from spaars_ros.tasks.insert_scene import SECTORS
from spaars_ros.tasks.pick_camera import PickCameraSettings
from spaars_ros.tasks.pick_scene import PickScene
from spaars_ros.tasks.seen import looking

RING = (0.95, 0.75, 0.1, 1.0)
"""RGBA colour of the hole's chamfer."""
CHAMFERED = 3 * SECTORS
"""
Number of geoms of the plate's sectors, three each: wall of the hole, of the mouth, slope between.
"""


def add_camera(spec: Any, settings: PickCameraSettings | InsertCameraSettings) -> None:
    """Add the camera `eye` to the world, and a light above it."""
    place = list(settings.camera_place)
    spec.worldbody.add_camera(name='eye', pos=place, fovy=settings.camera_angle,
                              xyaxes=looking(place, settings.camera_at))
    way = np.asarray(settings.camera_at) - place
    spec.worldbody.add_light(pos=[place[0], place[1], place[2] + 0.5], dir=way.tolist())


class PickCameraScene(PickScene):
    """Fingers, cube, table and bin, with a camera and the bin's light barrier."""

    def __init__(self, robot: Robot, settings: PickCameraSettings) -> None:
        super().__init__(robot, settings)
        self._view = settings

    def build(self, spec: Any) -> None:
        """Add the camera to the bodies of `pick`."""
        super().build(spec)
        add_camera(spec, self._view)

    def measure(self, model: Any, data: Any) -> Mapping[str, Array]:
        """Return cube and fingers of `pick`, and binned (1,): 1 with the cube free in the bin."""
        measured = super().measure(model, data)
        s, cube = self._view, data.joint('cube').qpos[:3]
        beside = np.abs(cube[:2] - s.bin) < (s.bin_size - s.cube) / 2 + 0.01
        low = abs(cube[2] - s.table - s.cube / 2) < s.cube / 2
        free = float(np.asarray(measured['fingers']).reshape(-1)[0]) > s.cube + 0.01
        return {**measured, 'binned': np.array([float(beside.all() and low and free)])}


class InsertCameraScene(InsertScene):
    """Peg, plate and wrist sensor, with a camera that sees the chamfer as a ring."""

    def __init__(self, robot: Robot, settings: InsertCameraSettings) -> None:
        super().__init__(robot, settings)
        self._view = settings

    def build(self, spec: Any) -> None:
        """Add the camera to the bodies of `insert`, and colour the chamfer."""
        super().build(spec)
        add_camera(spec, self._view)
        for geom in spec.body('plate').geoms:
            number = int(geom.name.rpartition('_')[2])
            if number < CHAMFERED and number % 3 == 2:
                geom.rgba = RING
