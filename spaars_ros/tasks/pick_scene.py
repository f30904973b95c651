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
"""Simulated side of `pick`: two fingers at the hand, a table, a cube and a bin."""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.pick import OPEN
from spaars_ros.tasks.pick import PickSettings

TOUCH = 2
"""Bit of contype and conaffinity; no other geom of the model collides."""
FINGER = (0.01, 0.004, 0.025)
"""m, half sizes; the fingers extend 10 mm beyond the tip."""
STIFFNESS, DAMPING, FORCE = 1000.0, 20.0, 15.0
"""N/m, N s/m and N, per finger."""
WALL, HIGH = 0.004, 0.05
"""m: half the thickness of the bin's walls, and their height."""
MASS = 0.05
"""kg, mass of the cube, and of each finger."""


class PickScene:
    """Fingers, cube, table and bin; channel `gripper`: 0 is open, 1 is closed."""

    def __init__(self, robot: Robot, settings: PickSettings) -> None:
        self._robot, self._settings = robot, settings
        self._rng = np.random.default_rng(0)

    def build(self, spec: Any) -> None:
        """Add the fingers to the body that carries the tip, and the other objects to the world."""
        kinematics, s = Kinematics(self._robot), self._settings
        number, tip = kinematics.tip_in_body()
        turn, quat = np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), s.gripper_turn)
        mujoco.mju_mulQuat(quat, kinematics.tip_turn(), turn)
        hand = spec.body(kinematics.model.body(number).name).add_body(
            name='gripper', pos=tip, quat=quat)
        touches = {'contype': TOUCH, 'conaffinity': TOUCH, 'condim': 4,
                   'friction': [1.0, 0.02, 0.0001]}
        box = {'type': mujoco.mjtGeom.mjGEOM_BOX, **touches}
        for side, name in ((1, 'left'), (-1, 'right')):
            finger = hand.add_body(
                name=f'finger_{name}', pos=[0, side * FINGER[1], 0.01 - FINGER[2]], mass=MASS,
                inertia=[1e-5, 1e-5, 1e-5], explicitinertial=True)
            finger.add_joint(
                name=f'finger_{name}', type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, side, 0],
                range=[0, OPEN / 2], limited=True, armature=0.2, damping=DAMPING)
            finger.add_geom(name=f'finger_{name}', size=FINGER, rgba=[.3, .3, .32, 1], **box)
        world, size = spec.worldbody, s.bin_size / 2
        world.add_geom(name='table', pos=[s.bin[0], 0, s.table - 0.02], size=[0.25, 0.4, 0.02],
                       rgba=[.55, .5, .42, 1], **box)
        for axis in (0, 1):
            for side in (-1, 1):
                at, half = np.append(s.bin, s.table + HIGH / 2), np.full(3, HIGH / 2)
                at[axis] += side * (size + WALL)
                half[axis], half[1 - axis] = WALL, size + 2 * WALL
                world.add_geom(name=f'bin_{axis}{side:+d}', pos=at, size=half,
                               rgba=[.2, .45, .7, .6], **box)
        cube = world.add_body(name='cube', pos=[0.5, 0, s.table + s.cube / 2])
        cube.add_freejoint(name='cube')
        cube.add_geom(name='cube', size=[s.cube / 2] * 3, mass=MASS, rgba=[.8, .3, .2, 1], **box)

    def reset(self, model: Any, data: Any, rng: np.random.Generator) -> None:
        """Place the cube, and open the fingers."""
        s = self._settings
        angle = rng.uniform(-0.2, 0.2)
        data.joint('cube').qpos = [*rng.uniform(s.cube_low, s.cube_high), s.table + s.cube / 2,
                                   np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
        for finger in self._fingers(data):
            finger.qpos = OPEN / 2
        self._rng = np.random.default_rng(rng.integers(2 ** 63))

    def actuate(self, model: Any, data: Any, channels: Mapping[str, float]) -> None:
        """Move the fingers like a servo with limited force."""
        target = OPEN / 2 * (1.0 - channels.get('gripper', 0.0))
        for finger in self._fingers(data):
            finger.qfrc_applied = np.clip(STIFFNESS * (target - finger.qpos), -FORCE, FORCE)

    def measure(self, model: Any, data: Any) -> Mapping[str, Array]:
        """Return cube (3,) m, base frame, and fingers (1,) m, the width between them."""
        noise = self._settings.pose_noise * self._rng.normal(size=3)
        return {'cube': data.joint('cube').qpos[:3] + noise,
                'fingers': sum(finger.qpos for finger in self._fingers(data))}

    @staticmethod
    def _fingers(data: Any) -> tuple[Any, Any]:
        return data.joint('finger_left'), data.joint('finger_right')
