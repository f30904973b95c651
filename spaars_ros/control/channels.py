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

"""Actuators other than the arm, such as a gripper: actions to values, within range and rate."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.tasks.spec import Channel


class Channels:
    """
    Values of all channels of a task, moved by actions in [-1, 1].

    A continuous channel moves to the value of the action, at its rate. An open_close channel moves
    to `high` for an action above the threshold and to `low` below its negative. In between it
    keeps its target, so that a policy near 0 does not toggle it. A channel whose action is not
    finite keeps its target, too.

    :param channels: specifications of the c channels
    :param period: s between two calls of `take`
    """

    def __init__(self, channels: Sequence[Channel], period: float) -> None:
        self.specs = tuple(channels)
        self.values = np.asarray([c.low for c in channels], dtype=np.float64)
        """(c,) last values sent."""
        self._low = self.values.copy()
        self._high = np.asarray([c.high for c in channels], dtype=np.float64)
        self._step = np.asarray([c.rate * period for c in channels], dtype=np.float64)
        self._threshold = np.asarray([c.threshold for c in channels], dtype=np.float64)
        self._switched = np.asarray([c.kind == 'open_close' for c in channels], dtype=bool)
        self._target = self.values.copy()
        self._on_stop = [c.on_stop for c in channels]

    def __bool__(self) -> bool:
        """Return whether there are channels."""
        return bool(self.specs)

    def reset(self) -> Array:
        """Begin an episode with every channel at its low end; return the values (c,)."""
        self.values = self._target = self._low.copy()
        return self.values

    def take(self, actions: Array) -> Array:
        """Return the values (c,) after one period of actions (c,)."""
        finite = np.isfinite(actions)
        wanted = np.clip(np.where(finite, actions, 0.0), -1.0, 1.0)
        continuous = self._low + 0.5 * (wanted + 1.0) * (self._high - self._low)
        switched = np.where(wanted > self._threshold, self._high,
                            np.where(wanted < -self._threshold, self._low, self._target))
        target = np.where(self._switched, switched, continuous)
        self._target = np.where(finite, target, self._target)
        return self._move()

    def stop(self) -> Array:
        """Return the values (c,) after one period of a stop, as each channel declares."""
        ends = {'low': self._low, 'high': self._high, 'hold': self.values}
        self._target = np.asarray([ends[what][i] for i, what in enumerate(self._on_stop)])
        return self._move()

    def _move(self) -> Array:
        change = np.clip(self._target - self.values, -self._step, self._step)
        self.values = self.values + change
        return self.values
