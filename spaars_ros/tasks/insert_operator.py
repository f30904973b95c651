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
"""Scripted operator of `insert`: aims badly, presses hard, searches for a while, and gives up."""

from typing import TYPE_CHECKING

import numpy as np

from spaars_ros.tasks.base import Array

if TYPE_CHECKING:
    from spaars_ros.tasks.insert import InsertTask

AIM = 0.004
"""m, standard deviation per axis of the operator's aim, around the measured hole."""
SPEED = (0.03, 0.08)
"""m/s, range of the tip's speed, both far away and on the last centimetre down."""
NOISE = 0.1
"""
Standard deviation of the hand's shake, in normalised action; first-order noise, factor 0.7 per
tick.
"""
PATIENCE = (15, 60)
"""Range of ticks without progress after which the operator gives up."""
ABOVE = 0.012
"""m above the mouth where the operator aligns the peg."""
STUCK = 0.001
"""m; descent that counts as progress."""


class InsertOperator:
    """
    Operator for one episode at a time: above the hole, then down, in circles if the peg is stuck.

    :param expert: aim at the measured hole itself, always search and never give up
    """

    def __init__(self, task: 'InsertTask', rng: np.random.Generator,
                 expert: bool = False) -> None:
        self._task, self._rng, self._expert = task, rng, expert
        self._scale = np.asarray([task.spec.action.linear] * 3 + [task.spec.action.angular] * 2)
        self._error, self._tilt = (task.spec.slices[name] for name in ('error', 'tilt'))

    def begin(self, observation: Array) -> None:
        """Choose aim, speed and patience for a new episode."""
        rng = self._rng
        self._aim = rng.normal(scale=AIM, size=2)
        self._speed = rng.uniform(*SPEED)
        self._patience = int(rng.integers(*PATIENCE))
        self._searches = rng.random() < 0.5
        if self._expert:
            self._aim, self._searches, self._patience = np.zeros(2), True, 10**9
        self._shake = np.zeros(5)
        self._down, self._waited, self._deepest = False, 0, -np.inf

    def act(self, observation: Array) -> Array:
        """Return the action (5,) in [-1, 1] for an observation (n,) of `insert`."""
        error = observation[self._error].copy()
        height = -error[2] - self._task.settings.depth
        error[:2] += self._aim
        beside = float(np.linalg.norm(error[:2]))
        if not self._down:
            error[2] += ABOVE + self._task.settings.depth
            self._down = beside < 0.002 and abs(error[2]) < 0.004
            velocity = 4.0 * error
        else:
            velocity = np.append(4.0 * error[:2], -self._speed)
            if -height > self._deepest + STUCK:
                self._deepest, self._waited = -height, 0
            else:
                self._waited += 1
            if self._waited > 5 and self._searches:
                turn = 0.6 * self._waited
                velocity[:2] += (0.01 + 0.0008 * self._waited) * np.array(
                    [np.cos(turn), np.sin(turn)])
        fast = float(np.linalg.norm(velocity))
        velocity *= min(1.0, self._speed / max(fast, 1e-9) * (1.0 if self._down else 1.5))
        x, y = observation[self._tilt]
        # The tool's axis points down: a rotation about x by a small angle moves its y by that
        # angle.
        turning = 2.0 * np.array([-y, x])
        self._shake = 0.7 * self._shake + np.sqrt(1 - 0.7 ** 2) * NOISE * self._rng.normal(size=5)
        action = np.concatenate((velocity, turning)) / self._scale
        return np.clip(action + self._shake, -1.0, 1.0)

    @property
    def done(self) -> bool:
        """Return whether the operator has given up."""
        return self._waited > self._patience
