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

"""Simulated arm with errors that the model of the filter does not have."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import math

import mujoco
import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics

TIMESTEP = 0.0025
"""s, physics time step."""

LOOK = 4
"""Physics steps between two calls of `look`."""

SERVO_TIME = 0.01
"""s; the gains of the servo are 1 / SERVO_TIME (velocity) and its square / 4 (position)."""

STRENGTH = 4.0
"""
Multiple of the torque limits.

If all seven joints of the stretched arm reverse at their acceleration limits at once, they need
more than the torque limits, and the arm cannot follow. The filter limits joint motion, not torque.
"""


@dataclass(frozen=True)
class Errors:
    """Differences between the arm and the model of the filter."""

    payload: float = 0.0
    """kg at the tip, unknown to the servo."""
    friction: float = 0.0
    """N m in each joint, unknown to the servo."""
    delay: int = 0
    """Ticks by which commands are delayed."""
    noise: float = 0.0
    """rad, standard deviation of the measured positions."""
    age: float = 0.0
    """Periods, maximum of the random age of a state at its tick, as with a timer."""


class ErringArm:
    """
    Arm with a velocity servo whose model differs from the arm.

    The reference velocity approaches a command at the acceleration limit, and computed torque
    makes the arm follow reference velocity and position.

    :param robot: robot with the nominal model
    :param errors: differences of the arm from it
    """

    def __init__(self, robot: Robot, errors: Errors, rng: np.random.Generator) -> None:
        kinematics = Kinematics(robot)
        self._qpos, self._dof = kinematics.qpos, kinematics.dof
        self._believed, self._belief = kinematics.model, kinematics.data
        self._plant = Kinematics(robot).model
        body = self._plant.body(kinematics.model.nbody - 1).id
        self._plant.body_mass[body] += errors.payload
        self._plant.dof_frictionloss[:] = errors.friction
        self._plant.opt.timestep = TIMESTEP
        self._plant.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
        self._data = mujoco.MjData(self._plant)
        self._past: deque[tuple[Array, Array]] = deque(
            maxlen=1 + math.ceil(errors.age * robot.period / TIMESTEP))
        """Positions (d,) rad and velocities (d,) rad/s of the last substeps, newest last."""
        mujoco.mj_setConst(self._plant, self._data)
        self._substeps = round(robot.period / TIMESTEP)
        self._torque = STRENGTH * np.asarray(robot.limits.torque)
        self._errors, self._rng = errors, rng
        self._late: deque[Array] = deque()
        self._acceleration = np.asarray(robot.limits.acceleration)
        self._reference = self._speed = np.zeros(len(robot.joints))
        self._forces = np.zeros(self._plant.nv)
        self._stamp = 0

    def reset(self, position: Array) -> None:
        """Place the arm at rest at joint positions (d,) rad."""
        mujoco.mj_resetData(self._plant, self._data)
        self._data.qpos[self._qpos] = position
        self._reference, self._speed = position.copy(), np.zeros_like(position)
        self._late = deque([np.zeros_like(position)] * self._errors.delay)
        self._past.clear()
        self._past.append(self.true())

    def measured(self) -> tuple[RobotState, float]:
        """Return the measured state and its age in s."""
        old = 0
        if self._errors.age:
            old = min(int(self._rng.integers(self._past.maxlen or 1)), len(self._past) - 1)
        position, velocity = self._past[-1 - old]
        self._stamp += 1
        noise = self._errors.noise * self._rng.normal(size=len(position))
        return RobotState(self._stamp, position + noise, velocity,
                          np.zeros(len(position))), old * TIMESTEP

    def true(self) -> tuple[Array, Array]:
        """Return the true positions (d,) rad and velocities (d,) rad/s."""
        return self._data.qpos[self._qpos].copy(), self._data.qvel[self._dof].copy()

    def step(self, command: Array, look: Callable[[Array, Array], None]) -> None:
        """Follow a command (d,) rad/s for one period; call `look` every `LOOK` physics steps."""
        self._late.append(command)
        velocity = self._late.popleft()
        gain, most = 1.0 / SERVO_TIME, self._acceleration * TIMESTEP
        for substep in range(self._substeps):
            self._speed = self._speed + np.clip(velocity - self._speed, -most, most)
            self._reference = self._reference + self._speed * TIMESTEP
            position, speed = self.true()
            self._belief.qpos[self._qpos], self._belief.qvel[self._dof] = position, speed
            mujoco.mj_forward(self._believed, self._belief)
            wanted = np.zeros(self._plant.nv)
            wanted[self._dof] = gain * (self._speed - speed) \
                + gain ** 2 / 4 * (self._reference - position)
            mujoco.mj_mulM(self._believed, self._belief, self._forces, wanted)
            forces = self._forces + self._belief.qfrc_bias - self._belief.qfrc_passive
            self._data.qfrc_applied[self._dof] = np.clip(forces[self._dof], -self._torque,
                                                         self._torque)
            mujoco.mj_step(self._plant, self._data)
            self._past.append(self.true())
            if substep % LOOK == LOOK - 1:
                look(*self.true())
