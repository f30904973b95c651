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

"""Bundles from an agent, and an agent's tensors inside a bundle."""

from datetime import datetime
from datetime import timezone
import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.config import Robot
from spaars_ros.learning.agent import SpaarsAgent
from spaars_ros.learning.export import export_policy
from spaars_ros.learning.replay import Normaliser
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import Exploration
from spaars_ros.policy.bundle import Manifest
from spaars_ros.sim.tasks import ReachTask

TENSORS = 'learner.npz'
STATE = 'learner.json'


def make_bundle(agent: SpaarsAgent, normaliser: Normaliser, robot: Robot, task: ReachTask,
                canary_observations: NDArray[Any], *, version: int, parent: int, phase: str,
                extras: dict[str, bytes] | None = None) -> Bundle:
    """Return the bundle of an agent's present policies, with canaries (m, n) computed by torch."""
    t = agent.training_file
    mode, trust = t.mode, agent.trust
    if mode == 'raw-only':
        trust = 2.0
    elif mode == 'hard-switch':
        mode = 'raw-only' if agent.gate_open else 'latent-only'
    manifest = Manifest(
        robot=robot.name, task=task.settings.name, joints=robot.joints,
        observation_dim=task.observation_dim, latent_dim=t.latent_dim,
        action_dim=len(robot.joints), action_scale=robot.control.action_scale,
        observation_mean=normaliser.mean.tolist(), observation_std=normaliser.std.tolist(),
        latent_bound=t.latent_bound, mode=mode, gate_open=agent.gate_open, margin=agent.margin,
        kappa=t.kappa, trust=trust,
        exploration=Exploration(latent=t.explore_latent, raw=agent.explore_raw,
                                correlation=t.explore_correlation),
        multipliers=agent.multipliers.tolist(), algorithm=t.algorithm, phase=phase,
        version=version, parent_version=parent,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    with torch.no_grad():
        o = torch.from_numpy(normaliser(canary_observations))
        latent = agent.latent_policy(o)
        action = agent.decoder(o, latent)
        raw = agent.trusted(agent.raw_policy(o), action)
        canaries = {'observation': canary_observations.astype(np.float32),
                    'latent': latent.numpy(), 'latent_action': action.numpy(),
                    'raw_action': raw.numpy(),
                    'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                    'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}
    graphs = {'policy': export_policy(agent)}
    return Bundle(manifest, graphs, canaries, extras)


def pack(agent: SpaarsAgent, state: dict[str, Any]) -> dict[str, bytes]:
    """Return the extras from which `unpack` restores an agent."""
    buffer = io.BytesIO()
    np.savez(buffer, **agent.arrays())  # type: ignore[arg-type]
    return {TENSORS: buffer.getvalue(), STATE: json.dumps(state).encode()}


def unpack(bundle: Bundle, agent: SpaarsAgent, *, optimisers: bool) -> dict[str, Any]:
    """Load a bundle's learner tensors into an agent, strictly; return the state."""
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
