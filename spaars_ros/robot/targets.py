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

"""Default box of reachable targets, from the arm's kinematics, if no file gives one."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.resolved_rate import ResolvedRate
from spaars_ros.robot.zones import distance

Array = NDArray[np.float64]

SPREAD = 0.7
"""rad around home (slide joint: fraction of its range) in which joint positions are sampled."""

SAMPLES = 400
"""Number of sampled tip positions."""

CANDIDATES = 16
"""Number of boxes beyond the tip at home whose corners are checked."""

FEW = 4
"""Number of other boxes whose corners are checked."""

HALF = 0.1
"""Half edge of the box, as a fraction of the arm's reach."""

AWAY = (1.0, 3.5)
"""Distance from the tip at home to the centre of the box, in half edges."""

WITHIN = 0.005
"""Allowed distance of the tip from a corner, as a fraction of the arm's reach."""

CORNERS = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T


def default_targets(robot: Robot, kinematics: Kinematics) -> tuple[Array, Array]:
    """
    Return low and high corner (3,) m, base frame, of a box of targets reachable from home.

    The box is at about the height of the tip at home. If possible, it is beyond the tip as seen
    from the first joint. It is outside the zones and their margin. Among the candidates, the box
    with the best conditioned Jacobian at its worst corner is chosen. The same robot file always
    gives the same box.

    :raises ConfigError: no box was found
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
    # Full centimetres (less for a small arm), so that a file can hold the exact values.
    grid = 10.0 ** np.floor(np.log10(half / 3.0))
    return (np.round(grid * np.ceil((centre - half) / grid - 1e-9), 6),
            np.round(grid * np.floor((centre + half) / grid + 1e-9), 6))


def _free(robot: Robot, tips: Array, size: float) -> bool:
    """Return whether all tips (m, 3) m, and the space between, are free and in the workspace."""
    margin = max(robot.zone_margin, robot.clearance)
    if (distance(robot.keep_out, tips) < margin).any() \
            or distance(robot.keep_out, tips[:1])[0] < size + margin:
        return False
    return robot.workspace is None or bool(
        ((tips >= np.asarray(robot.workspace.low) + margin)
         & (tips <= np.asarray(robot.workspace.high) - margin)).all())


def _worst(control: ResolvedRate, home: Array, tips: Array) -> float | None:
    """
    Return the least ratio of the Jacobian's singular values at tips (m, 3), or None.

    :param home: (d,) rad, initial joint positions of the search
    :return: the ratio, in [0, 1]; None if a tip is not reached
    """
    worst = np.inf
    for tip in tips:
        position = control.solve(tip, home, WITHIN * control.reach)
        if position is None:
            return None
        sizes = np.linalg.svd(control.kinematics.tip_and_jacobian(position)[1])[1]
        worst = min(worst, float(sizes[-1] / sizes[0]))
    return worst
