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

"""MuJoCo arm with a joint-velocity servo, like a robot under ros2_control."""

from collections.abc import Mapping
from collections.abc import Sequence
import copy
import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.sources import Source
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.protocols import Scene

if TYPE_CHECKING:
    from spaars_ros.sim.sight import Sight

Array = NDArray[np.float64]

MAX_TIMESTEP = 0.005
"""s; the physics step is the largest one that divides the control period and is not above this."""

PENETRATION = 0.002
"""m; allowed penetration of two bodies at reset."""

SERVO_TIME = 0.02
"""s; time constant of the joint-velocity servo."""


class SceneError(ValueError):
    """A task's scene cannot be simulated; the message names the bodies."""


class Arm:
    """
    An arm driven by joint velocities, whatever actuators its MJCF model has.

    The servo is a computed torque, M (v_command - v) / SERVO_TIME + bias, clipped to the robot
    file's torque limits. The model's own actuators are switched off.
    """

    def __init__(self, robot: Robot, scene: Scene | None = None,
                 cameras: Sequence[Source] = ()) -> None:
        """
        Load the robot's model.

        :param robot: the robot file
        :param scene: the objects around the arm
        :param cameras: sources that are drawn and encoded here, for `sources`
        :raises ConfigError: as Kinematics
        """
        self.robot = robot
        self.scene = scene
        self.channels: Mapping[str, float] = {}
        """Channel -> value that the scene's actuators move to."""
        self.kinematics = Kinematics(robot, scene.build if scene is not None else None)
        self.model = self.kinematics.model
        self.data = mujoco.MjData(self.model)
        self.substeps = math.ceil(robot.period / MAX_TIMESTEP - 1e-9)
        self.model.opt.timestep = robot.period / self.substeps
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
        self._friction = self.model.dof_frictionloss[self.kinematics.dof].copy()
        self._torque_limit = np.asarray(robot.limits.torque)
        self._acceleration = np.zeros(self.model.nv)
        self._torque = np.zeros(self.model.nv)
        self._effort = np.zeros(len(robot.joints))
        self._known: tuple[mujoco.MjModel, mujoco.MjData] | None = None
        self.sight: Sight | None = self._sight(cameras) if cameras else None
        self.stamp_ns = 1_000_000_000
        self._period_ns = round(1e9 * robot.period)
        self.reset(np.asarray(robot.home))

    def _sight(self, cameras: Sequence[Source]) -> 'Sight':
        from spaars_ros.sim.sight import Sight  # needed with cameras only
        return Sight(self.model, cameras, self.robot.control.rate)

    def disturb(self, *, payload: float = 0.0, friction: float = 0.0,
                damping: float = 0.0) -> None:
        """
        Change the simulated arm, but not the model from which the servo computes its torques.

        :param payload: additional kg at the tip, as a point mass; its effect on the link's inertia
            about the centre of mass is neglected
        :param friction: additional N m of dry friction on each joint
        :param damping: additional N m s/rad on each joint
        """
        disturbed = bool(payload or friction or damping)
        if self._known is None:
            if not disturbed:
                return
            known = copy.deepcopy(self.model)
            self._known = known, mujoco.MjData(known)
        known, model, dof = self._known[0], self.model, self.kinematics.dof
        body, tip = self.kinematics.tip_in_body()
        mass = known.body_mass[body] + payload
        share = payload / mass if mass else 0.0
        model.body_ipos[body] = known.body_ipos[body] + share * (tip - known.body_ipos[body])
        model.body_mass[body] = mass
        model.dof_frictionloss[dof] = known.dof_frictionloss[dof] + friction
        model.dof_damping[dof] = known.dof_damping[dof] + damping
        mujoco.mj_setConst(model, mujoco.MjData(model))
        if not disturbed:
            self._known = None

    def reset(self, position: Array, rng: np.random.Generator | None = None) -> None:
        """
        Place the arm at rest at joint positions (d,) rad; time advances by one period.

        :param position: (d,) rad
        :param rng: random numbers for the reset of the scene; None: a fixed seed
        :raises SceneError: bodies penetrate each other after the reset
        """
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self.kinematics.qpos] = position
        mujoco.mj_forward(self.model, self.data)
        if self.scene is not None:
            self.scene.reset(self.model, self.data, rng or np.random.default_rng(0))
            mujoco.mj_forward(self.model, self.data)
            self._check_contacts()
        self._effort = self.data.qfrc_bias[self.kinematics.dof].copy()
        self.stamp_ns += self._period_ns
        if self.sight is not None:
            self.sight.clear()

    def _check_contacts(self) -> None:
        for contact in self.data.contact:
            if contact.dist < -PENETRATION:
                one, other = (mujoco.mj_id2name(self.model, mujoco.mjtObj.mjOBJ_GEOM, geom)
                              or f'geom {geom}' for geom in (contact.geom1, contact.geom2))
                raise SceneError(
                    f'scene: {one} and {other} are {-1000 * contact.dist:.1f} mm inside each '
                    'other at reset: place them apart in Scene.reset, or change the start pose')

    def sources(self) -> dict[str, Sample]:
        """Return the present reading of each source's sensor."""
        seen = {} if self.sight is None else self.sight.look(self.data, self.stamp_ns)
        if self.scene is None:
            return seen
        return {**{name: Sample(np.asarray(values, dtype=np.float64), 0.0)
                   for name, values in self.scene.measure(self.model, self.data).items()}, **seen}

    def step(self, velocity: Array) -> None:
        """Follow joint velocities (d,) rad/s for one control period."""
        dof, data = self.kinematics.dof, self.data
        for _ in range(self.substeps):
            self._acceleration[:] = 0.0
            self._acceleration[dof] = (velocity - data.qvel[dof]) / SERVO_TIME
            model, known = (self.model, data) if self._known is None else self._as_known()
            mujoco.mj_mulM(model, known, self._torque, self._acceleration)
            effort = self._torque[dof] + known.qfrc_bias[dof] - known.qfrc_passive[dof]
            # The controller compensates the model's own dry friction.
            effort += self._friction * np.sign(velocity)
            effort = np.clip(effort, -self._torque_limit, self._torque_limit)
            data.qfrc_applied[dof] = effort
            if self.scene is not None:
                self.scene.actuate(self.model, data, self.channels)
            mujoco.mj_step(self.model, data)
        self._effort = effort
        self.stamp_ns += self._period_ns

    def _as_known(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return the servo's model at the arm's position and velocity."""
        assert self._known is not None
        model, data = self._known
        data.qpos[:], data.qvel[:] = self.data.qpos, self.data.qvel
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        return model, data

    def state(self) -> RobotState:
        """Return the present readings of the joint encoders and torque sensors."""
        return RobotState(stamp_ns=self.stamp_ns,
                          position=self.data.qpos[self.kinematics.qpos].copy(),
                          velocity=self.data.qvel[self.kinematics.dof].copy(),
                          effort=self._effort.copy())

    def tip(self) -> Array:
        """Return the tip position, (3,) m."""
        mujoco.mj_kinematics(self.model, self.data)
        return self.kinematics.tip_of(self.data)
