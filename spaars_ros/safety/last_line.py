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

"""Final check of a velocity before it is returned by the filter."""

from collections.abc import Sequence

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.safety.joint_limits import JointLimits
from spaars_ros.safety.stop import Stop

ROUNDING = 1e-6
"""rad/s, rad: tolerance, so that rounding is not reported as a fault."""


class LastLine:
    """
    Check that a velocity is finite and within acceleration, velocity and position limits.

    This check is simple on purpose. It knows no braking distance, no barrier and no earlier steps.
    A velocity that is not finite does not pass.

    :param joints: joint names
    :param limits: joint limits of the robot file
    """

    def __init__(self, joints: Sequence[str], limits: JointLimits) -> None:
        self._joints = joints
        self._period = limits.period
        self._step = limits.step + ROUNDING
        self._velocity = limits.velocity
        self._lower, self._upper = limits.ends[0] - ROUNDING, limits.ends[1] + ROUNDING

    def passes(self, velocity: Array, last: Array, position: Array) -> bool:
        """
        Return whether a velocity (d,) rad/s may be sent after `last` (d,) rad/s.

        A joint that was already too fast, or already outside its position limits, may only come
        back.

        :param position: (d,) rad, measured
        """
        if not (np.abs(velocity - last) <= self._step).all() \
                or not (np.abs(velocity) <= np.maximum(self._velocity, np.abs(last))
                        + ROUNDING).all():
            return False
        place = position + self._period * velocity
        out = (place > self._upper) & (velocity > np.maximum(last, 0.0)) \
            | (place < self._lower) & (velocity < np.minimum(last, 0.0))
        return not out.any()

    def stop(self, velocity: Array, last: Array, position: Array) -> Stop:
        """Return the stop for a velocity that does not pass; arguments as for `passes`."""
        change = np.abs(velocity - last)
        joint = int(np.argmax(np.where(np.isfinite(change), change - self._step, np.inf)))
        return Stop('OUTSIDE_LIMITS', float(velocity[joint]), float(self._velocity[joint]),
                    f'rad/s, found by the filter for {self._joints[joint]} at '
                    f'{position[joint]:.6g} rad, breaks a limit: see limits in the robot file')
