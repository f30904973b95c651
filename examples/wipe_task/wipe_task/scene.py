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

"""Simulated side of the task: a board, and a sponge with a wrist sensor."""

import mujoco
import numpy as np

from spaars_ros.robot.kinematics import Kinematics

TOUCH = {'contype': 2, 'conaffinity': 2, 'friction': [0.2, 0.005, 0.0001]}
SOFT = [0.02, 1.0]
"""solref of sponge and board."""


class WipeScene:
    """Board and sponge; the pose of the board is source `board`."""

    def __init__(self, robot, settings):
        self._robot, self._settings = robot, settings

    def build(self, spec):
        """Add sponge and sensors to the body that carries the tip, and the board to the world."""
        kinematics = Kinematics(self._robot)
        number, tip = kinematics.tip_in_body()
        sponge = spec.body(kinematics.model.body(number).name).add_body(
            name='sponge', pos=tip, quat=kinematics.tip_turn(), mass=0.02,
            inertia=[1e-5] * 3, explicitinertial=True)
        sponge.add_site(name='wrist')
        sponge.add_geom(name='sponge', type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=[0, 0, -0.01],
                        size=[0.01, 0, 0], solref=SOFT, **TOUCH)
        for name, kind in (('force', mujoco.mjtSensor.mjSENS_FORCE),
                           ('torque', mujoco.mjtSensor.mjSENS_TORQUE)):
            spec.add_sensor(name=f'wrist_{name}', type=kind, objname='wrist',
                            objtype=mujoco.mjtObj.mjOBJ_SITE)
        board = spec.worldbody.add_body(name='board', mocap=True)
        board.add_geom(name='board', type=mujoco.mjtGeom.mjGEOM_BOX, pos=[0, 0, -0.01],
                       size=[0.08, 0.1, 0.01], solref=SOFT, **TOUCH)

    def reset(self, model, data, rng):
        """Place the board."""
        data.mocap_pos[0] = [rng.uniform(0.48, 0.52), rng.uniform(-0.02, 0.02),
                             self._settings.height]

    def measure(self, model, data):
        """
        Return wrench (6,) N, N m on the sponge, tool frame, and board (7,), base frame.

        `board` is position (3) m and quaternion (4) xyzw.
        """
        return {'wrench': -data.sensordata[:6],
                'board': np.append(data.mocap_pos[0], [0.0, 0.0, 0.0, 1.0])}

    def actuate(self, model, data, channels):
        """Do nothing: the task has no channels."""
