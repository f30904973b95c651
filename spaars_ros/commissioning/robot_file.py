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

"""Findings about a robot file before its use: units, limits, reach, collisions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
import warnings

import numpy as np
from numpy.typing import NDArray

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.files import ConfigWarning
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.model_checks import check_units
from spaars_ros.robot.new_file import torque_of
from spaars_ros.robot.resolved_rate import ResolvedRate
from spaars_ros.robot.targets import default_targets
from spaars_ros.robot.zones import distance
from spaars_ros.safety.cartesian import Cartesian
from spaars_ros.safety.joint_limits import JointLimits

Array = NDArray[np.float64]

GRID = 4
"""Number of targets along each axis of a box that are tried."""


@dataclass(frozen=True)
class Finding:
    """One finding."""

    level: Literal['fine', 'look', 'wrong']
    """fine; look: a person has to judge it; wrong: it has to be corrected."""
    about: str
    text: str


def check_file(name: str) -> list[Finding]:
    """Return the findings about a robot file; raise ConfigError where it cannot be loaded."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', ConfigWarning)
        robot = load_robot(name)
        kinematics = Kinematics(robot)
    units = list(check_units(robot, kinematics))
    said = dict.fromkeys(str(one.message).removeprefix(f'{robot.source}: ')
                         for one in caught if issubclass(one.category, ConfigWarning))
    found = [Finding('look', 'file', text) for text in said if text not in units]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConfigWarning)  # the same ones again
        return [*found, *_about(robot, kinematics)]


def _about(robot: Robot, kinematics: Kinematics) -> list[Finding]:
    return [*_units(robot, kinematics), *_limits(robot, kinematics), *_places(robot, kinematics),
            *_targets(robot, kinematics), *_collisions(robot), *_sensors(robot), *_speeds(robot)]


def _units(robot: Robot, kinematics: Kinematics) -> Iterator[Finding]:
    wrong = list(check_units(robot, kinematics))
    for text in wrong:
        yield Finding('wrong', 'units', text)
    if not wrong:
        yield Finding('fine', 'units', 'positions and velocities look like rad and rad/s (slides: '
                      'm, m/s)')


def _limits(robot: Robot, kinematics: Kinematics) -> Iterator[Finding]:
    model = kinematics.model
    for name, joint, ends, torque in zip(robot.joints, kinematics.joints, robot.limits.position,
                                         robot.limits.torque):
        if model.jnt_limited[joint]:
            least, most = model.jnt_range[joint]
            if ends[0] > least + 0.01 or ends[1] < most - 0.01:
                yield Finding('fine', 'limits', f'{name}: [{ends[0]:g}, {ends[1]:g}], narrower '
                              f"than the model's [{least:.4g}, {most:.4g}]")
        else:
            yield Finding('look', 'limits', f'{name}: the model has no range; the file alone '
                          f'limits it to [{ends[0]:g}, {ends[1]:g}]')
        strongest = torque_of(model, joint)
        if strongest is not None and torque > 1.001 * strongest:
            yield Finding('look', 'limits', f'{name}: torque {torque:g} is above {strongest:g} '
                          'in the model')
    for key in ('acceleration', 'jerk'):
        if key not in robot.limits.model_fields_set:
            values = ', '.join(f'{value:g}' for value in getattr(robot.limits, key))
            yield Finding('look', 'limits', f'{key}: not given; by joint speed: {values}')


def _places(robot: Robot, kinematics: Kinematics) -> Iterator[Finding]:
    home = np.asarray(robot.home)
    tip = kinematics.tip(home)
    anchor, reach = kinematics.reach(robot)
    yield Finding('fine', 'frame', "base frame is the world of the model; the tip's first joint "
                  f'is at {_point(anchor)} in it')
    yield Finding('fine', 'tip', f'{robot.tip}: at {_point(tip)} with the joints at home; no '
                  f'further than {reach:.2f} m from the first joint')
    jacobian = kinematics.tip_and_jacobian(home)[1]
    sizes = np.linalg.svd(jacobian)[1]
    if len(sizes) < 3 or sizes[-1] < 0.02 * sizes[0]:
        yield Finding('look', 'home', 'the tip cannot move in all directions from home '
                      '(singular): bend the arm')
    still = [name for name, column in zip(robot.joints, jacobian.T)
             if np.linalg.norm(column) < 1e-6 * sizes[0]]
    if still:
        yield Finding('look', 'tip', f'{", ".join(still)}: no motion of the tip at home')


