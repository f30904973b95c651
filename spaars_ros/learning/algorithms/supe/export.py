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

"""Export the policies of SPAARS-SUPE as an ONNX graph, with golden outputs."""

import hashlib

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.learning.algorithms.supe.skill_agent import SkillAgent
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.policy_graph import PolicyGraph
from spaars_ros.learning.core.replay import Normaliser


def export_skills(agent: SkillAgent) -> bytes:
    """
    Return the graph of SPAARS-SUPE, like that of SPAARS but for the skill in effect.

    It has two more inputs, skill (batch, k) and fresh (batch, 1). Where fresh is 1, latent =
    mean(s) + std(s) * noise, clipped to the bound; else latent = skill. No noise is added to the
    skill in effect, so the explored outputs equal the others.
    """
    graph = PolicyGraph()
    o = 'observation'
    policy = agent.skill_policy
    mean, log_std = graph.halves(graph.mlp(policy.net, o), axis=1)
    low, high = SquashedGaussian.LOG_STD
    std = graph.node('Exp', graph.node('Clip', log_std, graph.number(low), graph.number(high)))
    drawn = graph.clip(graph.node('Add', mean, graph.node('Mul', std, 'noise')),
                       agent.skill_bound)
    old = graph.node('Mul', graph.node('Sub', graph.number(1.0), 'fresh'), 'skill')
    latent = graph.node('Add', graph.node('Mul', 'fresh', drawn), old)
    action = graph.decoder(agent.skill_decoder, o, latent)
    raw = graph.trusted(graph.policy(agent.raw_policy, o), action)
    results = {'latent': latent, 'latent_action': action, 'raw_action': raw,
               'explored_latent': graph.node('Identity', latent),
               'explored_action': graph.node('Identity', action)}
    results['q_latent'], results['q_raw'] = graph.halves(
        graph.critic(agent.critic, graph.pair(o, o), graph.pair(action, raw)))
    return graph.model(results, observation=agent.raw_policy.inputs,
                       latent=agent.training_file.skill_dim, critic=agent.critic, skills=True)


def golden_outputs(agent: SkillAgent, normaliser: Normaliser, observations: NDArray[np.float32]
                   ) -> dict[str, NDArray[np.float32]]:
    """Return golden outputs for observations (m, n), physical units; every second in a skill."""
    m, width = len(observations), agent.training_file.skill_dim
    held = np.random.default_rng(m).normal(size=(m, width)).astype(np.float32)
    fresh = np.arange(1, m + 1, dtype=np.float32)[:, None] % 2
    with torch.no_grad():
        o = torch.from_numpy(normaliser(observations))
        skill = torch.where(torch.from_numpy(fresh) > 0, agent.skills.skill(o),
                            torch.from_numpy(held))
        action = agent.skill_decoder.mean(o, skill)
        raw = agent.trusted(agent.raw_policy(o), action)
        return {'observation': observations.astype(np.float32), 'skill': held,
                'fresh': fresh, 'latent': skill.numpy(), 'latent_action': action.numpy(),
                'raw_action': raw.numpy(),
                'q_latent': agent.critic(o, action).permute(1, 0, 2).numpy(),
                'q_raw': agent.critic(o, raw).permute(1, 0, 2).numpy()}


def decoder_digest(agent: SkillAgent) -> str:
    """Return a digest of the skill decoder's weights, to detect another decoder."""
    digest = hashlib.sha256()
    for name, tensor in agent.skill_decoder.state_dict().items():
        digest.update(name.encode() + b'\0' + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
