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

"""Generator of a first robot file from a model, with marks for what a person has to look up."""

from dataclasses import dataclass
from pathlib import Path
import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np

from spaars_ros.robot.config import ConfigError

NAMES = ('tool', 'tcp', 'tip', 'pinch', 'grip', 'attachment', 'ee', 'end_effector')
"""Parts of usual names of tool tip sites; the first match is used."""
SPEED, FORCE = 1.0, 50.0
"""rad/s or m/s; N m or N: used if the model gives no limit."""
FREE = 3.1416
"""rad; position limit of a hinge without a range."""
MOVES = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


@dataclass
class _Joint:
    """Entries of the file for one joint; `unknown` lists those that a person has to look up."""

    name: str
    position: tuple[float, float]
    velocity: float
    torque: float
    home: float
    unknown: list[str]


def new_robot_file(model_file: Path, *, name: str = '', tip: str = '') -> str:
    """
    Return the text of a robot file for an MJCF or URDF file.

    :param name: of the robot; '': name of the file
    :param tip: site or body; '': the likeliest site, otherwise the last body of the longest chain
    :raises ConfigError: the model cannot be read, the tip is unknown, or no joint moves it
    """
    try:
        model = mujoco.MjModel.from_xml_path(str(model_file))
    except (ValueError, OSError) as error:
        raise ConfigError(f'{model_file}: {" ".join(str(error).split())}') from None
    tip, body = _tip_of(model, tip, model_file)
    chain: list[int] = []
    while body > 0:
        first = int(model.body_jntadr[body])
        chain += range(first + int(model.body_jntnum[body]) - 1, first - 1, -1)
        body = int(model.body_parentid[body])
    numbers = [number for number in reversed(chain) if model.jnt_type[number] in MOVES]
    if not numbers:
        raise ConfigError(f'{model_file}: no hinge or slide joint moves {tip!r}: give another '
                          'with --tip')
    kept = _urdf_limits(model_file)
    return _text(model_file, name or model_file.stem, tip,
                 [_joint(model, number, kept) for number in numbers])


def _tip_of(model: mujoco.MjModel, tip: str, where: Path) -> tuple[str, int]:
    """Return the name of the tip and the index of its body; raises ConfigError."""
    sites = {mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_SITE, index): index
             for index in range(model.nsite)}
    bodies = {mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, index): index
              for index in range(1, model.nbody)}
    if tip:
        if tip not in sites and tip not in bodies:
            raise ConfigError(f'{where}: no site or body {tip!r}; sites: '
                              f'{", ".join(filter(None, sites)) or "none"}')
        return tip, int(model.site_bodyid[sites[tip]]) if tip in sites else bodies[tip]
    for part in NAMES:
        for site, index in sites.items():
            if site and part in site.lower():
                return site, int(model.site_bodyid[index])
    depths = np.zeros(model.nbody, dtype=int)
    for index in range(1, model.nbody):
        depths[index] = depths[model.body_parentid[index]] + 1
    named = [index for each, index in bodies.items() if each]
    if not named:
        raise ConfigError(f'{where}: no named site or body: name one in the model')
    last = max(named, key=lambda index: int(depths[index]))
    return str(mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, last)), last


def _joint(model: mujoco.MjModel, number: int, kept: dict[str, tuple[float, float]]) -> _Joint:
    name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, number)
    if not name:
        raise ConfigError(f'joint number {number} of the model has no name: give it one')
    unknown = []
    if model.jnt_limited[number]:
        low, high = (float(end) for end in model.jnt_range[number])
    else:
        low, high = -FREE, FREE
        unknown.append('position')
    velocity, torque = kept.get(name, (0.0, 0.0))
    if not velocity:
        velocity = SPEED
        unknown.append('velocity')
    torque = torque or torque_of(model, number) or 0.0
    if not torque:
        torque = FORCE
        unknown.append('torque')
    place = int(model.jnt_qposadr[number])
    home = float(model.key_qpos[0, place]) if model.nkey else float(model.qpos0[place])
    if not model.nkey and not low <= home <= high:
        home = (low + high) / 2
    low, high = _rounded(low), _rounded(high)
    return _Joint(name, (low, high), velocity, torque,
                  min(max(round(home, 4), low), high), unknown)


def _rounded(value: float) -> float:
    """Return a limit rounded towards zero, so that it is not wider than the model's."""
    return float(np.trunc(value * 1e4) / 1e4)


def torque_of(model: mujoco.MjModel, number: int) -> float | None:
    """Return the greatest torque (N m) or force (N) of a joint in the model, or None."""
    if model.jnt_actfrclimited[number]:
        return float(np.abs(model.jnt_actfrcrange[number]).max())
    for actuator in range(model.nu):
        if model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT \
                and model.actuator_trnid[actuator, 0] == number \
                and model.actuator_forcelimited[actuator]:
            return float(np.abs(model.actuator_forcerange[actuator]).max()
                         * abs(model.actuator_gear[actuator, 0]))
    return None


def _urdf_limits(path: Path) -> dict[str, tuple[float, float]]:
    """Return joint -> (velocity, effort) limits of a URDF, which MuJoCo drops; {} for MJCF."""
    root = ElementTree.parse(path).getroot()
    if root.tag != 'robot':
        return {}
    found = {}
    for joint in root.iter('joint'):
        limit = joint.find('limit')
        if limit is not None and joint.get('name'):
            found[str(joint.get('name'))] = (float(limit.get('velocity', 0.0)),
                                             float(limit.get('effort', 0.0)))
    return found


def _text(model_file: Path, name: str, tip: str, joints: list[_Joint]) -> str:
    def row(values: list[str]) -> str:
        return '[' + ', '.join(values) + ']'

    def look_up(key: str) -> str:
        names = [joint.name for joint in joints if key in joint.unknown]
        return f'    # LOOK UP: the model does not say it of {", ".join(names)}' if names else ''
    ends = row([f'[{joint.position[0]:g}, {joint.position[1]:g}]' for joint in joints])
    lines = [
        f'# Written by `spaars robot new` from {model_file.name}. Angles in rad, lengths in m.',
        '# Look up what the maker publishes, above all velocity, then `spaars robot check FILE`.',
        f'name: {name}', f'model: {model_file.resolve()}',
        f'joints: {row([joint.name for joint in joints])}', f'tip: {tip}',
        f'home: {row([f"{joint.home:g}" for joint in joints])}', '', 'limits:',
        f'  position: {ends}' + look_up('position'),
        f'  velocity: {row([f"{joint.velocity:g}" for joint in joints])}' + look_up('velocity'),
        f'  torque: {row([f"{joint.torque:g}" for joint in joints])}' + look_up('torque'),
        '  # acceleration and jerk: by joint speed, unless you give them', '',
        'control:', '  rate: 20.0                # Hz',
        '  command_interface: forward_velocity     # or forward_position, joint_trajectory',
        '  action_scale: 0.25        # action 1 is this share of each velocity limit', '',
        '# What the arm, or its tip, keeps out of: tables, walls, posts; base frame.',
        'keep_out: []', 'self_collision: true        # false where the geoms overlap as modelled',
        '', 'constraints:',
        '  - {name: cost, terms: [zone_margin, tip_speed, torque], limit: 5.0}', '']
    return '\n'.join(lines)
