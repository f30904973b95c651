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
import mujoco
import numpy as np
from numpy.typing import NDArray

from spaars_ros.constraints.costs import intervention_costs
from spaars_ros.control.actuation import Actuation
from spaars_ros.control.given import Given
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.cameras import place
from spaars_ros.sim.offscreen import Offscreen
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import goal_of
from spaars_ros.tasks.protocols import scene_of
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of

Array = NDArray[np.float64]

WIDTH, HEIGHT = 320, 240
"""Width and height of `render`, pixels."""


class ArmEnv(gymnasium.Env[Array, Array]):
    """
    A task on `Arm`: actions (a,) in [-1, 1], as declared in the task's spec.

    `info` holds `costs` (C,), `executed` (a,) the action after the filter, `effort` (d,) N m,
    `intervention` the filter's bits, and at the end of an episode `success`.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 20}

    def __init__(self, robot: Robot, settings: TaskSettings, *,
                 render_mode: str | None = None) -> None:
        """
        Create arm, scene and filter.

        :param robot: the robot file
        :param settings: the task file
        :param render_mode: None or rgb_array
        :raises ConfigError: robot, task and scene do not fit together
        :raises ValueError: another render_mode
        """
        if render_mode not in (None, *self.metadata['render_modes']):
            raise ValueError(f'render_mode {render_mode!r}: None or rgb_array')
        self.render_mode = render_mode
        self._drawing: Offscreen | None = None
        self.robot = robot
        self.task = make_task(robot, settings)
        scene = scene_of(self.task)
        self.arm = Arm(robot, scene, cameras_of(self.task) if scene is not None else ())
        # The robot's own kinematics do not include the objects of the scene.
        self.kinematics = self.arm.kinematics if scene is None else Kinematics(robot)
        self.filter = SafetyFilter(robot)
        self._given = Given(self.task)
        self.actuation = Actuation(robot, self.task.spec, self.filter, self.kinematics)
        self.goal: Array | None = None
        self._observations: list[Array] = []
        self._actions: list[Array] = []
        self._wide = (self.task.spec.action_dim,)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, self._wide, np.float64)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self.task.observation_dim,), np.float64)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode with a random start and target."""
        super().reset(seed=seed)
        self.arm.reset(sample_start(self.robot, self.task.settings.start_noise,
                                    self.np_random), self.np_random)
        self._send(self.actuation.channels.reset())
        self.goal = goal_of(self.task, self.np_random)
        self._given.restart()
        state = self.arm.state()
        self.filter.reset(state)
        observation = self.task.observe(self._world(state), self.goal)
        self._observations, self._actions = [observation], []
        return observation, {'effort': state.effort}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance one control tick; raise ValueError on a wrong or non-finite action."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self._wide:
            raise ValueError(f'action has shape {action.shape}, expected {self._wide}')
        if not np.isfinite(action).all():
            raise ValueError(f'action[{int(np.argmin(np.isfinite(action)))}] is not finite')
        acted = self.actuation.apply(np.clip(action, -1.0, 1.0), self.arm.state())
        filtered, executed = acted.filtered, acted.action
        self._send(acted.channels)
        self.arm.step(filtered.command)
        state = self.arm.state()
        world = self._world(state)
        observation = self.task.observe(world, self.goal)
        reward = float(self.task.reward(self._observations[-1], executed, observation))
        self._observations.append(observation)
        self._actions.append(executed)
        outcome = self._outcome(observation, world)
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

    def _outcome(self, observation: Array, world: World) -> Outcome:
        """Return the task's outcome, or that of the scene's source of success."""
        outcome, success = self.task.outcome(observation, world), self.task.settings.success
        if success is None or success.source not in world.sources:
            return outcome
        return self._given.outcome(outcome, world.sources)

    def _world(self, state: RobotState) -> World:
        self.world = World(state, self.kinematics, self.arm.sources())
        return self.world

    def _send(self, values: Array) -> None:
        names = (channel.name for channel in self.task.spec.channels)
        self.arm.channels = dict(zip(names, values.tolist()))

    def render(self) -> NDArray[np.uint8]:
        """Return an image (h, w, 3); raise RuntimeError where OpenGL is missing."""
        model = self.arm.model
        if self._drawing is None:
            try:
                self._drawing = Offscreen(model, WIDTH, HEIGHT)
            except ConfigError as error:
                raise RuntimeError(str(error)) from None
        camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, camera)
        place(model, self.arm.data)
        return self._drawing.image(self.arm.data, camera, WIDTH, HEIGHT)

    def close(self) -> None:
        """Free the renderers."""
        if self.arm.sight is not None:
            self.arm.sight.close()
            self.arm.sight = None
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None
