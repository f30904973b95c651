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

"""Create bundles of an algorithm, and store and load its tensors in a bundle."""

from datetime import datetime
from datetime import timezone
import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.learning.core.deployable import Deployable
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import Manifest
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of
from spaars_ros.tasks.base import Task

TENSORS = 'learner.npz'
STATE = 'learner.json'
UNMEASURED = 'bc_error'
"""Name of the tensor that is infinite until an update has measured it."""


def make_bundle(algorithm: Deployable, robot: Robot, task: Task,
                golden_observations: NDArray[Any], *, version: int, parent: int, phase: str,
                extras: dict[str, bytes] | None = None) -> Bundle:
    """
    Return the bundle of an algorithm's present policies.

    :param golden_observations: (m, n) physical units, for the golden outputs
    :param version: version number of the bundle
    :param parent: version number of the preceding bundle, -1 for none
    :param phase: 'offline' or one of `PHASES`
    :param extras: additional parts, such as the learner's tensors
    """
    normaliser = algorithm.normaliser
    manifest = Manifest(
        robot=robot.name, task=task.name, joints=robot.joints,
        observation_dim=task.observation_dim, latent_dim=algorithm.latent_dim,
        action_dim=task.spec.action_dim, observation_terms=task.spec.widths,
        action=task.spec.action_text, encoders=task.spec.encoders,
        action_scale=robot.control.action_scale,
        observation_mean=normaliser.mean.tolist(), observation_std=normaliser.std.tolist(),
        multipliers=algorithm.multipliers.tolist(), algorithm=algorithm.training.algorithm,
        phase=phase, version=version, parent_version=parent,
        contract=contract_of(robot, task.observation_names),
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'), **algorithm.manifest())
    golden_outputs = algorithm.golden_outputs(golden_observations)
    return Bundle(manifest, {'policy': algorithm.graph()}, golden_outputs, extras)


def pack(agent: TrainableModule, state: dict[str, Any]) -> dict[str, bytes]:
    """Return the extras of a bundle from which `unpack` restores agent and state."""
    buffer = io.BytesIO()
    np.savez(buffer, **agent.arrays())  # type: ignore[arg-type]
    return {TENSORS: buffer.getvalue(), STATE: json.dumps(state).encode()}


def unpack(bundle: Bundle, agent: TrainableModule, *, optimisers: bool) -> dict[str, Any]:
    """
    Load a bundle's learner tensors into an agent, strictly; return the state.

    :raises BundleError: the bundle has no learner tensors, or they do not fit
    """
    if TENSORS not in bundle.extras or STATE not in bundle.extras:
        raise BundleError('missing_part', 'this bundle can be run but not fine-tuned: it carries '
                                          'no learner tensors')
    with np.load(io.BytesIO(bundle.extras[TENSORS]), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    try:
        agent.load_arrays(arrays, optimisers)
    except RuntimeError as error:
        text = ' '.join(str(error).split())
        raise BundleError('wrong_shape', f'learner tensors: {text}') from None
    state: dict[str, Any] = json.loads(bundle.extras[STATE])
    return state


def not_finite(bundle: Bundle) -> str:
    """Return the name of a non-finite learner tensor, or ''; `UNMEASURED` may be infinite."""
    if TENSORS not in bundle.extras:
        return ''
    with np.load(io.BytesIO(bundle.extras[TENSORS]), allow_pickle=False) as archive:
        return next((name for name in archive.files
                     if archive[name].dtype.kind == 'f' and not np.isfinite(archive[name]).all()
                     and not (name.endswith(UNMEASURED) and np.isposinf(archive[name]).all())),
                    '')
