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

"""Task with stages: four fixtures on a table, and one reward per fixture that is moved."""

from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.intervention import BARRIERS
from spaars_ros.safety.intervention import Intervention
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.stages import DONE_AT as DONE_AT  # noqa: PLC0414 - of this environment too
from spaars_ros.tasks.stages import STAGES as STAGES  # noqa: PLC0414
from spaars_ros.tasks.stages_scene import DETENT

Array = NDArray[np.float64]

STAGED = 'SpaarsStaged-v0'
MODEL = 'package://spaars_ros/sim/models/panda_stages.xml'
HORIZON = 280
"""Control ticks per episode: 14 s at 20 Hz; the number of Franka Kitchen."""
START_NOISE = 0.05
"""rad, uniform, about the home position."""


class StagedEnv(gymnasium.Env[Array, Array]):
    """
    The arm before four fixtures; actions are normalised joint velocities (d,) in [-1, 1].

    Observation (2 d + 11,), physical units: joint positions (d) rad, joint velocities (d) rad/s,
    tip (3) m, fixture joints (4) m, rad, m, rad, and which sub-tasks are done (4), 0 or 1.

    The reward is 1 for each sub-task in the tick in which its joint first passes `DONE_AT`, else
    0. A sub-task that is done stays done. So the return of an episode is the number of sub-tasks
    done, 0 to 4, in training and in evaluation alike (Franka Kitchen's two sides differ:
    docs/results/staged.md). The episode terminates with the fourth and is truncated at `HORIZON`.

    `info` holds `stages` (a list of 4 bool), `success` (all four), `executed` (d,) the action
    after the filter, `intervention` (the filter's bits), and `cost`. The cost is 1 in a tick in
    which the filter kept the arm off a face of the workspace or a link, or braked, or a motor was
    at its torque limit, else 0.
    """

    metadata = {'render_modes': []}

    def __init__(self, robot: Robot | None = None) -> None:
        """
        Load the model.

        :param robot: a robot file of the Panda; by default `panda_table`
        :raises ConfigError: the robot file does not fit the model
        """
        self.robot = robot if robot is not None else load_robot('panda_table')
        # The filter knows the arm, not the fixtures: the task is to touch them.
        self.arm = Arm(self.robot.model_copy(update={'model': MODEL}))
        self.filter = SafetyFilter(self.robot)
        model = self.arm.model
        self._fixtures = np.array([model.joint(name).qposadr[0] for name in STAGES])
        self._dofs = np.array([model.joint(name).dofadr[0] for name in STAGES])
        self._stiction = model.dof_frictionloss[self._dofs].copy()
        self._scale = self.robot.control.action_scale * np.asarray(self.robot.limits.velocity)
        self._torque_limit = np.asarray(self.robot.limits.torque)
        self._done = np.zeros(len(STAGES), bool)
        self._ticks = 0
        d = len(self.robot.joints)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (d,), np.float64)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (2 * d + 3 + 2 * len(STAGES),), np.float64)
        self.observation_names = (
            [f'{joint}.position' for joint in self.robot.joints]
            + [f'{joint}.velocity' for joint in self.robot.joints]
            + [f'tip.{axis}' for axis in 'xyz'] + [f'{name}.joint' for name in STAGES]
            + [f'{name}.done' for name in STAGES])

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode: the arm near home, every fixture at its start."""
        super().reset(seed=seed)
        self.arm.model.dof_frictionloss[self._dofs] = self._stiction
        low, high = np.asarray(self.robot.limits.position).T
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, len(self.robot.joints))
        self.arm.reset(np.clip(np.asarray(self.robot.home) + noise, low, high))
        self.filter.reset(self.arm.state())
        self._done[:] = False
        self._ticks = 0
        return self._observation(), {'stages': self._done.tolist()}

    def _observation(self) -> Array:
        state = self.arm.state()
        return np.concatenate((state.position, state.velocity, self.arm.tip(),
                               self.arm.data.qpos[self._fixtures], self._done))

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance one control tick; raise ValueError on a wrong or non-finite action."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self._scale.shape:
            raise ValueError(f'action has shape {action.shape}, expected {self._scale.shape}')
        if not np.isfinite(action).all():
            raise ValueError(f'action[{int(np.argmin(np.isfinite(action)))}] is not finite')
        filtered = self.filter.apply(np.clip(action, -1.0, 1.0) * self._scale, self.arm.state())
        self.arm.step(filtered.command)
        newly = ~self._done & (self.arm.data.qpos[self._fixtures] >= DONE_AT)
        if newly.any():
            self._done |= newly
            self.arm.model.dof_frictionloss[self._dofs[newly]] *= DETENT
        self._ticks += 1
        success = bool(self._done.all())
        strained = (np.abs(self.arm.state().effort) >= self._torque_limit).any()
        held = filtered.intervention & (BARRIERS | int(Intervention.BRAKE))
        info: dict[str, Any] = {
            'stages': self._done.tolist(), 'success': success,
            'executed': filtered.command / self._scale, 'intervention': filtered.intervention,
            'cost': float(bool(held) or bool(strained))}
        truncated = not success and self._ticks >= HORIZON
        return self._observation(), float(newly.sum()), success, truncated, info


def handle(env: StagedEnv, name: str) -> Array:
    """Return the centre (3,) m of the pushed part of the named fixture, at present."""
    geom = mujoco.mj_name2id(env.arm.model, mujoco.mjtObj.mjOBJ_GEOM, name)
    return np.array(env.arm.data.geom_xpos[geom])


if STAGED not in gymnasium.registry:
    gymnasium.register(STAGED, entry_point='spaars_ros.sim.staged:StagedEnv')
