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

"""Checks on loading of a robot's model: its numbers, what moves the tip, and what is guarded."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from spaars_ros.robot.config import Robot
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.zones import PREFIX
from spaars_ros.robot.zones import zone_distance

if TYPE_CHECKING:
    from spaars_ros.robot.kinematics import Kinematics

LARGEST = 100.0
"""m; greatest coordinate in a robot's model, as in its file."""
PARTS = (('body', ('pos', 'quat')), ('jnt', ('pos', 'axis')), ('site', ('pos', 'quat')),
         ('geom', ('pos', 'quat')))
KINDS = {'body': mujoco.mjtObj.mjOBJ_BODY, 'jnt': mujoco.mjtObj.mjOBJ_JOINT,
         'site': mujoco.mjtObj.mjOBJ_SITE, 'geom': mujoco.mjtObj.mjOBJ_GEOM}
SLIDE = mujoco.mjtJoint.mjJNT_SLIDE

TURNS = 4.0 * np.pi + 0.1
"""rad; a hinge's limit beyond two turns is probably in degrees."""
FAST = 20.0
"""rad/s; a hinge's speed above it is probably in degrees per second."""
LONG = 10.0
"""m; a slide joint's limit beyond it is probably in millimetres."""


def check_numbers(robot: Robot, model: mujoco.MjModel) -> None:
    """
    Raise ConfigError where a number of the model is not finite or too large, by element.

    A comparison with NaN is false: a distance that is NaN would never be too small.
    """
    for kind, fields in PARTS:
        for field in fields:
            values = getattr(model, f'{kind}_{field}')
            bad = np.flatnonzero(~(np.abs(values) <= LARGEST).all(axis=1))
            if len(bad):
                raise ConfigError(
                    f'{robot.source}: model {robot.model_path}: {field} of '
                    f'{_named(model, kind, int(bad[0]))} is {values[bad[0]].tolist()}: expected '
                    f'finite numbers of at most {LARGEST:g} m')
    for geom in range(model.ngeom):
        if model.geom(geom).name.startswith(PREFIX):
            raise ConfigError(f'{robot.source}: model {robot.model_path}: '
                              f'{_named(model, "geom", geom)}: names that begin with {PREFIX} '
                              'are those of zones: rename it')
    for joint, address in enumerate(model.jnt_qposadr):
        zero, ends = model.qpos0[address], model.jnt_range[joint]
        if not np.isfinite([zero, *ends]).all():
            raise ConfigError(
                f'{robot.source}: model {robot.model_path}: {_named(model, "jnt", joint)} has '
                f'the range {ends.tolist()} and the reference {zero:g}: expected finite numbers')


def check_tip(robot: Robot, kinematics: 'Kinematics') -> Iterator[str]:
    """
    Yield a warning for each joint of the model that moves the tip, but is not listed.

    :raises ConfigError: no listed joint moves the tip, or an unlisted one without a range does
    """
    model, listed = kinematics.model, set(kinematics.joints)
    carries = _carriers(model, kinematics.tip_in_body()[0])
    if not any(int(model.jnt_bodyid[joint]) in carries for joint in listed):
        raise ConfigError(f'{robot.source}: tip: no joint of `joints` moves {robot.tip!r}: no '
                          'zone or workspace would limit the arm; name a site or body of its '
                          'last link')
    for index in range(model.njnt):
        if index in listed:
            continue
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, index) or f'number {index}'
        if int(model.jnt_bodyid[index]) not in carries:
            if not model.jnt_limited[index] and model.jnt_type[index] in (
                    SLIDE, mujoco.mjtJoint.mjJNT_HINGE):
                yield (f'joints: {name!r} of the model is not listed and has no range: zones and '
                       'links are guarded as if it stood where the model puts it')
        elif model.jnt_limited[index]:
            yield (f'joints: {name!r} of the model moves the tip, but is not listed: the tip is '
                   'guarded as if it stood where the model puts it; list it, or fix it in the '
                   'model')
        else:
            raise ConfigError(
                f'{robot.source}: joints: {name!r} of the model moves the tip, but is not listed '
                'and has no range: list it, or fix it in the model')


def check_guarded(robot: Robot, kinematics: 'Kinematics') -> Iterator[str]:
    """
    Yield a warning for each zone that the arm cannot reach, and for a tip far off the arm.

    :raises ConfigError: a zone protects the arm, whose model has no geoms
    """
    model, moves = kinematics.model, _moving(kinematics)
    geoms = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in moves]
    for zone in robot.keep_out:
        if zone.protects == 'arm' and not geoms:
            raise ConfigError(f'{robot.source}: keep_out.{zone.name}: protects: arm: the moving '
                              'links of the model have no geoms that it could protect: add them, '
                              'or protect the tip')
    if robot.self_collision and not geoms:
        yield ('self_collision: the moving links of the model have no geoms: nothing keeps them '
               'apart; write self_collision: false if that is meant')
    anchor, reach = kinematics.reach(robot)
    offset = float(np.linalg.norm(robot.tip_offset))
    if offset > reach - offset:
        yield (f'tip_offset: {offset:g} m, longer than the arm without it ({reach - offset:.2g} '
               'm): expected m')
    size = max((float(np.linalg.norm(model.geom_pos[geom]) + model.geom_rbound[geom])
                for geom in geoms), default=0.0)
    for zone in robot.keep_out:
        away = float(zone_distance(zone, anchor[None])[0])
        most = reach + size if zone.protects == 'arm' else reach
        if away > most + robot.clearance:
            yield (f'keep_out.{zone.name}: {away:.2f} m from the first joint, and the arm reaches '
                   f'{most:.2f} m: this zone limits nothing; expected m, in the base frame')


def check_units(robot: Robot, kinematics: 'Kinematics') -> Iterator[str]:
    """Yield a text for each joint whose limits seem to be in degrees or millimetres."""
    for name, joint, ends, speed in zip(robot.joints, kinematics.joints, robot.limits.position,
                                        robot.limits.velocity):
        far = max(abs(end) for end in ends)
        if kinematics.model.jnt_type[joint] == SLIDE:
            guess = 'mm' if far > LONG else ''
        else:
            guess = 'degrees' if far > TURNS or speed > FAST else ''
        if guess:
            yield (f'{name}: position within {far:g}, velocity {speed:g}: this looks like '
                   f'{guess}; expected rad and rad/s, of slides m and m/s')


def _named(model: mujoco.MjModel, kind: str, index: int) -> str:
    word = 'joint' if kind == 'jnt' else kind
    name = mujoco.mj_id2name(model, KINDS[kind], index)
    return f'{word} {name!r}' if name else f'{word} number {index}'


def _carriers(model: mujoco.MjModel, body: int) -> set[int]:
    """Return the bodies from one down to the base, without the world."""
    found = set()
    while body > 0:
        found.add(body)
        body = int(model.body_parentid[body])
    return found


def _moving(kinematics: 'Kinematics') -> set[int]:
    """Return the bodies that a listed joint moves."""
    model = kinematics.model
    own = {int(model.jnt_bodyid[joint]) for joint in kinematics.joints}
    return {body for body in range(1, model.nbody) if own & _carriers(model, body)}
