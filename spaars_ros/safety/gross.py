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
"""Check for commands and states that must not be corrected: wrong size, not finite, gross."""

from collections.abc import Sequence
import math

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.safety.stop import Stop


class GrossCheck:
    """
    Detect commands and states that must stop the arm instead of being scaled.

    :param joints: joint names
    :param velocity: velocity limits (d,) rad/s
    :param factor: multiple of them above which a command or a measured velocity is a stop
    """

    def __init__(self, joints: Sequence[str], velocity: Array, factor: float) -> None:
        self.joints, self.velocity, self.factor = joints, velocity, factor
        self._most = factor * velocity

    def stop(self, asked: Array, state: RobotState) -> Stop | None:
        """Return the stop for a command (d,) rad/s in a measured state, or None."""
        if asked.shape == state.position.shape == state.velocity.shape == self._most.shape \
                and math.isfinite(asked.sum() + state.position.sum() + state.velocity.sum()) \
                and not (np.abs(asked) > self._most).any() \
                and not (np.abs(state.velocity) > self._most).any():
            return None
        for name, values in (('command', asked), ('position', state.position),
                             ('velocity', state.velocity)):
            if values.shape != self._most.shape:
                return Stop('WRONG_SIZE', values.size, self._most.size, f'length of the {name}')
        for code, values in (('NON_FINITE_COMMAND', asked), ('NON_FINITE_STATE', state.position),
                             ('NON_FINITE_STATE', state.velocity)):
            finite = np.isfinite(values)
            if not finite.all():
                joint = int(np.argmin(finite))
                return Stop(code, float(values[joint]), np.inf, self.joints[joint])
        for code, values in (('GROSS_COMMAND', asked), ('GROSS_VELOCITY', state.velocity)):
            share = np.abs(values) / self.velocity
            joint = int(np.argmax(share))
            if share[joint] > self.factor:
                return Stop(code, float(values[joint]), float(self._most[joint]),
                            f'rad/s, {self.joints[joint]}')
        return None
