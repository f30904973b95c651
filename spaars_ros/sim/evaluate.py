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

"""Run a bundle on fixed episodes in the simulation, through the same control loop as on a robot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.config import Robot
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.control import ControlLoop
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.tasks import ReachTask

EVALUATION_SEED = 10_000


class Rollouts:
    """The control loop on the simulated arm, without ROS; whole episodes at a time."""

    def __init__(self, runtime: PolicyRuntime, robot: Robot, task: ReachTask, *, seed: int,
                 explore: bool) -> None:
        self.arm = Arm(robot)
        self.task = task
        self.seed = seed
        self.loop = ControlLoop(robot=robot, task=task, safety_filter=SafetyFilter(robot),
                                runtime=runtime, seed=seed, explore=explore)

    def episode(self) -> NDArray[np.float64]:
        """Run the next episode and return its step records (T + 1, width)."""
        start = np.random.default_rng([self.seed, self.loop.episode + 1, 2])
        self.arm.reset(self.task.sample_start(start))
        self.loop.begin(self.arm.state())
        rows = []
        while True:
            tick = self.loop.tick(self.arm.state())
            rows.append(tick.record)
            if tick.ended:
                return np.stack(rows)
            self.arm.step(tick.command)


def score_episode(rollouts_schema: Any, rows: NDArray[np.float64],
                  task: ReachTask) -> dict[str, Any]:
    """Return return, success, cost (C,), tip error (m), raw share and interventions."""
    get = rollouts_schema.get
    observations = get(rows, 'observation')
    reward = task.reward(observations[:-1], get(rows, 'action')[:-1], observations[1:])
    cost = task.costs(observations[1:], get(rows, 'effort')[1:]).sum(0)
    return {'return': float(reward.sum()),
            'success': task.succeeded(observations) and get(rows[-1], 'flag') != Flag.ABORTED,
            'cost': cost.tolist(), 'tip_error': float(task.tip_error(observations[-1])),
            'raw_share': float((get(rows, 'mode')[:-1] == Mode.RAW).mean()),
            'interventions': int((get(rows, 'intervention')[:-1] != 0).sum()),
            'steps': len(reward)}


def evaluate(bundle: Bundle, robot: Robot, task: ReachTask, *, episodes: int = 50,
             seed: int = EVALUATION_SEED, explore: bool = False) -> dict[str, Any]:
    """
    Return how a bundle does on `episodes` fixed episodes: the seed alone decides them.

    Keys: success (share), return_mean, cost_mean (first constraint), tip_error_mean (m),
    raw_share, episodes (a list of `score_episode`), paths (tips (T, 3), raw (T,), target (3,)).
    Raises BundleError when the bundle does not fit the robot.
    """
    runtime = check_bundle(bundle, robot, task=task.settings.name,
                           observation_dim=task.observation_dim)
    rollouts = Rollouts(runtime, robot, task, seed=seed, explore=explore)
    scores, paths = [], []
    for _ in range(episodes):
        rows = rollouts.episode()
        scores.append(score_episode(rollouts.loop.schema, rows, task))
        observations = rollouts.loop.schema.get(rows, 'observation')
        paths.append({'tip': task.tip(observations),
                      'raw': rollouts.loop.schema.get(rows, 'mode') == Mode.RAW,
                      'target': task.target(observations[0])})
    mean = {key: float(np.mean([score[key] for score in scores]))
            for key in ('success', 'return', 'tip_error', 'raw_share')}
    costs = np.asarray([score['cost'] for score in scores])
    return {'success': mean['success'], 'return_mean': mean['return'],
            'cost_mean': float(costs[:, 0].mean()) if costs.shape[1] else 0.0,
            'tip_error_mean': mean['tip_error'], 'raw_share': mean['raw_share'],
            'episodes': scores, 'paths': paths}
