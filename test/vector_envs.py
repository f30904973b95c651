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

"""Environments for the tests of vectorised training; their processes import nothing more."""

import os
import signal

import gymnasium
import numpy as np


class Uneven(gymnasium.Env):
    """
    The best action is the observation; episodes differ in length, end and report.

    A cost is a whole number, a fraction or missing, as in environments that report it where it is
    not 0; the observation is written into the same array again.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float64)

    def __init__(self):
        self.place = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.length = 0, int(self.np_random.integers(10, 31))
        self.place[:] = self.np_random.uniform(-1.0, 1.0, 2)
        return self.place, {}

    def step(self, action):
        assert action in self.action_space
        reward = -float(np.square(action - self.place).sum())
        self.count += 1
        self.place[:] = self.np_random.uniform(-1.0, 1.0, 2)
        costs = [{'cost': 0}, {'cost': 0.5 + abs(float(action[0]))}, {}]
        info = costs[int(self.np_random.integers(3))]
        ends = self.count == self.length
        terminated = ends and self.length % 2 == 0
        if ends and self.length % 3:
            info['success'] = terminated
        return self.place, reward, terminated, ends and not terminated, info


class Failing(Uneven):
    """Raises at the fifth step of an episode whose length is odd."""

    def step(self, action):
        if self.count == 4:
            raise ArithmeticError('the solver\ndiverged')
        return super().step(action)


class Dying(Uneven):
    """Its process is killed at the fifth step, as by the kernel where memory is short."""

    def step(self, action):
        if self.count == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)
