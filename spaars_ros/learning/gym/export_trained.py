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
"""Export a policy trained by `spaars train` as ONNX, in the environment's units."""

import numpy as np

from spaars_ros.learning.algorithms.baselines.plas import PLAS
from spaars_ros.learning.algorithms.spaars.export import best_latent
from spaars_ros.learning.algorithms.spaars.spaars import Spaars
from spaars_ros.learning.algorithms.spaars.spaars_networks import margins_of
from spaars_ros.learning.algorithms.spar.spar import Spar
from spaars_ros.learning.algorithms.supe.supe import Supe
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.policy_graph import PolicyGraph
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.gym.rollout import ActionScaler


def export_trained(algorithm: Algorithm, boxes: ActionScaler) -> bytes:
    """
    Return the ONNX graph of the policy without exploration, gate and critic included.

    Input: observation (batch, n); output: action (batch, d), both in the environment's units, for
    `spaars collect --policy`. The graph computes in float32: where an advantage equals the margin
    up to rounding, its choice may differ.

    :raises ValueError: algorithm with skills, which need memory over several steps
    """
    if isinstance(algorithm, Supe):
        raise ValueError('a skill lasts several steps, and a policy file has no memory')
    graph = PolicyGraph()
    o = _normalised(graph, algorithm.normaliser)
    if isinstance(algorithm, Spaars):
        action = _gated(graph, o, algorithm)
    elif isinstance(algorithm, Spar):
        action = _residual(graph, o, algorithm)
    elif isinstance(algorithm, PLAS):
        action = graph.decoder(algorithm.decoder, o, graph.policy(algorithm.policy, o))
    else:
        action = _of_one(graph, o, algorithm.agent.policy)
    middle, half = (graph.constant(values.astype(np.float32))
                    for values in (boxes.middle, boxes.half))
    physical = graph.node('Add', graph.node('Mul', action, half), middle)
    graph.rename({physical: 'action'})
    return graph.finish({'observation': ['batch', boxes.observation]},
                        {'action': ['batch', boxes.action]})


def _normalised(graph: PolicyGraph, normaliser: Normaliser) -> str:
    mean, std = (graph.constant(values.astype(np.float32))
                 for values in (normaliser.mean, normaliser.std))
    scaled = graph.node('Div', graph.node('Sub', 'observation', mean), std)
    return graph.clip(scaled, normaliser.CLIP)


def _of_one(graph: PolicyGraph, o: str, policy: object) -> str:
    if isinstance(policy, BoundedPolicy):
        return graph.policy(policy, o)
    assert isinstance(policy, SquashedGaussian)
    mean, _ = graph.halves(graph.mlp(policy.net, o), axis=1)
    return graph.node('Tanh', mean)


def _residual(graph: PolicyGraph, o: str, algorithm: Spar) -> str:
    agent = algorithm.agent
    base = graph.policy(agent.base, o)
    if agent.projects:
        seen = graph.node('Concat', o, base, graph.policy(agent.latent_policy, o), axis=1)
        residual = graph.mlp(agent.residual_decoder.net, seen)
    else:
        residual = graph.policy(agent.residual_policy, o)
    return graph.clip(graph.node('Add', base, residual), 1.0)


def _gated(graph: PolicyGraph, o: str, algorithm: Spaars) -> str:
    """Return the action of `Spaars.choose` without noise."""
    agent, curriculum = algorithm.agent, algorithm.curriculum
    raw = graph.policy(agent.raw_policy, o)
    if algorithm.training.mode == 'raw-only':
        return raw
    if agent.floored:
        return _floored(graph, o, algorithm, raw)
    latent = graph.decoder(agent.decoder, o, graph.policy(agent.latent_policy, o))
    inside = graph.trusted(raw, latent, graph.number(agent.trust))
    everywhere = curriculum.everywhere(explore=False)
    if everywhere is not None:
        return inside if everywhere else latent
    values = graph.critic(agent.critic, graph.pair(o, o), graph.pair(inside, latent))
    of_raw, of_latent = graph.halves(graph.lagrangian(values, agent.multipliers))
    advantage = graph.node('Sub', of_raw, of_latent)  # (batch, heads, 1)
    mean = graph.node('ReduceMean', advantage, axes=[1])
    off = graph.node('Sub', advantage, mean)
    std = graph.node('Sqrt', graph.node('ReduceMean', graph.node('Mul', off, off), axes=[1]))
    doubt = graph.node('Mul', std, graph.number(curriculum.kappa(explore=False)))
    bound = graph.node('Sub', mean, doubt)  # (batch, 1, 1)
    better = graph.node('Greater', bound, graph.number(agent.margin))
    takes_raw = graph.node('Flatten', better)
    return graph.node('Where', takes_raw, inside, latent)


def _floored(graph: PolicyGraph, o: str, algorithm: Spaars, raw: str) -> str:
    """Return the action of `Spaars._choose_above_floor` without noise."""
    agent = algorithm.agent
    anchor = graph.policy(agent.anchor, o)
    first = graph.decoder(agent.decoder, o, anchor)
    if algorithm.curriculum.keeps_to_floor(explore=False):
        return first
    action = graph.decoder(agent.decoder, o, best_latent(graph, agent, o, anchor))
    candidates = [first, action]
    if agent.gate_open:
        candidates.append(graph.trusted(raw, action, graph.number(agent.trust)))
    stacked, count = graph.stacked(*candidates), len(candidates)
    d = len(agent.action_variance)
    rows = graph.repeated(o, agent.anchor.inputs, count)
    values = graph.values_of(agent.critic, rows, graph.flat(stacked, d), count, agent.multipliers)
    bounds = graph.lower_bounds(values, agent.training_file.kappa)
    return graph.best_of(stacked, bounds, margins_of(agent.limits()).numpy()[:count])
