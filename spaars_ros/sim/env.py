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

"""The arm and its task as a Gymnasium environment, with the safety filter in the loop."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from spaars_ros.constraints.costs import intervention_costs
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import Robot
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import goal_of
from spaars_ros.tasks.registry import make_task

Array = NDArray[np.float64]


class ArmEnv(gymnasium.Env[Array, Array]):
    """
    A task on `Arm`: actions are normalised joint velocities (d,) in [-1, 1].

    `info` holds `costs` (C,), `success` at the end of an episode, `executed` (d,) the action
    after the filter, `effort` (d,) N m.
    """

    metadata = {'render_modes': []}

    def __init__(self, robot: Robot, settings: TaskSettings) -> None:
        self.robot = robot
        self.task = make_task(robot, settings)
        self.arm = Arm(robot)
        self.filter = SafetyFilter(robot)
        self.goal: Array | None = None
        self._scale = robot.control.action_scale * np.asarray(robot.limits.velocity)
        self._observations: list[Array] = []
        self._actions: list[Array] = []
        d = len(robot.joints)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (d,), np.float64)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self.task.observation_dim,), np.float64)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode with a random start and target."""
        super().reset(seed=seed)
        self.arm.reset(sample_start(self.robot, self.task.settings.start_noise,
                                    self.np_random))
        self.goal = goal_of(self.task, self.np_random)
        state = self.arm.state()
        self.filter.reset(state)
        observation = self.task.observe(World(state, self.arm.kinematics), self.goal)
        self._observations, self._actions = [observation], []
        return observation, {'effort': state.effort}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance one control tick; raises ValueError on a wrong or non-finite action."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self._scale.shape:
            raise ValueError(f'action has shape {action.shape}, expected {self._scale.shape}')
        if not np.isfinite(action).all():
            raise ValueError(f'action[{int(np.argmin(np.isfinite(action)))}] is not finite')
        filtered = self.filter.apply(np.clip(action, -1.0, 1.0) * self._scale, self.arm.state())
        executed = filtered.command / self._scale
        self.arm.step(filtered.command)
        state = self.arm.state()
        world = World(state, self.arm.kinematics)
        observation = self.task.observe(world, self.goal)
        reward = float(self.task.reward(self._observations[-1], executed, observation))
        self._observations.append(observation)
        self._actions.append(executed)
        outcome = self.task.outcome(observation, world)
        terminated = outcome is not Outcome.RUNNING
        truncated = len(self._observations) > self.task.horizon
        costs = (self.task.constraint_costs(observation, executed, state.effort)
                 + intervention_costs(self.robot.constraints, np.asarray(filtered.intervention)))
        info: dict[str, Any] = {'costs': costs,
                                'executed': executed, 'effort': state.effort,
                                'intervention': filtered.intervention}
        if terminated or truncated:
            info['success'] = self.task.judge(Episode(
                np.asarray(self._observations), np.asarray(self._actions),
                Flag.TERMINATED if terminated else Flag.TRUNCATED, outcome)) is Outcome.SUCCESS
        return observation, reward, terminated, truncated, info
