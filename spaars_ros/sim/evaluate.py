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

"""Evaluation of a bundle on fixed simulated episodes, through the robot's own control loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.control.control import ControlLoop
from spaars_ros.control.person import Person
from spaars_ros.data.schema import StepSchema
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import Robot
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.base import average_metrics
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import scene_of
from spaars_ros.tasks.scoring import episodes_from_steps
from spaars_ros.tasks.scoring import paths_from_steps
from spaars_ros.tasks.sources import cameras_of

EVALUATION_SEED = 10_000


class Rollouts:
    """The control loop on the simulated arm, without ROS; one complete episode at a time."""

    def __init__(self, runtime: PolicyRuntime, robot: Robot, task: Task, *, seed: int,
                 explore: bool, budget: str = 'off', person: Person | None = None) -> None:
        """
        Start before the first episode.

        :param runtime: runtime of the bundle
        :param robot: the robot file
        :param task: the task
        :param seed: of starts, goals and noise
        :param explore: whether to add exploration noise
        :param budget: off, warn or hold
        :param person: person who may take over
        """
        self.arm = Arm(robot, scene_of(task), cameras_of(task))
        self.task = task
        self.seed = seed
        self.loop = ControlLoop(robot=robot, task=task, safety_filter=SafetyFilter(robot),
                                runtime=runtime, seed=seed, explore=explore, budget=budget,
                                person=person)

    @property
    def schema(self) -> StepSchema:
        """Return the layout of the step records."""
        return self.loop.records.schema

    def episode(self,
                seen: Callable[[Arm, NDArray[np.float64] | None], None] | None = None
                ) -> NDArray[np.float64]:
        """
        Run the next episode and return its step records (T + 1, width).

        :param seen: called with the arm, and the record if there is one, at every tick
        """
        start = np.random.default_rng([self.seed, self.loop.episode + 1, 2])
        self.arm.reset(sample_start(self.task.robot, self.task.settings.start_noise, start), start)
        self.arm.channels = {}
        self.loop.begin(self.arm.state())
        names = [channel.name for channel in self.task.spec.channels]
        rows = []
        while True:
            self.loop.sources = self.arm.sources()
            tick = self.loop.tick(self.arm.state())
            if seen is not None:
                seen(self.arm, tick.record)
            self.arm.channels = dict(zip(names, tick.channels.tolist()))
            if tick.record is not None:
                rows.append(tick.record)
            if tick.ended:
                return np.stack(rows)
            self.arm.step(tick.command)


def evaluate(bundle: Bundle, robot: Robot, task: Task, *, episodes: int = 50,
             seed: int = EVALUATION_SEED, explore: bool = False) -> dict[str, Any]:
    """
    Return the performance of a bundle on `episodes` fixed episodes, which the seed determines.

    Keys: success (share), return_mean, cost_mean (first constraint), metrics (name -> mean),
    <name>_mean of the metrics that the task's spec marks as flat, raw_share, episodes (from
    `episodes_from_steps`), paths (from `paths_from_steps`).

    :param bundle: the bundle
    :param robot: the robot file
    :param task: the task
    :param episodes: number of episodes
    :param seed: of starts, goals and noise
    :param explore: whether to add exploration noise
    :raises BundleError: the bundle does not fit the robot
    """
    runtime = check_bundle(bundle, robot, task=task.name,
                           observation_dim=task.observation_dim, spec=task.spec)
    rollouts = Rollouts(runtime, robot, task, seed=seed, explore=explore)
    rows = np.concatenate([rollouts.episode() for _ in range(episodes)])
    scores = episodes_from_steps(rollouts.schema, rows, task)
    mean = {key: float(np.mean([score[key] for score in scores]))
            for key in ('success', 'return', 'cost', 'raw_share')}
    metrics = average_metrics(task.spec.metrics, scores)
    return {'success': mean['success'], 'return_mean': mean['return'], 'cost_mean': mean['cost'],
            'metrics': metrics,
            **{f'{spec.name}_mean': metrics[spec.name] for spec in task.spec.metrics if spec.flat},
            'raw_share': mean['raw_share'],
            'episodes': scores, 'paths': paths_from_steps(rollouts.schema, rows, task)}
