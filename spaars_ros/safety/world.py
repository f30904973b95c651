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

"""MJCF model of the robot with the zones that protect the arm."""

import mujoco
import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Box
from spaars_ros.robot.config import Cylinder
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.config import Zone
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.kinematics import slide_range
from spaars_ros.robot.zones import PREFIX

TURN_ONE, TURN_TWO = [1, 2, 0], [2, 0, 1]
"""Axes of the vector product; np.cross is ten times slower on so few rows."""


class World:
    """
    Robot model together with the zones that protect the arm, at chosen joint positions.

    :raises ConfigError: the model lacks a joint, the tip, or a name in `collision_ignore`
    """

    def __init__(self, robot: Robot) -> None:
        kinematics = Kinematics(robot)
        spec = mujoco.MjSpec.from_file(str(robot.model_path))
        for zone in robot.keep_out:
            if zone.protects == 'arm':
                _add(spec, zone)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.qpos, self.dof = kinematics.qpos, kinematics.dof
        self._robot, self._joints = robot, kinematics.joints
        site = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, robot.tip)
        self.tip_body = int(self.model.site_bodyid[site]) if site >= 0 else \
            mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, robot.tip)
        self._tip_in_body = np.asarray(robot.tip_offset)
        if site >= 0:
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, self.model.site_quat[site])
            self._tip_in_body = self.model.site_pos[site] + turn.reshape(3, 3) @ robot.tip_offset
        self.tip_radius = float(np.linalg.norm(self._tip_in_body))
        # Attributes of MjData make a new array at each access; these are views of the same memory.
        self._positions = self.data.qpos
        self._origin = self.data.xpos[self.tip_body]
        self._frame = self.data.xmat[self.tip_body].reshape(3, 3)
        self._screws = self.data.cdof
        self._centre = self.data.subtree_com[self.model.body_rootid[self.tip_body]]
        self._jacobian = np.zeros((3, self.model.nv))
        self._whole = np.array_equal(self.dof, np.arange(self.model.nv))
        self._moved = True
        self.tip = np.zeros(3)
        self.slides = np.array([self.model.jnt_type[self.model.dof_jntid[dof]]
                                == mujoco.mjtJoint.mjJNT_SLIDE for dof in self.dof], dtype=bool)
        """(d,) True for slide joints, whose positions are in m."""

    def move(self, position: Array) -> None:
        """Move the model to joint positions (d,) rad; `tip` (3,) m is valid afterwards."""
        self._positions[self.qpos] = position
        mujoco.mj_kinematics(self.model, self.data)
        self.tip = self._origin + self._frame @ self._tip_in_body
        self._moved = True

    def tip_jacobian(self) -> Array:
        """Return d(tip)/dq (3, d) m/rad, valid until the next call."""
        if self._moved:
            mujoco.mj_comPos(self.model, self.data)
            self._moved = False
        mujoco.mj_jac(self.model, self.data, self._jacobian, None, self.tip, self.tip_body)
        return self._jacobian if self._whole else self._jacobian[:, self.dof]

    def gradients(self, lines: Array, sides: Array) -> Array:
        """
        Return the gradients (m, d) m/rad of m distances.

        A joint with screw (omega, v) about c moves a point p along n by omega ((p - c) x n) + v n.
        This is the same for every p on the line through p along n.

        :param lines: (m, 6), one `Distance.line` per distance
        :param sides: (m, d), one `Distance.sides` per distance
        """
        if self._moved:
            mujoco.mj_comPos(self.model, self.data)
            self._moved = False
        arm, along = lines[:, :3] - self._centre, lines[:, 3:]
        turned = arm[:, TURN_ONE] * along[:, TURN_TWO] - arm[:, TURN_TWO] * along[:, TURN_ONE]
        screws = self._screws if self._whole else self._screws[self.dof]
        result: Array = (turned @ screws[:, :3].T + along @ screws[:, 3:].T) * sides
        return result

    def levers(self, body: int, radius: float) -> Array:
        """
        Return bounds (d,) m/rad of the motion of a point within `radius` m of a body's origin.

        This is the length of the chain from joint to point, at any joint positions; 1 for a slide
        joint.
        """
        model, levers, reach = self.model, np.zeros(len(self.dof)), radius
        joints = {int(dof): index for index, dof in enumerate(self.dof)}
        while body > 0:
            for joint in range(model.body_jntadr[body],
                               model.body_jntadr[body] + model.body_jntnum[body]):
                index = joints.get(int(model.jnt_dofadr[joint]))
                slides = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
                reach += slide_range(model, joint, self._robot, self._joints)
                if index is not None:
                    levers[index] = 1.0 if slides else \
                        reach + float(np.linalg.norm(model.jnt_pos[joint]))
            reach += float(np.linalg.norm(model.body_pos[body]))
            body = int(model.body_parentid[body])
        return levers

    def bends(self, levers: Array) -> Array:
        """
        Return bounds of a point's second derivative, |d2 p / dq_i dq_j| (d, d) m/rad^2.

        For two hinges, the one nearer to the point changes the direction of motion by its own
        lever. A hinge turns the direction of a slide. Two slides have no second derivative.

        :param levers: (d,) result of `levers` for the point
        """
        moves = levers > 0.0
        bends = np.minimum(levers[:, None], levers[None, :])
        mixed = self.slides[:, None] != self.slides[None, :]
        bends[mixed] = (moves[:, None] & moves[None, :])[mixed]
        bends[self.slides[:, None] & self.slides[None, :]] = 0.0
        return np.asarray(bends)


def zone_name(zone: Zone) -> str:
    """Return the name of the geom that represents a zone."""
    return PREFIX + zone.name


def _add(spec: mujoco.MjSpec, zone: Zone) -> None:
    """Add a zone to the model, as a geom that collides with nothing."""
    if isinstance(zone, Sphere):
        kind, size = mujoco.mjtGeom.mjGEOM_SPHERE, [zone.radius, 0.0, 0.0]
    elif isinstance(zone, Cylinder):
        kind, size = mujoco.mjtGeom.mjGEOM_CYLINDER, [zone.radius, zone.height / 2, 0.0]
    else:
        assert isinstance(zone, Box)
        kind, size = mujoco.mjtGeom.mjGEOM_BOX, [edge / 2 for edge in zone.size]
    spec.worldbody.add_geom(name=zone_name(zone), type=kind, size=size, pos=list(zone.centre),
                            contype=0, conaffinity=0)
