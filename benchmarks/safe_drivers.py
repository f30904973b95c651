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

"""Scripted drivers of the safe tasks, from careful to reckless, and their data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.safe_tasks import SafeTaskEnv
from spaars_ros import __version__
from spaars_ros.data.transitions import Transitions
from spaars_ros.data.transitions import transitions_from_fields

Array = NDArray[np.float64]

CIRCLE_RADIUS = (4.0, 9.0)
"""m; the task rewards a radius of 7 m, and has a cost beyond |x| = 6 m."""
CIRCLE_WIDTH = (4.0, 9.0)
"""m, |x| at which the driver turns back."""
CIRCLE_SPEED = (1.0, 8.0)
"""m/s."""
RUN_SPEED = (0.1, 0.7)
"""Share of the maximum wheel speed; above about 0.4 the car exceeds its limit of 1.5 m/s."""
RUN_OFFSET = (-3.0, 3.0)
"""m, offset from the centre of the track; the limit is 2 m."""
NOISE = (0.05, 0.4)
"""Standard deviation of the first-order noise on actions (correlation 0.8 per step)."""


class CircleDriver:
    """Roll the ball clockwise about the origin, and back when |x| reaches the width."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._radius = rng.uniform(*CIRCLE_RADIUS)
        self._width = rng.uniform(*CIRCLE_WIDTH)
        self._speed = rng.uniform(*CIRCLE_SPEED)

    def act(self, observation: Array) -> Array:
        """Return a force (2,) in the units of the task."""
        position, velocity = 10.0 * observation[:2], 5.0 * observation[2:4]
        distance = max(float(np.linalg.norm(position)), 1e-6)
        outward = position / distance
        around = np.array([outward[1], -outward[0]])
        wanted = self._speed * around + (self._radius - distance) * outward
        over = abs(position[0]) + 0.5 * abs(velocity[0]) - self._width
        if over > 0.0:
            wanted[0] = -np.sign(position[0]) * min(2.0 * over, self._speed)
        return wanted - velocity


class RunDriver:
    """Drive the car along x at a constant speed and offset from the centre."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._speed = rng.uniform(*RUN_SPEED)
        self._offset = rng.uniform(*RUN_OFFSET)

    def act(self, observation: Array) -> Array:
        """Return wheel speed and steering (2,); the front of the car points to -x."""
        y, heading = 10.0 * observation[1], observation[4]
        # Towards +x, positive steering turns right, and sin(yaw) > 0 leads to -y.
        lean = np.clip(0.4 * (y - self._offset), -0.5, 0.5)
        return np.array([-self._speed, 1.5 * (lean - heading)])


DRIVERS: dict[str, Callable[[np.random.Generator], CircleDriver | RunDriver]] = {
    'BallCircle': CircleDriver, 'CarRun': RunDriver}


def drive(task: str, python: Path, *, episodes: int, seed: int) -> Transitions:
    """
    Return episodes of scripted drivers, each with random speed, path and noise.

    The same seed gives the same data. Some episodes keep the limit, and some are far above it.

    :param task: name in `DRIVERS`
    :param python: interpreter of an environment with bullet-safety-gym
    :raises SafeTaskError: as `SafeTaskEnv`
    """
    fields: dict[str, list[object]] = {name: [] for name in (
        'observations', 'actions', 'rewards', 'next_observations', 'terminations', 'truncations',
        'costs')}
    env = SafeTaskEnv(task, python)
    try:
        for episode in range(episodes):
            rng = np.random.default_rng([seed, episode])
            driver, noise, shake = DRIVERS[task](rng), rng.uniform(*NOISE), np.zeros(2)
            observation, _ = env.reset(seed=seed * 100_003 + episode)
            done = False
            while not done:
                shake = 0.8 * shake + 0.6 * noise * rng.standard_normal(2)
                action = np.clip(driver.act(observation) + shake, -1.0, 1.0)
                following, reward, terminated, truncated, info = env.step(action)
                done = terminated or truncated
                for name, value in (
                        ('observations', observation), ('actions', action), ('rewards', reward),
                        ('next_observations', following), ('terminations', terminated),
                        ('truncations', truncated and not terminated),
                        ('costs', [info['cost']])):
                    fields[name].append(value)
                observation = following
    finally:
        env.close()
    return transitions_from_fields(
        {name: np.asarray(values) for name, values in fields.items()},
        {'env': env.safe_task.env_id, 'source': f'scripted drivers, {episodes} episodes, '
                                                f'seed {seed}, spaars_ros {__version__}'})
