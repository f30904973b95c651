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

"""Velocity controller between `command` and the arm, which holds the last command."""

import math

import numpy as np

from spaars_ros.data.schema import Array


class HoldingController:
    """
    Hold the last velocity command, like ros2_control's forward_command_controller.

    That controller has no timeout: when its client dies, the arm continues at the last velocity.
    `timeout` models other controllers, for instance the joint_trajectory_controller
    (`cmd_timeout`).

    :param acceleration: (d,) rad/s^2, of braking after a timeout
    :param period: s between two calls of `velocity`
    """

    def __init__(self, acceleration: Array, period: float) -> None:
        self.timeout = 0.0
        """s without a command after which it brakes to rest; 0 for never."""
        self.delay = 0.0
        """s that a command is delayed, rounded up to periods."""
        self.lag = 0.0
        """s, time constant of a first-order lag."""
        self._step = acceleration * period
        self._period = period
        self._waiting: list[tuple[int, Array]] = []
        self._heard = 0
        self._target = np.zeros_like(acceleration)
        self._velocity = np.zeros_like(acceleration)

    def stop(self, now: int) -> None:
        """Be at rest from `now` ns on, and discard delayed commands."""
        self._waiting.clear()
        self._heard = now
        self._target = np.zeros_like(self._target)
        self._velocity = np.zeros_like(self._velocity)

    def take(self, command: Array, now: int) -> None:
        """Take a command (d,) rad/s that came at `now` ns."""
        self._heard = now
        if self.delay <= 0.0:
            self._waiting.clear()
            self._target = command
        else:
            self._waiting.append((now + round(1e9 * self.delay), command))

    def velocity(self, now: int) -> Array:
        """Return the servo's velocity (d,) rad/s for the period from `now` ns on."""
        while self._waiting and self._waiting[0][0] <= now:
            self._target = self._waiting.pop(0)[1]
        if self.timeout > 0.0 and (now - self._heard) * 1e-9 > self.timeout:
            self._waiting.clear()
            self._target = self._target - np.clip(self._target, -self._step, self._step)
        if self.lag > 0.0:
            share = 1.0 - math.exp(-self._period / self.lag)
            self._velocity = self._velocity + share * (self._target - self._velocity)
        else:
            self._velocity = self._target
        return self._velocity
