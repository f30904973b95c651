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

"""Export the policy of SPAR as an ONNX graph, with golden outputs."""

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.learning.algorithms.spar.spar_agent import SparAgent
from spaars_ros.learning.core.policy_graph import PolicyGraph
from spaars_ros.learning.core.replay import Normaliser


def export_spar(agent: SparAgent) -> bytes:
    """
    Return the graph of SPAR, with the inputs and outputs of the SPAARS graph.

    latent = h(s) of SPAR-PROJ, 0 for SPAR-MLP; latent_action = clip(a_b + g(s, a_b, latent));
    raw_action = clip(a_b + phi tanh(.)) of SPAR-MLP. docs/concepts/spar.md (reconstructed).
    """
    graph = PolicyGraph()
    o = 'observation'
    policy = agent.latent_policy
    twice = graph.pair(o, o)
    latent = graph.policy(policy, o)
    if agent.projection == 'mlp':
        latent = graph.node('Mul', latent, graph.number(0.0))
    results = {'latent': latent}
    results['explored_latent'] = graph.clip(graph.node('Add', latent, 'noise'), policy.bound)
    base = graph.policy(agent.base, o)
    bases = graph.pair(base, base)
    latents = graph.pair(latent, results['explored_latent'])
    seen = graph.node('Concat', twice, bases, latents, axis=1)
    residuals = graph.mlp(agent.residual_decoder.net, seen)
    results['latent_action'], results['explored_action'] = graph.halves(
        graph.clip(graph.node('Add', bases, residuals), 1.0))
    free = graph.node('Add', base, graph.policy(agent.residual_policy, o))
    results['raw_action'] = graph.trusted(free, results['latent_action'])
    actions = graph.pair(results['latent_action'], results['raw_action'])
    results['q_latent'], results['q_raw'] = graph.halves(
        graph.critic(agent.critic, twice, actions))
    return graph.model(results, observation=policy.inputs, latent=policy.outputs,
                       critic=agent.critic)


def golden_outputs(agent: SparAgent, normaliser: Normaliser, observations: NDArray[np.float32]
                   ) -> dict[str, NDArray[np.float32]]:
    """Return the golden outputs for observations (m, n) in physical units, by torch."""
    with torch.no_grad():
        o = torch.from_numpy(normaliser(observations))
        latent = agent.latent_policy(o) * float(agent.projection == 'proj')
        action, raw = agent.decoded(o, latent), agent.raw_action(o)
        return {'observation': observations.astype(np.float32),
                'latent': latent.numpy(), 'latent_action': action.numpy(),
                'raw_action': raw.numpy(),
                'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}
