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
"""Simulated side of `insert`: a peg with a wrist sensor, and a plate with a hole."""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.insert import InsertSettings

PEG, HOLE = 0.004, 0.00425
"""m, radii of the peg (8 mm diameter) and of the hole (0.5 mm diametral clearance)."""
LENGTH = 0.04
"""m, length of the peg."""
CHAMFER = 0.003
"""m, height and width of the chamfer."""
DEEP, OUTER, PLATE = 0.025, 0.02, 0.09
"""
m: depth of the hole, distance from its axis to the sectors' outer faces, half edge of the plate.
"""
SECTORS = 12
TOUCH = 2
"""Bit of contype and conaffinity; no other geom of the model collides."""
FILTER_TIME = 0.01
"""s, time constant of the wrist sensor's low-pass filter."""


class InsertScene:
    """Peg, plate and their sensors."""

    def __init__(self, robot: Robot, settings: InsertSettings) -> None:
        self._robot, self._settings = robot, settings
        self._rng = np.random.default_rng(0)
        self._hole, self._wrench = np.zeros(3), np.zeros(6)

    def build(self, spec: Any) -> None:
        """Add the peg to the body that carries the tip, and the plate to the world."""
        kinematics = Kinematics(self._robot)
        number, tip = kinematics.tip_in_body()
        body = spec.body(kinematics.model.body(number).name)
        touches = {'contype': TOUCH, 'conaffinity': TOUCH, 'friction': [0.3, 0.005, 0.0001]}
        peg = body.add_body(name='peg', pos=tip, quat=kinematics.tip_turn(), mass=0.02,
                            inertia=[1e-5, 1e-5, 1e-5], explicitinertial=True)
        peg.add_site(name='wrist')
        peg.add_geom(name='peg', type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[0, 0, -LENGTH / 2],
                     size=[PEG, LENGTH / 2, 0], rgba=[0.8, 0.5, 0.2, 1], **touches)
        for name, kind in (('force', mujoco.mjtSensor.mjSENS_FORCE),
                           ('torque', mujoco.mjtSensor.mjSENS_TORQUE)):
            spec.add_sensor(name=f'wrist_{name}', type=kind, objname='wrist',
                            objtype=mujoco.mjtObj.mjOBJ_SITE)
        plate = spec.worldbody.add_body(name='plate', mocap=True)
        for number, (pos, quat, size) in enumerate(_parts()):
            plate.add_geom(name=f'plate_{number}', type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos,
                           quat=quat, size=size, rgba=[0.45, 0.5, 0.55, 1], **touches)

    def reset(self, model: Any, data: Any, rng: np.random.Generator) -> None:
        """Place the plate, and draw the measurement error of its hole."""
        s = self._settings
        self._hole = np.append(rng.uniform(s.hole_low, s.hole_high), s.hole_height)
        data.mocap_pos[0] = self._hole
        self._seen = self._hole + rng.normal(scale=s.pose_bias, size=3)
        self._rng = np.random.default_rng(rng.integers(2 ** 63))
        self._wrench[:] = 0.0

    def actuate(self, model: Any, data: Any, channels: Mapping[str, float]) -> None:
        """Update the filtered wrist sensor, once per physics step."""
        share = 1.0 - np.exp(-model.opt.timestep / FILTER_TIME)
        self._wrench += share * (-data.sensordata[:6] - self._wrench)

    def measure(self, model: Any, data: Any) -> Mapping[str, Array]:
        """Return wrench (6,) N and N m on the peg, tool frame, and hole (3,) m, base frame."""
        s = self._settings
        noise = self._rng.normal(size=6) * s.force_noise * np.repeat((1.0, 0.02), 3)
        return {'wrench': self._wrench + noise,
                'hole': self._seen + self._rng.normal(scale=s.pose_noise, size=3)}


def _parts() -> list[tuple[Array, Array, Array]]:
    """Return position, quaternion and half sizes of the plate's boxes, from the mouth's centre."""
    parts = []
    for sector in range(SECTORS):
        angle = 2 * np.pi * sector / SECTORS
        wide = np.tan(np.pi / SECTORS)
        mouth = HOLE + CHAMFER
        for low, high, inner in ((-DEEP, -CHAMFER, HOLE), (-CHAMFER, 0.0, mouth)):
            parts.append(_part(angle, (inner + OUTER) / 2, (low + high) / 2, 0.0,
                               ((OUTER - inner) / 2, OUTER * wide, (high - low) / 2)))
        thick, slope = 0.001, CHAMFER / np.sqrt(2)
        inwards = thick / np.sqrt(2)
        parts.append(_part(angle, HOLE + CHAMFER / 2 + inwards, -CHAMFER / 2 - inwards,
                           -np.pi / 4, (slope, mouth * wide, thick)))
    level = np.array([1.0, 0.0, 0.0, 0.0])
    side, middle = (PLATE - OUTER) / 2, (PLATE + OUTER) / 2
    for sign in (-1, 1):
        parts.append((np.array([sign * middle, 0, -DEEP / 2]), level,
                      np.array([side, PLATE, DEEP / 2])))
        parts.append((np.array([0, sign * middle, -DEEP / 2]), level,
                      np.array([OUTER, side, DEEP / 2])))
    parts.append((np.array([0, 0, -DEEP - 0.005]), level, np.array([PLATE, PLATE, 0.005])))
    return parts


def _part(angle: float, radius: float, height: float, tilt: float,
          size: tuple[float, float, float]) -> tuple[Array, Array, Array]:
    """Return a box at an angle around the hole, x axis outwards, tilted about its y axis."""
    turn, lean, both = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), angle)
    mujoco.mju_axisAngle2Quat(lean, np.array([0.0, 1.0, 0.0]), tilt)
    mujoco.mju_mulQuat(both, turn, lean)
    place = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
    return place, both, np.asarray(size)
