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

"""Arm with its controller and wiring, as a robot's driver presents it."""

from collections.abc import Mapping

import mujoco
import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.controller import HoldingController
from spaars_ros.sim.wiring import Wiring
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.protocols import Scene


class DrivenArm:
    """Take commands and return states, with the faults of `fault_table.py` in between."""

    def __init__(self, robot: Robot, *, seed: int = 0, scene: Scene | None = None) -> None:
        """Load the robot's model, with the scene, if any; raise ConfigError as `Arm`."""
        self._arm = Arm(robot, scene)
        self._controller = HoldingController(np.asarray(robot.limits.acceleration), robot.period)
        self._wiring = Wiring(seed=seed, joints=len(robot.joints))

    @property
    def stamp_ns(self) -> int:
        """Return the stamp of the newest state, ns."""
        return self._arm.stamp_ns

    @stamp_ns.setter
    def stamp_ns(self, stamp: int) -> None:
        self._arm.stamp_ns = stamp

    @property
    def model(self) -> mujoco.MjModel:
        """Return the model, with the scene."""
        return self._arm.model

    @property
    def data(self) -> mujoco.MjData:
        """Return its present state."""
        return self._arm.data

    def set(self, faults: Mapping[str, float], *, timeout: float = 0.0) -> None:
        """
        Take the values of all faults by name.

        :param faults: value of every fault
        :param timeout: s without a command after which the controller brakes to rest; 0 for never
        """
        self._controller.timeout = timeout
        self._controller.delay = faults['command_delay']
        self._controller.lag = faults['command_lag']
        self._wiring.set(faults)
        self._arm.disturb(**{name: faults[name] for name in ('payload', 'friction', 'damping')})

    def state(self) -> RobotState:
        """Return the true state."""
        return self._arm.state()

    def sources(self) -> dict[str, Sample]:
        """Return the present reading of each source's sensor in the scene."""
        return self._arm.sources()

    def send(self, channels: Mapping[str, float]) -> None:
        """Take channel -> value for the scene's actuators."""
        self._arm.channels = dict(channels)

    def place(self, position: Array, rng: np.random.Generator | None = None) -> None:
        """Place the arm at rest at joint positions (d,) rad; time advances by one period."""
        self._arm.reset(position, rng)
        self._controller.stop(self._arm.stamp_ns)

    def obey(self, command: Array) -> None:
        """Take a command (d,) rad/s."""
        obeyed = self._wiring.obeyed(command)
        if obeyed is not None:
            self._controller.take(obeyed, self._arm.stamp_ns)

    def move(self) -> None:
        """Move for one control period."""
        self._arm.step(self._wiring.pushed(self._controller.velocity(self._arm.stamp_ns)))
