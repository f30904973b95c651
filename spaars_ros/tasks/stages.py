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

"""Task: operate four fixtures on a table in any order, with one reward per fixture."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from spaars_ros.data.schema import Outcome
from spaars_ros.robot.config import Name
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Metric
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import Operator
from spaars_ros.tasks.protocols import Scene
from spaars_ros.tasks.spec import ActionSpace
from spaars_ros.tasks.spec import MetricSpec
from spaars_ros.tasks.spec import TaskSpec
from spaars_ros.tasks.spec import Term

STAGES = ('slider', 'lever', 'button', 'knob')
DONE_AT = np.array([0.10, 0.75, 0.025, 1.2])
"""m, rad, m, rad: a sub-task is done once its joint reaches this position."""


class StagesSettings(TaskSettings):
    """Task file: operate four fixtures."""

    name: Name = 'stages'
    horizon: int = Field(280, ge=2, le=1_000_000, description='control ticks per episode')


class StagesTask(Task):
    """
    Operate slider, lever, button and knob; what is done stays done.

    Observation: joint positions (d) rad, velocities (d) rad/s, tip (3) m, fixture joints (4) m,
    rad, m, rad, completed sub-tasks (4), 0 or 1. The source `stages` provides the last eight
    values: the fixtures latch and report what is done, since a task keeps no state.
    """

    Settings: ClassVar[type[TaskSettings]] = StagesSettings

    def __init__(self, robot: Robot, settings: TaskSettings) -> None:
        """Declare the task."""
        super().__init__(robot, settings)
        d = len(robot.joints)
        self.spec = TaskSpec(
            name=settings.name, horizon=settings.horizon, contact=True,
            action=ActionSpace(joints=d), sources=('stages',),
            terms=(Term('position', d, 'rad'), Term('velocity', d, 'rad/s'), Term('tip', 3, 'm'),
                   Term('fixtures', len(STAGES), names=tuple(f'{n}.joint' for n in STAGES)),
                   Term('done', len(STAGES), names=tuple(f'{n}.done' for n in STAGES))),
            metrics=(MetricSpec('stages', '', 'higher', title='stages done'),))
        self._done = self.spec.slices['done']

    def observe(self, world: World, goal: Array | None) -> Array:
        """Return the observation (n,); raises ValueError if source `stages` has too few values."""
        seen, wide = world.sources['stages'].values, 2 * len(STAGES)
        if len(seen) < wide:
            raise ValueError(f'source stages has {len(seen)} values, {wide} are needed: joint and '
                             'done of each fixture')
        return np.concatenate((world.joints.position, world.joints.velocity, world.tip(),
                               seen[:wide]))

    def reward(self, before: Array, action: Array, after: Array) -> Array:
        """Return the reward (...): 1 per sub-task that is done now and was not done before."""
        newly = (after[..., self._done] > 0.5) & ~(before[..., self._done] > 0.5)
        return np.asarray(newly.sum(axis=-1).astype(float))

    def outcome(self, after: Array, world: World) -> Outcome:
        """Return SUCCESS, which ends the episode, once all four are done."""
        return Outcome.SUCCESS if (after[self._done] > 0.5).all() else Outcome.RUNNING

    def judge(self, episode: Episode) -> Outcome:
        """Return SUCCESS if all four were done at the end."""
        if episode.outcome is not Outcome.UNLABELLED:
            return episode.outcome
        done = (episode.observations[-1, self._done] > 0.5).all()
        return Outcome.SUCCESS if done else Outcome.FAILURE

    def metrics(self, episode: Episode) -> Mapping[str, Metric]:
        """Return the number of sub-tasks that were done at the end."""
        done = float((episode.observations[-1, self._done] > 0.5).sum())
        return {'stages': Metric(done, '', 'higher')}

    def scene(self) -> Scene:
        """Return the scene: table and fixtures."""
        from spaars_ros.tasks.stages_scene import StagesScene
        return StagesScene()

    def demonstrator(self, rng: np.random.Generator) -> Operator:
        """Return a scripted operator that operates two fixtures per episode."""
        from spaars_ros.tasks.stages_operator import PairsOperator
        return PairsOperator(self.robot, rng)
