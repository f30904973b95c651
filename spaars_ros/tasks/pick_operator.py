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
"""Scripted operator of `pick`: grasps beside the cube, and releases it before the bin."""

from typing import TYPE_CHECKING

import numpy as np

from spaars_ros.tasks.base import Array

if TYPE_CHECKING:
    from spaars_ros.tasks.pick import PickTask

AIM = 0.012
"""m, standard deviation per axis of the operator's grasp, around the cube."""
DROP = 0.035
"""m, standard deviation per axis of the release, around the centre of the bin."""
SPEED = (0.12, 0.22)
"""m/s, range of the tip's speed."""
NOISE = 0.1
"""
Standard deviation of the hand's shake, in normalised action; first-order noise, factor 0.7 per
tick.
"""
CLOSING = 8
"""Ticks that the operator waits for the gripper."""
ABOVE, CARRY = 0.06, 0.13
"""
m: height above the cube before the descent, and height of the tip above the table over the bin.
"""


class PickOperator:
    """Operator for one episode at a time: above the cube, down, close, up, above the bin, open."""

    def __init__(self, task: 'PickTask', rng: np.random.Generator) -> None:
        self._task, self._rng = task, rng
        self._slices = task.spec.slices

    def begin(self, observation: Array) -> None:
        """Choose aim and speed for a new episode."""
        rng = self._rng
        self._aim = np.append(rng.normal(scale=AIM, size=2), rng.uniform(-0.005, 0.01))
        self._drop = rng.normal(scale=DROP, size=2)
        self._speed = rng.uniform(*SPEED)
        self._shake = np.zeros(4)
        self._phase, self._waited = 0, 0

    def act(self, observation: Array) -> Array:
        """Return the action (4,) in [-1, 1] for an observation (n,) of `pick`."""
        to_cube, to_bin, height = (
            observation[self._slices[name]] for name in ('to_cube', 'cube_to_bin', 'height'))
        way = to_cube + self._aim
        if self._phase == 0:
            way[2] += ABOVE
            self._next(float(np.linalg.norm(way[:2])) < 0.008 and abs(way[2]) < 0.02)
        elif self._phase == 1:
            self._next(abs(way[2]) < 0.006)
        elif self._phase in (2, 5):
            way = np.zeros(3)
            self._waited += 1
            self._next(self._waited >= CLOSING)
        elif self._phase == 3:
            way = np.array([0.0, 0.0, CARRY - height[0]])
            self._next(way[2] < 0.01)
        else:
            way = to_cube + to_bin  # from the tip to the bin
            way = np.array([*(way[:2] + self._drop), CARRY - height[0]])
            self._next(float(np.linalg.norm(way[:2])) < 0.015)
        gone = float(np.linalg.norm(way))
        velocity = way / max(gone, 1e-9) * min(self._speed, 4.0 * gone)
        self._shake = 0.7 * self._shake + np.sqrt(1 - 0.7 ** 2) * NOISE * self._rng.normal(size=4)
        closed = 0.8 if self._phase in (2, 3, 4) else -0.8
        action = np.append(velocity / self._task.spec.action.linear, closed)
        return np.clip(action + self._shake, -1.0, 1.0)

    def _next(self, reached: bool) -> None:
        if reached:
            self._phase, self._waited = self._phase + 1, 0

    @property
    def done(self) -> bool:
        """Return whether the operator has released the cube."""
        return self._phase > 5 and self._waited == 0
