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

"""URDF of the robot file's model for viewers, published as `robot_description`."""

from pathlib import Path
from xml.etree import ElementTree as Xml

import mujoco
import numpy as np

from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Array
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.links import link_names
from spaars_ros.robot.links import tip_name

Geom = mujoco.mjtGeom
Joint = mujoco.mjtJoint
LAST_VISUAL_GROUP = 2
"""MuJoCo's viewer shows groups 0 to 2; by convention, collision geoms are in 3 and above."""
SMALLEST = 1e-12
NOWHERE = np.zeros(3)
AS_IT_IS = np.array([1.0, 0.0, 0.0, 0.0])
KINDS = {Joint.mjJNT_HINGE: 'revolute', Joint.mjJNT_SLIDE: 'prismatic'}


def description_of(robot: Robot, kinematics: Kinematics) -> str:
    """
    Return the URDF of a robot: the model file itself if it is a URDF, otherwise made from MJCF.

    Links and joints are those of the model; the root link is its world and `tip` is the tool tip.
    The URDF shows the primitives and mesh files of the visual geoms. Masses are left out and
    effort limits are 0, since it is only for viewers.
    """
    if robot.model_path.suffix.lower() == '.urdf':
        return robot.model_path.read_text()
    return Writer(robot, kinematics).text()


class Writer:
    """Writer of the URDF of one model."""

    def __init__(self, robot: Robot, kinematics: Kinematics) -> None:
        self._robot, self._kinematics = robot, kinematics
        self._model = kinematics.model
        self._names = link_names(self._model)
        self._root = Xml.Element('robot', name=robot.name)
        self._meshes = mesh_files(robot.model_path)

    def text(self) -> str:
        """Return the URDF."""
        for body in range(self._model.nbody):
            self._link(self._names[body], body)
            if body:
                self._chain(body)
        body, place = self._kinematics.tip_in_body()
        tip = tip_name(self._model)
        self._link(tip)
        self._joint(f'to_{tip}', 'fixed', self._names[body], tip, place,
                    self._kinematics.tip_turn())
        Xml.indent(self._root)
        return '<?xml version="1.0"?>\n' + Xml.tostring(self._root, encoding='unicode') + '\n'

    def _link(self, name: str, body: int | None = None) -> None:
        link = Xml.SubElement(self._root, 'link', name=name)
        if body is None:
            return
        geoms = np.flatnonzero(self._model.geom_bodyid == body)
        shown = geoms[self._model.geom_group[geoms] <= LAST_VISUAL_GROUP]
        for geom in (shown if len(shown) else geoms).tolist():
            self._visuals(link, geom)

    def _chain(self, body: int) -> None:
        """Write the joints between a body and its parent, one after another."""
        model = self._model
        name, parent = self._names[body], self._names[int(model.body_parentid[body])]
        place, turn = model.body_pos[body].copy(), model.body_quat[body].copy()
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        for joint in range(first, first + count):
            kind = KINDS.get(Joint(model.jnt_type[joint]))
            if kind is None:
                continue  # a ball or free joint is not of an arm: it keeps its pose
            anchor, axis = model.jnt_pos[joint], model.jnt_axis[joint]
            zero = float(model.qpos0[model.jnt_qposadr[joint]])
            last = joint == first + count - 1
            direct = last and not anchor.any()
            child = name if direct else f'{name}_of_{model.joint(joint).name or joint}'
            # The joint's frame: at the anchor, with the joint at zero.
            place, turn = move_frame(place, turn, anchor, AS_IT_IS)
            back = np.zeros(4)
            if kind == 'revolute':
                mujoco.mju_axisAngle2Quat(back, axis, -zero)
                place, turn = move_frame(place, turn, NOWHERE, back)
            else:
                place, turn = move_frame(place, turn, -zero * axis, AS_IT_IS)
            self._joint(model.joint(joint).name or f'joint{joint}', kind, parent, child, place,
                        turn, joint)
            if direct:
                return
            self._link(child)
            parent, place, turn = child, -anchor, AS_IT_IS
        self._joint(f'to_{name}', 'fixed', parent, name, place, turn)

    def _joint(self, name: str, kind: str, parent: str, child: str, place: Array, turn: Array,
               joint: int | None = None) -> None:
        made = Xml.SubElement(self._root, 'joint', name=name, type=kind)
        _origin(made, place, turn)
        Xml.SubElement(made, 'parent', link=parent)
        Xml.SubElement(made, 'child', link=child)
        if joint is None:
            return
        Xml.SubElement(made, 'axis', xyz=_numbers(self._model.jnt_axis[joint]))
        robot, known = self._robot, self._kinematics.joints
        if joint in known:
            low, high = robot.limits.position[known.index(joint)]
            fast = robot.limits.velocity[known.index(joint)]
        else:
            low, high = self._model.jnt_range[joint] if self._model.jnt_limited[joint] \
                else (-np.pi, np.pi)
            fast = 1.0
        Xml.SubElement(made, 'limit', lower=f'{low:.9g}', upper=f'{high:.9g}',
                       velocity=f'{fast:.9g}', effort='0')

    def _visuals(self, link: Xml.Element, geom: int) -> None:
        model = self._model
        material = model.geom_matid[geom]
        rgba = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
        if rgba[3] <= 0.0:
            return
        for place, turn, shape, sizes in self._shapes(geom):
            visual = Xml.SubElement(link, 'visual')
            _origin(visual, *move_frame(model.geom_pos[geom], model.geom_quat[geom], place, turn))
            Xml.SubElement(Xml.SubElement(visual, 'geometry'), shape, attrib=sizes)
            Xml.SubElement(Xml.SubElement(visual, 'material', name=f'of_{geom}'), 'color',
                           rgba=_numbers(rgba))

    def _shapes(self, geom: int) -> list[tuple[Array, Array, str, dict[str, str]]]:
        """Return place, rotation, name and sizes of the shapes that form a geom, in its frame."""
        model = self._model
        kind, size = Geom(model.geom_type[geom]), model.geom_size[geom]
        if kind == Geom.mjGEOM_BOX:
            return [(NOWHERE, AS_IT_IS, 'box', {'size': _numbers(2.0 * size)})]
        if kind in (Geom.mjGEOM_SPHERE, Geom.mjGEOM_ELLIPSOID):
            return [(NOWHERE, AS_IT_IS, 'sphere', {'radius': f'{size.max():.9g}'})]
        if kind in (Geom.mjGEOM_CYLINDER, Geom.mjGEOM_CAPSULE):
            radius = {'radius': f'{size[0]:.9g}'}
            found = [(NOWHERE, AS_IT_IS, 'cylinder',
                      {**radius, 'length': f'{2.0 * size[1]:.9g}'})]
            if kind == Geom.mjGEOM_CAPSULE:
                found += [(np.array([0.0, 0.0, end * size[1]]), AS_IT_IS, 'sphere', radius)
                          for end in (-1.0, 1.0)]
            return found
        if kind == Geom.mjGEOM_MESH:
            mesh = int(model.geom_dataid[geom])
            file = self._meshes.get(model.mesh(mesh).name)
            if file is not None:
                # MuJoCo moves a mesh to its inertia frame; the file is unchanged.
                place, turn = inverse(model.mesh_pos[mesh], model.mesh_quat[mesh])
                return [(place, turn, 'mesh', {'filename': file.as_uri(),
                                               'scale': _numbers(model.mesh_scale[mesh])})]
        return []  # planes and height fields are not parts of an arm


