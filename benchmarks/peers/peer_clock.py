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

"""
Common part of the peers' training scripts: environments, untimed evaluations, JSON lines.

It imports nothing from spaars_ros, except the arm as a Gymnasium environment if that is the task.
"""

import argparse
from collections.abc import Callable
import json
import sys
import time
from typing import Any

import gymnasium
import numpy as np

EVALUATION_SEED = 10_000
"""As in spaars_ros.learning.gym.rollout: all methods have the same evaluation episodes."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the common arguments of the training scripts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--env', required=True, help='Gymnasium id, or reach')
    parser.add_argument('--budget', type=float, required=True, help='training time in s')
    parser.add_argument('--every', type=int, required=True,
                        help='environment steps, or offline updates, between evaluations')
    parser.add_argument('--episodes', type=int, default=10, help='episodes per evaluation')
    parser.add_argument('--width', type=int, default=256)
    parser.add_argument('--seed', type=int, default=0)
    return parser


def make(env: str) -> Any:
    """Return an environment with actions in [-1, 1] and float32 observations."""
    if env != 'reach':
        return gymnasium.make(env)
    from spaars_ros.robot.config import load_robot
    from spaars_ros.sim.env import ArmEnv
    from spaars_ros.tasks.registry import load_task
    return ArmEnv(load_robot(), load_task())


class Clock:
    """Clock of the training time without evaluations; print one JSON line per evaluation."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._env = make(args.env)
        self._answers = sys.stdout
        sys.stdout = sys.stderr  # output of libraries
        self._seconds = 0.0
        self.start()

    def start(self) -> None:
        """Start the clock: imports and loading of data do not count as training."""
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds of training so far."""
        return self._seconds + time.monotonic() - self._since

    def done(self, steps: int, act: Callable[[Any], Any]) -> bool:
        """Evaluate act(observation) -> action; return whether the budget is used up."""
        self._seconds = self.seconds
        returns = []
        for number in range(self.args.episodes):
            observation, _ = self._env.reset(seed=EVALUATION_SEED + number)
            total, over = 0.0, False
            while not over:
                observation, reward, terminated, truncated, _ = self._env.step(act(observation))
                total += float(reward)
                over = terminated or truncated
            returns.append(total)
        mean = float(np.mean(returns))
        self._answers.write(json.dumps({'steps': steps, 'seconds': round(self._seconds, 2),
                                        'return_mean': mean}) + '\n')
        self._answers.flush()
        self._since = time.monotonic()
        return self._seconds >= self.args.budget
