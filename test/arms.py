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

"""Various arms for tests, as models and robot files; no package is needed."""

from pathlib import Path
from typing import Any

import yaml

AXES = {'z': '0 0 1', 'y': '0 1 0', 'x': '1 0 0'}
POST = {'name': 'post', 'shape': 'cylinder', 'radius': 0.06, 'height': 0.8}


def write_arm(folder: Path, *, axes: str, links: list[float], rail: float = 0.0,
              home: list[float], turn: float = 0.0, **fields: Any) -> Path:
    """
    Write arm.xml and arm.yaml; return the path of arm.yaml.

    :param axes: axes of the hinges, starting at the base, one letter each
    :param links: lengths in m after each hinge
    :param rail: half the range in m of a slide joint along y below the arm; 0: none
    :param home: home position, rad; m for the rail
    :param turn: rotation of the base about z in degrees
    :param fields: further fields of the robot file
    """
    names = [f'hinge{index}' for index in range(len(axes))]
    bodies = ''
    for index, (axis, length) in enumerate(zip(axes, links)):
        place = '0 0 0.1' if index == 0 else f'0 0 {links[index - 1]}'
        bodies += (f'<body name="link{index}" pos="{place}"><joint name="{names[index]}" '
                   f'axis="{AXES[axis]}"/><geom type="capsule" size="0.02" mass="1" contype="0" '
                   f'conaffinity="0" fromto="0 0 0 0 0 {length}"/>')
    bodies += f'<site name="tip" pos="0 0 {links[-1]}"/>' + '</body>' * len(axes)
    if rail:
        names.insert(0, 'rail')
        bodies = ('<body name="carriage"><joint name="rail" type="slide" axis="0 1 0"/>'
                  f'<geom type="box" size="0.05 0.05 0.05" mass="5" contype="0" '
                  f'conaffinity="0"/>{bodies}</body>')
    (folder / 'arm.xml').write_text(
        '<mujoco><compiler angle="radian"/><worldbody><body name="base" '
        f'euler="0 0 {turn}">{bodies}</body></worldbody></mujoco>')
    position = [[-rail, rail]] * bool(rail) + [[-3.1, 3.1]] * len(axes)
    velocity = [0.5] * bool(rail) + [2.0] * len(axes)
    content = {
        'name': 'arm', 'model': 'arm.xml', 'joints': names, 'tip': 'tip', 'home': home,
        'limits': {'position': position, 'velocity': velocity,
                   'torque': [500.0] * len(names)},
        'self_collision': False, **fields}
    (folder / 'arm.yaml').write_text(yaml.safe_dump(content))
    return folder / 'arm.yaml'


def five_joints(folder: Path, **fields: Any) -> Path:
    """Write a small arm with five joints, 0.4 m long."""
    return write_arm(folder, axes='zyyyz', links=[0.05, 0.12, 0.12, 0.06, 0.05],
                     home=[0.0, 0.5, 1.2, 0.6, 0.0], **fields)


def backwards(folder: Path, **fields: Any) -> Path:
    """Write an arm with six joints that faces -x, 0.9 m long."""
    return write_arm(folder, axes='zyyyzy', links=[0.15, 0.35, 0.3, 0.1, 0.08, 0.08],
                     home=[3.0, 0.4, 1.4, 0.9, 0.0, 0.0], **fields)


def on_a_rail(folder: Path, **fields: Any) -> Path:
    """Write an arm with six joints on a linear axis."""
    return write_arm(folder, axes='zyyyzy', links=[0.15, 0.35, 0.3, 0.1, 0.08, 0.08], rail=0.4,
                     home=[0.0, 0.0, 0.4, 1.4, 0.9, 0.0, 0.0], **fields)
