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

"""Simulated side of `stages`: a table with a slider, a lever, a button and a knob."""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from spaars_ros.tasks.base import Array
from spaars_ros.tasks.stages import DONE_AT
from spaars_ros.tasks.stages import STAGES

DETENT = 20.0
"""Factor on the stiction of a completed fixture, which latches."""
SLIDE, HINGE = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
BOX, CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
# Same values as in sim/models/panda_stages.xml: place; joint; geoms.
FIXTURES: dict[str, tuple[Any, dict[str, Any], list[dict[str, Any]]]] = {
    'slider': ((0.6, 0.1, 0.225),
               {'type': SLIDE, 'axis': [0, 1, 0], 'range': [0, 0.15], 'damping': 8,
                'armature': 0, 'frictionloss': 3},
               [{'type': BOX, 'size': [0.035, 0.012, 0.035]}]),
    'lever': ((0.45, 0.25, 0.15),
              {'type': HINGE, 'axis': [0, 1, 0], 'range': [0, 1], 'damping': 0.1,
               'frictionloss': 0.3, 'armature': 0.002},
              [{'type': BOX, 'pos': [-0.025, 0, 0.055], 'size': [0.01, 0.035, 0.06],
                'quat': [np.cos(-0.2133), 0, np.sin(-0.2133), 0]}]),
    'button': ((0.45, -0.12, 0.235),
               {'type': SLIDE, 'axis': [0, 0, -1], 'range': [0, 0.04], 'damping': 20,
                'armature': 0, 'frictionloss': 6},
               [{'type': CYLINDER, 'size': [0.03, 0.015, 0]}]),
    'knob': ((0.6, -0.22, 0.2),
             {'type': HINGE, 'axis': [0, 0, -1], 'range': [0, 1.7], 'damping': 0.1,
              'frictionloss': 0.2, 'armature': 0.002},
             [{'type': BOX, 'pos': [0, 0.05, 0.03], 'size': [0.012, 0.035, 0.03]},
              {'name': 'knob_disc', 'type': CYLINDER, 'size': [0.07, 0.01, 0]}]),
}
FRICTION = [0.3, 0.3, 0.005, 0.0001, 0.0001]


class StagesScene:
    """Table and fixtures; only the arm's geom `finger` touches the fixtures."""

    def __init__(self) -> None:
        self._done = np.zeros(len(STAGES), bool)
        self._stiction: Array | None = None

    def build(self, spec: Any) -> None:
        """Add the table and the fixtures; raises ValueError if the arm has no geom `finger`."""
        if not any(geom.name == 'finger' for geom in spec.geoms):
            raise ValueError("no geom 'finger', which is to touch the fixtures")
        spec.worldbody.add_geom(name='table', type=BOX, pos=[0.5, 0, 0.14],
                                size=[0.25, 0.45, 0.01], rgba=[0.55, 0.5, 0.45, 1],
                                contype=0, conaffinity=0)
        for name, (place, joint, geoms) in FIXTURES.items():
            body = spec.worldbody.add_body(name=name, pos=list(place), gravcomp=1)
            body.add_joint(name=name, limited=True, **joint)
            for geom in geoms:
                body.add_geom(**{'name': name, 'density': 1000, 'contype': 0, 'conaffinity': 0,
                                 'rgba': [0.85, 0.45, 0.15, 1], **geom})
            spec.add_pair(geomname1='finger', geomname2=name, condim=3, friction=FRICTION)

    def reset(self, model: Any, data: Any, rng: np.random.Generator) -> None:
        """Release all latched fixtures."""
        dofs = [model.joint(name).dofadr[0] for name in STAGES]
        if self._stiction is None:
            self._stiction = model.dof_frictionloss[dofs].copy()
        model.dof_frictionloss[dofs] = self._stiction
        self._done[:] = False

    def measure(self, model: Any, data: Any) -> Mapping[str, Array]:
        """Return stages (8,): joints (4) m, rad, m, rad, and which are done (4), 0 or 1."""
        joints = np.array([data.joint(name).qpos[0] for name in STAGES])
        for place in np.flatnonzero(~self._done & (joints >= DONE_AT)):
            self._done[place] = True
            model.dof_frictionloss[model.joint(STAGES[place]).dofadr[0]] *= DETENT
        return {'stages': np.concatenate((joints, self._done))}

    def actuate(self, model: Any, data: Any, channels: Mapping[str, float]) -> None:
        """Do nothing: the fixtures have no actuators."""
