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

"""A box of targets that an arm can reach, from its own kinematics, where no file names one."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.resolved_rate import ResolvedRate
from spaars_ros.robot.zones import distance

Array = NDArray[np.float64]

SPREAD = 0.7
"""rad about home, and this share of a slide joint's range: where tips are looked for."""

SAMPLES = 400
"""Tips that are looked at."""

CANDIDATES = 16
"""Boxes beyond the tip at home whose corners are tried."""

FEW = 4
"""Others that are."""

HALF = 0.1
"""Half an edge of the box, in the arm's reach."""

AWAY = (1.0, 3.5)
"""From the tip at home to the middle of the box, in half edges."""

WITHIN = 0.005
"""Of the arm's reach, that a corner has to be met by."""

CORNERS = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T


def default_targets(robot: Robot, kinematics: Kinematics) -> tuple[Array, Array]:
    """
    Return the ends (3,) m, base frame, of a box whose targets the arm can reach from home.

    At the height of the tip at home, more or less, beyond it as seen from the first joint where
    that can be, out of the zones and their margin, where the arm moves best at the box's worst
    corner. The same box for the same robot file.

    :raises ConfigError: none was found
    """
    control, rng = ResolvedRate(robot, kinematics), np.random.default_rng(0)
    home = np.asarray(robot.home)
    half = HALF * control.reach
    slides = np.array([kinematics.model.jnt_type[joint] == 2 for joint in kinematics.joints])
    spread = np.where(slides, SPREAD * (control.upper - control.lower), SPREAD)
    tip = kinematics.tip(home)
    outward = tip - kinematics.reach(robot)[0]
    found: list[tuple[bool, float, Array]] = []
    for _ in range(SAMPLES):
        position = np.clip(home + spread * rng.uniform(-1.0, 1.0, len(home)), control.lower,
                           control.upper)
        centre = kinematics.tip(position)
        away = float(np.linalg.norm(centre - tip))
        boxed = np.concatenate((centre[None], centre + half * CORNERS))
        if not AWAY[0] * half <= away <= AWAY[1] * half or abs(centre - tip)[2] > half \
                or not _free(robot, boxed, np.sqrt(3.0) * half):
            continue
        beyond = bool((centre - tip) @ outward >= 0.0)
        if beyond or sum(not one[0] for one in found) < FEW:
            worst = _worst(control, home, boxed)
            if worst is not None:
                found.append((beyond, round(worst, 3), centre))
        if sum(one[0] for one in found) >= CANDIDATES:
            break
    if not found:
        raise ConfigError(f'{robot.source}: no box of targets found that the arm reaches from '
                          'home: give target_low and target_high in the task file')
    centre = max(found, key=lambda one: one[:2])[2]
    # Full centimetres, or less where the arm is small: a file may hold them as they are.
    grid = 10.0 ** np.floor(np.log10(half / 3.0))
    return (np.round(grid * np.ceil((centre - half) / grid - 1e-9), 6),
            np.round(grid * np.floor((centre + half) / grid + 1e-9), 6))


def _free(robot: Robot, tips: Array, size: float) -> bool:
    """Return whether no tip (m, 3) m, nor what lies between, is in a zone or out of bounds."""
    margin = max(robot.zone_margin, robot.clearance)
    if (distance(robot.keep_out, tips) < margin).any() \
            or distance(robot.keep_out, tips[:1])[0] < size + margin:
        return False
    return robot.workspace is None or bool(
        ((tips >= np.asarray(robot.workspace.low) + margin)
         & (tips <= np.asarray(robot.workspace.high) - margin)).all())


def _worst(control: ResolvedRate, home: Array, tips: Array) -> float | None:
    """Return the least ratio of the Jacobian's singular values at the tips; None: out of reach."""
    worst = np.inf
    for tip in tips:
        position = control.solve(tip, home, WITHIN * control.reach)
        if position is None:
            return None
        sizes = np.linalg.svd(control.kinematics.tip_and_jacobian(position)[1])[1]
        worst = min(worst, float(sizes[-1] / sizes[0]))
    return worst
