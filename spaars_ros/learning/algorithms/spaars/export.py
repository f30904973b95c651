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

"""Export the policies of SPAARS (CVAE) as one ONNX graph, with golden outputs."""

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent
from spaars_ros.learning.core.policy_graph import PolicyGraph
from spaars_ros.learning.core.replay import Normaliser


def export_policy(agent: SpaarsAgent) -> bytes:
    """
    Return one ONNX graph that computes all network outputs of a control tick.

    Inputs: observation (batch, n) normalised, noise (batch, k) in latent units, trust (1,).
    Outputs: `OUTPUTS` of policy/runtime.py; the explored ones include the noise. It is one graph,
    not one per network, because a call of ONNX Runtime costs more than these networks.
    """
    if agent.floored:
        return _export_floored(agent)
    graph = PolicyGraph()
    o = 'observation'
    policy = agent.latent_policy
    twice = graph.pair(o, o)
    results = {'latent': graph.policy(policy, o)}
    noisy = graph.node('Add', results['latent'], 'noise')
    results['explored_latent'] = graph.clip(noisy, policy.bound)
    latents = graph.pair(results['latent'], results['explored_latent'])
    results['latent_action'], results['explored_action'] = graph.halves(
        graph.decoder(agent.decoder, twice, latents))
    results['raw_action'] = graph.trusted(graph.policy(agent.raw_policy, o),
                                          results['latent_action'])
    actions = graph.pair(results['latent_action'], results['raw_action'])
    results['q_latent'], results['q_raw'] = graph.halves(
        graph.critic(agent.critic, twice, actions))
    return graph.model(results, observation=policy.inputs, latent=policy.outputs,
                       critic=agent.critic)


def best_latent(graph: PolicyGraph, agent: SpaarsAgent, o: str, anchor: str) -> str:
    """Return the best latent (batch, k), as `SpaarsAgent.best_latent` does with all heads."""
    t = agent.training_file
    if not t.latent_candidates:
        return graph.policy(agent.latent_policy, o)
    middle = graph.constant(np.array([1], np.int64))
    centre, offsets = anchor, agent.offsets
    if t.self_imitation:
        centre, offsets = graph.policy(agent.latent_policy, o), agent.offsets[:-1]
    latents = graph.clip(graph.node('Add', graph.node('Unsqueeze', centre, middle),
                                    graph.constant(offsets)), t.latent_bound)
    if t.self_imitation:
        latents = graph.node('Concat', graph.node('Unsqueeze', anchor, middle), latents, axis=1)
    rows = graph.repeated(o, agent.anchor.inputs, t.latent_candidates)
    actions = graph.decoder(agent.decoder, rows, graph.flat(latents, t.latent_dim))
    values = graph.values_of(agent.critic, rows, actions, t.latent_candidates, agent.multipliers)
    none = np.zeros(t.latent_candidates, np.float32)
    return graph.best_of(latents, graph.lower_bounds(values, t.kappa), none)


def _export_floored(agent: SpaarsAgent) -> bytes:
    """Return the graph with the additional `FLOOR_OUTPUTS`; the policy server chooses."""
    graph = PolicyGraph()
    o, policy = 'observation', agent.anchor
    anchor = graph.policy(policy, o)
    latent = best_latent(graph, agent, o, anchor)
    noisy = [graph.clip(graph.node('Add', each, 'noise'), policy.bound)
             for each in (anchor, latent)]
    seen = graph.node('Concat', o, o, o, o, axis=0)
    decoded = graph.decoder(agent.decoder, seen,
                            graph.node('Concat', anchor, latent, *noisy, axis=0))
    plain, explored = graph.halves(decoded)
    results = {'latent': graph.node('Identity', latent),
               'anchor_latent': graph.node('Identity', anchor),
               'explored_anchor_latent': noisy[0], 'explored_latent': noisy[1]}
    results['anchor_action'], results['latent_action'] = graph.halves(plain)
    results['explored_anchor_action'], results['explored_action'] = graph.halves(explored)
    results['raw_action'] = graph.trusted(graph.policy(agent.raw_policy, o),
                                          results['latent_action'])
    for name, action in (('q_anchor', 'anchor_action'), ('q_latent', 'latent_action'),
                         ('q_raw', 'raw_action')):
        results[name] = graph.critic(agent.critic, o, results[action])
    return graph.model(results, observation=policy.inputs, latent=policy.outputs,
                       critic=agent.critic, floor=True)


def golden_outputs(agent: SpaarsAgent, normaliser: Normaliser, observations: NDArray[np.float32]
                   ) -> dict[str, NDArray[np.float32]]:
    """Return the golden outputs for observations (m, n) in physical units, by torch."""
    with torch.no_grad():
        o = torch.from_numpy(normaliser(observations))
        latent, floor = agent.latent_policy(o), {}
        if agent.floored:
            anchor = agent.anchor(o)
            latent, first, _ = agent.best_latent(agent.critic, o, agent.every_head)
            floor = {'anchor_latent': anchor.numpy(), 'anchor_action': first.numpy(),
                     'q_anchor': agent.critic(o, first).permute(1, 0, 2).numpy()}
        action = agent.decoder(o, latent)
        raw = agent.trusted(agent.raw_policy(o), action)
        return {**floor, 'observation': observations.astype(np.float32),
                'latent': latent.numpy(), 'latent_action': action.numpy(),
                'raw_action': raw.numpy(),
                'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}
