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

"""Task: wipe along a board whose pose is measured; press gently, up to its far edge."""

import numpy as np
from pydantic import Field

from spaars_ros.data.schema import Outcome
from spaars_ros.robot.sources import Source
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.spec import ActionSpace
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term

HALF = 0.05
"""m, half length of the stroke, along y."""


class WipeSettings(TaskSettings):
    """Task file: wipe a board."""

    name: str = 'wipe'
    robot: str = 'panda_peg'
    start_noise: float = Field(0.01, ge=0, le=10, description='rad, about the home position')
    horizon: int = Field(120, ge=2, le=10_000, description='control ticks per episode')
    least: float = Field(1.0, ge=0, le=100, description='N, that wipe')
    most: float = Field(20.0, ge=0, le=1000, description='N, above which pressing costs')
    height: float = Field(0.2, ge=0, le=2, description='m, base frame, of the simulated board')
    sources: list[Source] = Field([
        Source(name='wrench', topic='wrist/wrench', type='WrenchStamped', frame='tool'),
        Source(name='board', topic='board/pose', type='PoseStamped', frame='base', max_age=0.5),
    ], description='topics beside joint_states')


class Wipe(Task):
    """Wipe a board. Observation: far edge - tip (3) m, force (3) N; base frame."""

    Settings = WipeSettings

    def __init__(self, robot, settings):
        """Declare the task."""
        super().__init__(robot, settings)
        self.spec = TaskSpec(
            name=settings.name, horizon=settings.horizon, contact=True,
            sources=('wrench', 'board'),
            action=ActionSpace('twist', len(robot.joints), axes=('x', 'y', 'z')),
            terms=(Term('to_edge', 3, 'm'), Term('force', 3, 'N')), costs=('contact_force',),
            metrics=(MetricSpec('wiped', 'm', 'higher', shown='mm'),))

    def observe(self, world, goal):
        """Return the observation (6,)."""
        _, turn = world.frame(self.robot.tip)
        edge = world.sources['board'].values[:3] + np.array([0.0, HALF, 0.0])
        return np.concatenate((edge - world.tip(), turn @ world.sources['wrench'].values[:3]))

    def wipes(self, state):
        """Return whether (...) the sponge is pressed with more than `least`, N."""
        return state[..., 5] > self.settings.least

    def reward(self, before, action, after):
        """Return the reward (...): mm wiped - 10 times the height error in m."""
        way = np.where(self.wipes(before) & self.wipes(after), before[..., 1] - after[..., 1], 0.0)
        return 1000.0 * way - 10.0 * np.abs(after[..., 2])

    def costs(self, after, action):
        """Return contact_force (...): 1 if the force is above `most`, otherwise 0."""
        force = np.linalg.norm(after[..., 3:], axis=-1)
        return {'contact_force': (force > self.settings.most).astype(float)}

    def outcome(self, after, world):
        """Return SUCCESS, which ends the episode, at the far edge with the sponge pressed."""
        done = self.wipes(after) and after[1] < 0.0
        return Outcome.SUCCESS if done else Outcome.RUNNING

    def judge(self, episode):
        """Return SUCCESS if the episode ended at the far edge with the sponge pressed."""
        last = episode.observations[-1]
        return Outcome.SUCCESS if self.wipes(last) and last[1] < 0.0 else Outcome.FAILURE

    def metrics(self, episode):
        """Return the wiped length, m."""
        seen = episode.observations
        both = self.wipes(seen[:-1]) & self.wipes(seen[1:])
        return {'wiped': Metric(float(np.sum((seen[:-1, 1] - seen[1:, 1]) * both)), 'm', 'higher')}

    def scene(self):
        """Return the scene: a board, and a sponge with a wrist sensor."""
        from wipe_task.scene import WipeScene
        return WipeScene(self.robot, self.settings)

    def demonstrator(self, rng):
        """Return a scripted operator: presses down and moves along."""
        return Person(rng)


class Person:
    """Operator: to the near edge, down until the sponge is pressed, and along."""

    done = False

    def __init__(self, rng):
        self._rng = rng

    def begin(self, observation):
        """Begin an episode with a random speed."""
        self._speed, self._down = self._rng.uniform(0.3, 0.8), False

    def act(self, observation):
        """Return the action (3,) in [-1, 1]."""
        x, y, z = observation[:3]
        self._down |= abs(y - 2 * HALF) < 0.01 and abs(x) < 0.02
        press = np.clip(0.05 * (5.0 - observation[5]), -0.5, 0.5) if observation[5] > 0.3 else -0.4
        action = np.array([10 * x, self._speed * (observation[5] > 1.5), press]) if self._down \
            else np.array([10 * x, 20 * (y - 2 * HALF), 10 * (z + 0.02)])
        return np.clip(action + 0.05 * self._rng.normal(size=3), -1.0, 1.0)
