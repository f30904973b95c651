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

"""Scene of the page: the arm and its surroundings."""

from collections.abc import Sequence
from itertools import product
import threading

import mujoco
import numpy as np
import viser

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.robot.config import Box
from spaars_ros.robot.config import Cylinder
from spaars_ros.robot.config import Robot
from spaars_ros.robot.config import Sphere
from spaars_ros.robot.config import Workspace
from spaars_ros.robot.config import Zone
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.run.page.meshes import visual_parts

COLOURS = {Mode.LATENT: (60, 120, 230), Mode.RAW: (240, 140, 20), Mode.NONE: (150, 150, 150),
           Mode.HUMAN: (40, 170, 70)}
"""Colours of the tip's path by mode, RGB."""
INTERVENED = (220, 30, 30)
FORBIDDEN = (220, 60, 60)
TARGET = (20, 190, 90)


class Picture:
    """3D view of an arm with zones, workspace, target and the tip's last paths."""

    def __init__(self, server: viser.ViserServer, robot: Robot, *, base: str = '') -> None:
        """
        Build the scene.

        :param base: name of the parent node in the scene, '' for the root
        """
        self.robot = robot
        self.kinematics = Kinematics(robot)
        self._lock = threading.Lock()
        self._server = server
        self._base = base
        model = self.kinematics.model
        scene = server.scene
        scene.set_up_direction('+z')
        scene.add_grid(f'{base}/grid', width=4.0, height=4.0, cell_size=0.1)
        self._bodies: dict[int, viser.FrameHandle] = {}
        for number, part in enumerate(visual_parts(model)):
            if part.body not in self._bodies:
                self._bodies[part.body] = scene.add_frame(
                    f'{base}/arm/{part.body}', show_axes=False)
            scene.add_mesh_simple(
                f'{base}/arm/{part.body}/part{number}', part.vertices.astype(np.float32),
                part.faces, color=part.colour,
                opacity=part.opacity if part.opacity < 1.0 else None, flat_shading=False)
        for zone in robot.keep_out:
            self._add_zone(zone)
        if robot.workspace is not None:
            self._add_workspace(robot.workspace)
        self._target: viser.IcosphereHandle | None = None
        self._shown: Array | None = None
        self.show(np.asarray(robot.home))

    def _add_zone(self, zone: Zone) -> None:
        name, scene = f'{self._base}/zones/{zone.name}', self._server.scene
        centre = np.asarray(zone.centre)
        if isinstance(zone, Sphere):
            scene.add_icosphere(name, radius=zone.radius, color=FORBIDDEN, opacity=0.3,
                                position=centre)
        elif isinstance(zone, Cylinder):
            scene.add_cylinder(name, radius=zone.radius, height=zone.height, color=FORBIDDEN,
                               opacity=0.3, position=centre)
        else:
            assert isinstance(zone, Box)
            scene.add_box(name, dimensions=zone.size, color=FORBIDDEN, opacity=0.3,
                          position=centre)

    def _add_workspace(self, workspace: Workspace) -> None:
        ends = np.array([workspace.low, workspace.high])
        corners = [np.array([ends[i, 0], ends[j, 1], ends[k, 2]])
                   for i, j, k in product((0, 1), repeat=3)]
        edges = [(a, b) for number, a in enumerate(corners) for b in corners[number + 1:]
                 if np.count_nonzero(a != b) == 1]
        self._server.scene.add_line_segments(
            f'{self._base}/workspace', np.array(edges), colors=(120, 120, 120),
            thickness=1.5, thickness_units='screen')

    def show(self, position: Array) -> None:
        """Show the arm at joint positions (d,) in rad; an unchanged position sends nothing."""
        if self._shown is not None and np.array_equal(position, self._shown):
            return
        self._shown = position.copy()
        data = self.kinematics.data
        with self._lock:
            data.qpos[self.kinematics.qpos] = position
            mujoco.mj_kinematics(self.kinematics.model, data)
            poses = data.xpos.copy(), data.xquat.copy()
        for body, frame in self._bodies.items():
            frame.position, frame.wxyz = poses[0][body], poses[1][body]

    def tip_at(self, position: Array) -> Array:
        """Return the tip (3,) in m at joint positions (d,) in rad; thread-safe."""
        with self._lock:
            return self.kinematics.tip(position)

    def point_at(self, target: Array | None) -> None:
        """Show the target (3,) in m; None, or a value that is not finite, hides it."""
        if target is None or not np.isfinite(target).all():
            if self._target is not None:
                self._target.visible = False
            return
        if self._target is None:
            self._target = self._server.scene.add_icosphere(
                f'{self._base}/target', radius=0.012, color=TARGET, position=target)
        self._target.position, self._target.visible = target, True

    def trail(self, name: str, tips: Array, modes: Sequence[int], intervened: Sequence[bool],
              fade: float = 0.0) -> None:
        """
        Draw one path of the tip, coloured by mode, with marked filter interventions.

        :param name: name of the path; a path of the same name is replaced
        :param tips: tip positions (T, 3) in m
        :param modes: T values of `Mode`
        :param intervened: T flags, True where the filter changed the action
        :param fade: 0 to 1, blend towards white for older paths
        """
        scene = self._server.scene
        if len(tips) < 2:
            return
        colours = np.array([COLOURS[Mode(int(mode))] for mode in modes[:-1]], dtype=np.float64)
        colours = (colours + fade * (255.0 - colours)).astype(np.uint8)
        scene.add_line_segments(
            f'{self._base}/paths/{name}', np.stack([tips[:-1], tips[1:]], axis=1),
            np.repeat(colours[:, None, :], 2, axis=1), thickness=3.0, thickness_units='screen')
        marked = tips[np.asarray(intervened, dtype=bool)]
        # Adding a cloud replaces the one of that name. viser has no empty cloud: hide it.
        scene.add_point_cloud(
            f'{self._base}/paths/{name}/filter', marked if len(marked) else tips[:1],
            INTERVENED, point_size=0.006, point_shape='circle', precision='float32',
            visible=len(marked) > 0)
