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

"""Links of the robot as frames for viewers: names, parents and poses."""

from dataclasses import dataclass

import mujoco
import numpy as np

from spaars_ros.robot.kinematics import Array
from spaars_ros.robot.kinematics import Kinematics

ROOTS = ('base', 'world', 'model_world')
"""
Candidate names of the world frame, also in twists of teleop; the first that no body has is used.
"""


@dataclass(frozen=True)
class Transform:
    """Pose of a frame in its parent frame."""

    parent: str
    child: str
    position: Array
    """(3,) m."""
    turn: Array
    """(4,) unit quaternion, wxyz."""


def link_names(model: mujoco.MjModel) -> list[str]:
    """Return the frame name of each body, the world's first; `body<n>` for one without."""
    bodies = [model.body(body).name or f'body{body}' for body in range(1, model.nbody)]
    return [next(name for name in ROOTS if name not in bodies), *bodies]


def tip_name(model: mujoco.MjModel) -> str:
    """Return the frame name of the tool tip."""
    return 'tip' if 'tip' not in link_names(model) else 'tool_tip_point'


class Links:
    """
    Pose of each link at given joint positions.

    :param kinematics: for the exclusive use of this object, since its data are changed
    """

    def __init__(self, kinematics: Kinematics) -> None:
        self._kinematics = kinematics
        self._names = link_names(kinematics.model)
        body, place = kinematics.tip_in_body()
        self._tip = Transform(self._names[body], tip_name(kinematics.model), place,
                              kinematics.tip_turn())

    def at(self, position: Array) -> list[Transform]:
        """Return the pose of each link in its parent at joint positions (d,) rad, the tip last."""
        self._kinematics.tip(position)
        model, data = self._kinematics.model, self._kinematics.data
        found = []
        for body in range(1, model.nbody):
            parent = int(model.body_parentid[body])
            turn, away = np.zeros(4), np.zeros(4)
            mujoco.mju_negQuat(away, data.xquat[parent])
            mujoco.mju_mulQuat(turn, away, data.xquat[body])
            place = data.xmat[parent].reshape(3, 3).T @ (data.xpos[body] - data.xpos[parent])
            found.append(Transform(self._names[parent], self._names[body], place, turn))
        return [*found, self._tip]
