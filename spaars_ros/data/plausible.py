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

"""Check of demonstrations against the robot's joint limits and forward kinematics."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot

BEYOND = 0.1
"""rad or m by which a joint position may exceed its limits (overshoot, calibration error)."""
APART = 0.02
"""m, allowed distance between the recorded tip and the tip computed from the joint positions."""
LOOKED_AT = 50


def contradiction(observations: NDArray[Any], names: Sequence[str], robot: Robot) -> str:
    """
    Return how observations (N, n) contradict the robot, with the likely cause; '' if they do not.

    The joint limits are checked only if the task observes `<joint>.position` of every joint; the
    tip position only if it also observes `tip.x`, `tip.y` and `tip.z`.
    """
    wanted = [f'{joint}.position' for joint in robot.joints]
    if not set(wanted) <= set(names):
        return ''
    places = [list(names).index(name) for name in wanted]
    joints = np.asarray(observations[:, places], np.float64)
    limits = np.asarray(robot.limits.position)
    bad = np.argwhere((joints < limits[:, 0] - BEYOND) | (joints > limits[:, 1] + BEYOND))
    if len(bad):
        i, j = (int(index) for index in bad[0])
        degrees = np.deg2rad(joints)
        inside = (degrees >= limits[:, 0] - BEYOND) & (degrees <= limits[:, 1] + BEYOND)
        # Values in rad within the limits stay within them when taken for degrees: require also
        # more than one turn.
        cause = ': in degrees? rad is expected' \
            if inside.all() and np.abs(joints).max() > 2 * np.pi else \
            ': joints in another order, or of another robot?'
        return (f'observations at {i}: {robot.joints[j]} is {joints[i, j]:.3g}, its limits are '
                f'{limits[j, 0]:g} to {limits[j, 1]:g}{cause}')
    tip = [f'tip.{axis}' for axis in 'xyz']
    if not set(tip) <= set(names):
        return ''
    recorded = np.asarray(observations[:, [list(names).index(name) for name in tip]], np.float64)
    rows = np.unique(np.linspace(0, len(joints) - 1, LOOKED_AT).astype(int))
    return _tip(joints[rows], recorded[rows], robot)


def _tip(joints: Array, recorded: Array, robot: Robot) -> str:
    # Imported here, because it loads MuJoCo, which reading a file of numbers does not need.
    from spaars_ros.robot.kinematics import Kinematics
    kinematics = Kinematics(robot)

    def apart(values: Array) -> float:
        tips = np.stack([kinematics.tip(row) for row in values])
        return float(np.median(np.linalg.norm(tips - recorded, axis=1)))
    found = apart(joints)
    if found <= APART:
        return ''
    causes = [(apart(np.deg2rad(joints)), 'in degrees? rad is expected')]
    count = joints.shape[1]
    for i in range(count):
        for j in range(i + 1, count):
            order = list(range(count))
            order[i], order[j] = j, i
            causes.append((apart(joints[:, order]),
                           f'{robot.joints[i]} and {robot.joints[j]} exchanged?'))
    causes.append((apart(joints[:, ::-1]), 'joints in reverse order?'))
    best, cause = min(causes)
    if best > APART:
        cause = 'joints in another order or with another zero, another tool or base frame?'
    return (f'tip.x, tip.y, tip.z are {1e3 * found:.0f} mm from where the joints put the tip: '
            f'{cause}')
