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

"""Visual geometry of a MuJoCo model as triangle meshes, one per body and colour."""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray
import trimesh

Array = NDArray[np.float64]
Faces = NDArray[np.int32]
Geom = mujoco.mjtGeom
LAST_VISUAL_GROUP = 2
"""MuJoCo's viewer shows groups 0 to 2; by convention, collision geoms are in 3 and above."""


@dataclass(frozen=True)
class Part:
    """Mesh of one body in one colour."""

    body: int
    colour: tuple[int, int, int]
    opacity: float
    vertices: Array
    """(n, 3) in m, body frame."""
    faces: Faces
    """(m, 3), indices into `vertices`."""


def _shape(model: mujoco.MjModel, geom: int) -> tuple[Array, Faces] | None:
    """Return vertices (n, 3) in m, geom frame, and faces (m, 3); None for other geom types."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == Geom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        return (np.asarray(model.mesh_vert[first:first + count], dtype=np.float64),
                np.asarray(model.mesh_face[face:face + faces], dtype=np.int32))
    if kind == Geom.mjGEOM_SPHERE:
        made = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    elif kind == Geom.mjGEOM_ELLIPSOID:
        made = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
        made.apply_scale(size)
    elif kind == Geom.mjGEOM_CAPSULE:
        made = trimesh.creation.capsule(height=2 * size[1], radius=size[0], count=[16, 16])
        made.apply_translation([0.0, 0.0, -made.bounds.mean(axis=0)[2]])
    elif kind == Geom.mjGEOM_CYLINDER:
        made = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
    elif kind == Geom.mjGEOM_BOX:
        made = trimesh.creation.box(extents=2 * size)
    else:
        return None  # planes, height fields and distance fields are not parts of an arm
    return np.asarray(made.vertices), np.asarray(made.faces, dtype=np.int32)


def _rgba(model: mujoco.MjModel, geom: int) -> Array:
    material = model.geom_matid[geom]
    return np.asarray(model.geom_rgba[geom] if material < 0 else model.mat_rgba[material])


def visual_parts(model: mujoco.MjModel) -> list[Part]:
    """
    Return the visual meshes of a model.

    These are the geoms in the visual groups, or all geoms if those groups are empty.
    """
    shown = np.flatnonzero(model.geom_group <= LAST_VISUAL_GROUP)
    chosen = shown if len(shown) else np.arange(model.ngeom)
    found: dict[tuple[int, tuple[int, ...], float], list[tuple[Array, Faces]]] = {}
    for geom in chosen.tolist():
        rgba = _rgba(model, geom)
        shape = _shape(model, geom) if rgba[3] > 0.0 else None
        if shape is None:
            continue
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        vertices = shape[0] @ turn.reshape(3, 3).T + model.geom_pos[geom]
        red, green, blue = (int(round(255 * value)) for value in rgba[:3])
        key = (int(model.geom_bodyid[geom]), (red, green, blue), float(rgba[3]))
        found.setdefault(key, []).append((vertices, shape[1]))
    return [Part(body, (colour[0], colour[1], colour[2]), opacity, *_joined(shapes))
            for (body, colour, opacity), shapes in found.items()]


def _joined(shapes: list[tuple[Array, Faces]]) -> tuple[Array, Faces]:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in shapes)])
    return (np.concatenate([vertices for vertices, _ in shapes]),
            np.concatenate([faces + start for (_, faces), start in zip(shapes, starts)]
                           ).astype(np.int32))