def _targets(robot: Robot, kinematics: Kinematics) -> Iterator[Finding]:
    if robot.targets is None:
        try:
            low, high = default_targets(robot, kinematics)
        except ConfigError as error:
            yield Finding('look', 'targets', str(error).removeprefix(f'{robot.source}: '))
            return
        whose = 'none in the file; for a task that names none'
    else:
        low, high, whose = np.asarray(robot.targets.low), np.asarray(robot.targets.high), 'box'
    share, blocked = reached(robot, kinematics, low, high)
    yield Finding('fine' if share > 0.95 and not blocked else 'look' if share > 0.5 else 'wrong',
                  'targets', f'{whose}: {_point(low)} to {_point(high)}, the arm reaches '
                  f'{share:.0%} of it' + (f', {blocked:.0%} is in a zone' if blocked else ''))


def reached(robot: Robot, kinematics: Kinematics, low: Array, high: Array) -> tuple[float, float]:
    """Return the shares of a box, (3,) m to (3,) m, that the tip reaches and that are in zones."""
    axes = [np.linspace(*ends, GRID) for ends in zip(low, high)]
    targets = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    control = ResolvedRate(robot, kinematics)
    found = [control.solve(target, control.home, 0.005 * control.reach) is not None
             for target in targets]
    return float(np.mean(found)), float(np.mean(
        distance(robot.keep_out, targets) < robot.clearance))


def _collisions(robot: Robot) -> Iterator[Finding]:
    whole = robot.model_copy(update={
        'self_collision': True,
        'keep_out': [zone.model_copy(update={'protects': 'arm'}) for zone in robot.keep_out]})
    for about, tried in (('self_collision', whole.model_copy(update={'keep_out': []})),
                         ('keep_out', whole.model_copy(update={'self_collision': False}))):
        if about == 'keep_out' and not robot.keep_out:
            continue
        try:
            gaps = Cartesian(tried, JointLimits(tried)).least(np.asarray(robot.home))
        except ConfigError as error:
            on = about == 'self_collision' and robot.self_collision
            said = str(error).removeprefix(f'{robot.source}: ')
            if about == 'keep_out' and all(zone.protects == 'tip' for zone in robot.keep_out):
                said = f'with protects: arm this file would be refused: {said}'
            yield Finding('wrong' if on else 'look', about, said)
            continue
        near = min(gaps, key=lambda name: gaps[name], default=None)
        if near is None:
            yield Finding('look', about, 'nothing is watched: the model has no geoms for it')
        else:
            yield Finding('fine' if gaps[near] > robot.clearance else 'look', about,
                          f'at home the nearest are {near}, {1000 * gaps[near]:.0f} mm')
    if not robot.self_collision:
        yield Finding('look', 'self_collision', 'off: nothing keeps the links apart')
    if not robot.keep_out and robot.workspace is None:
        yield Finding('look', 'keep_out', 'no zones and no workspace: nothing keeps the arm off '
                      'the table, or what else is around it')


def _sensors(robot: Robot) -> Iterator[Finding]:
    if robot.velocity == 'derived':
        yield Finding('look', 'sensors', 'velocity: derived from positions, one tick late')
    if robot.effort == 'none':
        yield Finding('look', 'sensors', 'effort: none: torque cannot be a constraint')
    if not robot.constraints:
        yield Finding('look', 'constraints', 'none: no cost is measured or limited')


def _speeds(robot: Robot) -> Iterator[Finding]:
    limits, scale = robot.limits, robot.control.action_scale
    speed = scale * np.asarray(limits.velocity)
    ticks = speed / (np.asarray(limits.acceleration) * robot.period)
    worst = int(np.argmax(ticks))
    yield Finding('fine', 'action_scale', f'{scale:g}: |action| = 1 is {speed.min():.2g} to '
                  f'{speed.max():.2g} rad/s, reached from rest within {ticks[worst]:.2g} ticks '
                  f'({robot.joints[worst]} is the slowest)')


def _point(place: Array) -> str:
    return '[' + ', '.join(f'{value:.3f}' for value in place) + '] m'
