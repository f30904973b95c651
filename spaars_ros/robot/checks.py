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

"""Checks on loading that robot file, model and targets fit together, before anything moves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
import warnings

import mujoco
import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import Robot
from spaars_ros.robot.files import ConfigWarning
from spaars_ros.robot.model_checks import check_guarded
from spaars_ros.robot.model_checks import check_numbers
from spaars_ros.robot.model_checks import check_tip
from spaars_ros.robot.model_checks import check_units
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.zones import zone_distance

if TYPE_CHECKING:
    from spaars_ros.robot.kinematics import Kinematics

Array = NDArray[np.float64]

SAME = 1e-3
"""rad or m; tolerance for limits that two sources round differently."""
GRID = 7
"""Number of checked targets along each axis of the task's box."""
TICKS = 4.0
"""
Control ticks from rest to |action| = 1; with more, the acceleration limit dominates learning.
"""

MOVES = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


def check_robot(robot: Robot, kinematics: 'Kinematics') -> None:
    """
    Check a robot file against its model, and that the arm can move at home.

    Warns of limits wider than the model's, of joints that are not listed, of units that look
    mistaken, of zones that limit nothing, and of an action_scale that the acceleration limits
    cannot follow.

    :raises ConfigError: a number of the model is not finite; a joint is neither hinge nor slide;
        the tip moves with no listed joint, or with an unlisted one without a range; a zone
        protects an arm without geoms; the tip at home is in a zone or outside the workspace
    """
    check_numbers(robot, kinematics.model)
    _check_joints(robot, kinematics)
    for text in (*check_tip(robot, kinematics), *check_units(robot, kinematics),
                 *check_guarded(robot, kinematics)):
        _warn(f'{robot.source}: {text}')
    _check_acceleration(robot)
    blocked = _blocked(robot, kinematics.tip(np.asarray(robot.home))[None])[0]
    if blocked:
        raise ConfigError(f'{robot.source}: home: the tip is {blocked} there: move home, or the '
                          'zone')


def check_targets(robot: Robot, low: Sequence[float], high: Sequence[float],
                  kinematics: 'Kinematics', task: str) -> None:
    """
    Raise ConfigError if no target of a box can be reached, naming the obstacle.

    :param low: (3,) m, base frame, field target_low of the task
    :param high: (3,) m, base frame, field target_high of the task
    :param task: name, for the message
    """
    axes = [np.linspace(*ends, GRID) for ends in zip(low, high)]
    targets = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    reasons = _blocked(robot, targets)
    centre, reach = kinematics.reach(robot)
    away = np.linalg.norm(targets - centre, axis=-1)
    reasons = [reason or (f'out of reach ({far:.2f} m from the first joint, the arm has '
                          f'{reach:.2f} m)' if far > reach else '')
               for reason, far in zip(reasons, away)]
    if all(reasons):
        raise ConfigError(f'task {task}: target_low, target_high: no target can be '
                          f'reached by robot {robot.name}: {reasons[len(reasons) // 2]}')


def _blocked(robot: Robot, tips: Array) -> list[str]:
    """Return for each tip (m, 3) m why the filter prevents it, '' if it does not."""
    found = [''] * len(tips)
    for zone in robot.keep_out:
        for i in np.flatnonzero(zone_distance(zone, tips) < robot.clearance):
            found[i] = f'inside the keep-out zone {zone.name!r}, or within clearance of it'
    if robot.workspace is not None:
        low, high = np.asarray(robot.workspace.low), np.asarray(robot.workspace.high)
        outside = (tips < low + robot.clearance) | (tips > high - robot.clearance)
        for i in np.flatnonzero(outside.any(axis=-1)):
            found[i] = 'outside the workspace, or within clearance of its faces'
    return found


def _check_joints(robot: Robot, kinematics: 'Kinematics') -> None:
    model = kinematics.model
    for name, index, (low, high) in zip(robot.joints, kinematics.joints, robot.limits.position):
        if model.jnt_type[index] not in MOVES:
            raise ConfigError(f'{robot.source}: joints: {name!r} of the model is neither a hinge '
                              'nor a slide')
        if model.jnt_limited[index]:
            least, most = model.jnt_range[index]
            if low < least - SAME or high > most + SAME:
                _warn(f'{robot.source}: limits.position of {name}: [{low:g}, {high:g}] is wider '
                      f'than [{least:g}, {most:g}] in the model: the wider one is what limits')


def _check_acceleration(robot: Robot) -> None:
    limits, scale = robot.limits, robot.control.action_scale
    allowed = np.asarray(limits.acceleration)
    ticks = scale * np.asarray(limits.velocity) / (allowed * robot.period)
    worst = int(np.argmax(ticks))
    if ticks[worst] > TICKS:
        _warn(f'{robot.source}: control.action_scale {scale:g}: {robot.joints[worst]} takes '
              f'{ticks[worst]:.3g} ticks from rest to |action| = 1 at {allowed[worst]:g} rad/s^2: '
              f'a policy learns badly on such a limit; {scale * TICKS / ticks[worst]:.2g} takes '
              f'{TICKS:g}')


def _warn(text: str) -> None:
    warnings.warn(text, ConfigWarning, stacklevel=2)