def mesh_files(model: Path) -> dict[str, Path]:
    """Return the mesh files of a model by mesh name, if they exist."""
    spec = mujoco.MjSpec.from_file(str(model))
    folder = model.parent / (spec.meshdir or '')
    found = {mesh.name or Path(mesh.file).stem: folder / mesh.file
             for mesh in spec.meshes if mesh.file}
    return {name: path.resolve() for name, path in found.items() if path.is_file()}


def move_frame(place: Array, turn: Array, by: Array, turned: Array) -> tuple[Array, Array]:
    """Return the pose (3,) m, (4,) wxyz of the frame (by, turned) in the frame (place, turn)."""
    ahead, both = np.zeros(3), np.zeros(4)
    mujoco.mju_rotVecQuat(ahead, np.asarray(by, dtype=np.float64), turn)
    mujoco.mju_mulQuat(both, turn, turned)
    return place + ahead, both


def inverse(place: Array, turn: Array) -> tuple[Array, Array]:
    """Return the inverse of a pose (3,) m, (4,) wxyz: the pose of the parent in the frame."""
    back, away = np.zeros(3), np.zeros(4)
    mujoco.mju_negPose(back, away, place, turn)
    return back, away


def _numbers(values: Array) -> str:
    # Neither -0 nor numbers so small that a parser takes them as out of range.
    return ' '.join(f'{0.0 if abs(value) < SMALLEST else value:.9g}' for value in values)


def _origin(element: Xml.Element, place: Array, turn: Array) -> None:
    frame = np.zeros(9)
    mujoco.mju_quat2Mat(frame, turn)
    m = frame.reshape(3, 3)
    # Fixed axes, first about x: R = Rz Ry Rx.
    pitch = np.arctan2(-m[2, 0], np.hypot(m[0, 0], m[1, 0]))
    if abs(np.cos(pitch)) > 1e-9:
        roll, yaw = np.arctan2(m[2, 1], m[2, 2]), np.arctan2(m[1, 0], m[0, 0])
    else:
        roll, yaw = np.arctan2(-m[1, 2], m[1, 1]), 0.0
    Xml.SubElement(element, 'origin', xyz=_numbers(place),
                   rpy=_numbers(np.array([roll, pitch, yaw])))
