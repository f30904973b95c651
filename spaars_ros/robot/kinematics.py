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

"""Forward kinematics of the robot file's MJCF model."""

from collections.abc import Callable

import mujoco
import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.checks import check_robot
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot

Array = NDArray[np.float64]


class Kinematics:
    """Tip position and Jacobian for joint positions in the robot file's order."""

    def __init__(self, robot: Robot,
                 build: Callable[[mujoco.MjSpec], None] | None = None) -> None:
        """
        Load the model and check it against the robot file (`check_robot`).

        :param build: function that adds to the model before it is compiled
        :raises ConfigError: the model cannot be read, lacks a joint or the tip, or does not fit
        """
        path = robot.model_path
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise ConfigError(f'{robot.source}: model {path}: not a file')
        try:
            if build is None:
                self.model = mujoco.MjModel.from_xml_path(str(path))
            else:
                spec = mujoco.MjSpec.from_file(str(path))
                build(spec)
                self.model = spec.compile()
        except (ValueError, OSError) as error:
            text = ' '.join(str(error).split())
            raise ConfigError(f'{robot.source}: model {path}: {text}') from None
        self.data = mujoco.MjData(self.model)
        joints = []
        for name in robot.joints:
            index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name)
            if index < 0:
                raise ConfigError(f'{robot.source}: joints: {path} has no joint {name!r}')
            joints.append(index)
        self.joints = joints
        """Model indices of the robot file's joints."""
        self.qpos = self.model.jnt_qposadr[joints]
        self.dof = self.model.jnt_dofadr[joints]
        site = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, robot.tip)
        body = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, robot.tip)
        if site < 0 and body < 0:
            raise ConfigError(f'{robot.source}: tip: {path} has no site or body {robot.tip!r}')
        self._site = site
        self._body = int(self.model.site_bodyid[site]) if site >= 0 else body
        self._offset = np.asarray(robot.tip_offset)
        self._jacobian = np.zeros((3, self.model.nv))
        # Attributes of MjData create a new array at each access; these are views of the same
        # memory.
        self._positions = self.data.qpos
        self._frame, self._origin = self._pose(self.data)
        self._shifted = bool(self._offset.any())
        check_robot(robot, self)

    def _pose(self, data: mujoco.MjData) -> tuple[Array, Array]:
        """Return views of the rotation (3, 3) and the origin (3,) m of the tip's site or body."""
        if self._site >= 0:
            return data.site_xmat[self._site].reshape(3, 3), data.site_xpos[self._site]
        return data.xmat[self._body].reshape(3, 3), data.xpos[self._body]

    def tip_in_body(self) -> tuple[int, Array]:
        """Return the index of the body that carries the tip, and the tip (3,) m in its frame."""
        if self._site < 0:
            return self._body, self._offset
        frame = np.zeros(9)
        mujoco.mju_quat2Mat(frame, self.model.site_quat[self._site])
        return self._body, np.asarray(
            self.model.site_pos[self._site] + frame.reshape(3, 3) @ self._offset)

    def tip_turn(self) -> Array:
        """Return the tip's orientation in the frame of the body that carries it, (4,) wxyz."""
        return np.array([1.0, 0.0, 0.0, 0.0]) if self._site < 0 \
            else self.model.site_quat[self._site].copy()

    def reach(self, robot: Robot) -> tuple[Array, float]:
        """
        Return the position (3,) m of the first joint of the tip's chain, and a bound on its reach.

        The position is that at home, base frame. The bound is the length of the chain from there
        to the tip, m, for all joint positions within the limits.
        """
        body, tip = self.tip_in_body()
        length, model = float(np.linalg.norm(tip)), self.model
        self.tip(np.asarray(robot.home))
        anchor, reach = np.zeros(3), 0.0
        while body > 0:
            first = int(model.body_jntadr[body])
            for joint in range(first, first + int(model.body_jntnum[body])):
                length += slide_range(model, joint, robot, self.joints)
                # Twice: to the joint's axis and back, since the body's frame turns about it.
                length += 2.0 * float(np.linalg.norm(model.jnt_pos[joint]))
                anchor, reach = self.data.xanchor[joint].copy(), length
            length += float(np.linalg.norm(model.body_pos[body]))
            body = int(model.body_parentid[body])
        return anchor, reach

    def tip_of(self, data: mujoco.MjData) -> Array:
        """Return the tip position (3,) m, base frame, for data whose kinematics are up to date."""
        frame, origin = self._pose(data)
        return np.asarray(origin + frame @ self._offset)

    def tip(self, position: Array) -> Array:
        """Return the tip position (3,) m, base frame, at joint positions (d,) rad."""
        self._positions[self.qpos] = position
        mujoco.mj_kinematics(self.model, self.data)
        if self._shifted:
            return np.asarray(self._origin + self._frame @ self._offset)
        return self._origin.copy()

    def frame(self, name: str, position: Array) -> tuple[Array, Array]:
        """
        Return position (3,) m and rotation (3, 3) of a site or body at joint positions (d,) rad.

        :raises ConfigError: the model has no site or body of that name
        """
        self._positions[self.qpos] = position
        mujoco.mj_kinematics(self.model, self.data)
        for kind, places, turns in (
                (mujoco.mjtObj.mjOBJ_SITE, self.data.site_xpos, self.data.site_xmat),
                (mujoco.mjtObj.mjOBJ_BODY, self.data.xpos, self.data.xmat)):
            index = mujoco.mj_name2id(self.model, kind, name)
            if index >= 0:
                return places[index].copy(), turns[index].reshape(3, 3).copy()
        raise ConfigError(f'the model has no site or body {name!r}')

    def turn_and_jacobian(self, position: Array) -> tuple[Array, Array]:
        """
        Return the tip's rotation (3, 3) and its Jacobian (6, d) at joint positions (d,) rad.

        Rows: linear velocity (3) m/rad, angular velocity (3) rad/rad, base frame.
        """
        tip = self.tip(position)
        mujoco.mj_comPos(self.model, self.data)
        both = np.zeros((6, self.model.nv))
        mujoco.mj_jac(self.model, self.data, both[:3], both[3:], tip, self._body)
        return self._frame.copy(), both[:, self.dof]

    def tip_and_jacobian(self, position: Array) -> tuple[Array, Array]:
        """Return the tip (3,) m and its Jacobian (3, d) m/rad at joint positions (d,) rad."""
        tip = self.tip(position)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_jac(self.model, self.data, self._jacobian, None, tip, self._body)
        return tip, self._jacobian[:, self.dof]


def slide_range(model: mujoco.MjModel, joint: int, robot: Robot, joints: list[int]) -> float:
    """
    Return the greatest displacement by a slide joint, from the model's zero, m; 0 for a hinge.

    :param joint: index in the model
    :param joints: model indices of the robot file's joints, whose limits count in addition to the
        model's range; a joint that is not listed stays where the model places it
    """
    if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_SLIDE:
        return 0.0
    zero = float(model.qpos0[model.jnt_qposadr[joint]])
    ends = list(robot.limits.position[joints.index(joint)]) if joint in joints else [zero]
    if model.jnt_limited[joint]:
        ends += model.jnt_range[joint].tolist()
    return max(abs(end - zero) for end in ends)
