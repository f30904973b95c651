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

"""Wrong wiring of a controller, and hands on the arm: what the joints obey of a command."""

from collections.abc import Mapping

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.sim.fault_table import DEFAULTS


class Wiring:
    """
    Convert commands to what the joints obey; unchanged until faults are set.

    A joint number beyond the arm's joints has no effect.

    :param seed: of the dropped commands
    :param joints: d
    """

    def __init__(self, *, seed: int, joints: int) -> None:
        self._rng = np.random.default_rng([seed, 17])
        self._joints = joints
        self.set(DEFAULTS)

    def set(self, values: Mapping[str, float]) -> None:
        """Take the values of all faults by name, as `check_faults` returns them."""
        self._order = np.arange(self._joints)
        one, other = int(values['swap']), int(values['swap_with'])
        if 0 < min(one, other) and max(one, other) <= self._joints:
            self._order[[one - 1, other - 1]] = other - 1, one - 1
        self._factor = np.ones(self._joints)
        scaled = int(values['scale_joint'])
        self._factor[slice(None) if not scaled else slice(scaled - 1, scaled)] = values['scale']
        flipped = int(values['flip'])
        self._factor[flipped - 1:flipped] *= -1.0
        self._push = np.zeros(self._joints)
        pushed = int(values['push_joint'])
        self._push[pushed - 1:pushed] = values['push']
        self._drop = values['command_drop']

    def obeyed(self, command: Array) -> Array | None:
        """Return what the controller obeys of a command (d,) rad/s; None: it never gets it."""
        if self._drop and self._rng.random() < self._drop:
            return None
        return np.asarray(self._factor * command[self._order])

    def pushed(self, velocity: Array) -> Array:
        """Return the arm's velocity (d,) rad/s where its controller commands `velocity`."""
        return np.asarray(velocity + self._push)
