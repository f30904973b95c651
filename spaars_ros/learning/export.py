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

"""The policy as one ONNX graph, built node by node: a millisecond, no tracing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto
from torch import Tensor

from spaars_ros.learning.agent import SpaarsAgent
from spaars_ros.learning.networks import BoundedPolicy
from spaars_ros.learning.networks import Decoder
from spaars_ros.learning.networks import EnsembleCritic
from spaars_ros.learning.networks import MLP
from spaars_ros.policy.runtime import OUTPUTS

OPSET = 17


class _Graph:
    """Collects nodes and initialisers; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, values: Tensor | NDArray[np.float32]) -> str:
        array = values.detach().numpy() if isinstance(values, Tensor) else values
        name = f'w{len(self.initialisers)}'
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f'n{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def mlp(self, net: MLP, x: str) -> str:
        for i, layer in enumerate(net.layers):
            weight, bias = layer.parameters()
            x = self.node('Gemm', x, self.constant(weight), self.constant(bias),
                          transB=1)
            if i + 1 < len(net.layers):
                x = self.node('Relu', x)
        return x

    def rename(self, names: dict[str, str]) -> None:
        """Give results other names wherever they are made and used."""
        for node in self.nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]

    def policy(self, policy: BoundedPolicy, observation: str) -> str:
        x = self.node('Tanh', self.mlp(policy.net, observation))
        if policy.bound == 1.0:
            return x
        return self.node('Mul', x, self.constant(np.array([policy.bound], np.float32)))

    def decoder(self, decoder: Decoder, observation: str, latent: str) -> str:
        x = self.node('Concat', observation, latent, axis=1)
        return self.node('Tanh', self.mlp(decoder.net, x))

    def critic(self, critic: EnsembleCritic, observation: str, action: str) -> str:
        """Return (batch, heads, 1 + C)."""
        x = self.node('Concat', observation, action, axis=1)
        for i, (w, b) in enumerate(zip(critic.weights, critic.biases)):
            x = self.node('Add', self.node('MatMul', x, self.constant(w)), self.constant(b))
            if i + 1 < len(critic.weights):
                width = w.shape[-1]
                x = self.node('LayerNormalization', x,
                              self.constant(np.ones(width, np.float32)),
                              self.constant(np.zeros(width, np.float32)),
                              axis=-1, epsilon=1e-5)
                x = self.node('Relu', x)
        return self.node('Transpose', x, perm=[1, 0, 2])

    def pair(self, one: str, other: str) -> str:
        """Return both batches as one, so that a network's weights are read once."""
        return self.node('Concat', one, other, axis=0)

    def halves(self, both: str) -> tuple[str, str]:
        """Return the batches of `pair` again."""
        name = f'n{len(self.nodes)}'
        self.nodes.append(helper.make_node('Split', [both], [name, f'{name}b'], axis=0))
        return name, f'{name}b'


def export_policy(agent: SpaarsAgent) -> bytes:
    """
    Return one graph that computes everything of a tick.

    Inputs: observation (batch, n) normalised, noise (batch, k) in latent units, trust (1,).
    Outputs: `OUTPUTS` of policy/runtime.py; the explored ones have the noise added.
    One graph instead of one a network: a call of ONNX Runtime costs more than these networks.
    """
    graph = _Graph()
    o = 'observation'
    bound = agent.latent_policy.bound
    twice = graph.pair(o, o)
    limits = [graph.constant(np.array(x, np.float32)) for x in (-1.0, 1.0, -bound, bound)]
    results = {'latent': graph.policy(agent.latent_policy, o)}
    noisy = graph.node('Add', results['latent'], 'noise')
    results['explored_latent'] = graph.node('Clip', noisy, limits[2], limits[3])
    latents = graph.pair(results['latent'], results['explored_latent'])
    results['latent_action'], results['explored_action'] = graph.halves(
        graph.decoder(agent.decoder, twice, latents))
    free = graph.policy(agent.raw_policy, o)
    lower = graph.node('Sub', results['latent_action'], 'trust')
    upper = graph.node('Add', results['latent_action'], 'trust')
    inside = graph.node('Min', graph.node('Max', free, lower), upper)
    results['raw_action'] = graph.node('Clip', inside, limits[0], limits[1])
    actions = graph.pair(results['latent_action'], results['raw_action'])
    results['q_latent'], results['q_raw'] = graph.halves(
        graph.critic(agent.critic, twice, actions))
    action, latent = agent.raw_policy.outputs, agent.latent_policy.outputs
    heads, values = agent.critic.heads, agent.critic.values
    shapes = {'latent': [latent], 'explored_latent': [latent], 'q_latent': [heads, values],
              'q_raw': [heads, values]}
    graph.rename({made: name for name, made in results.items()})

    def info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    made = helper.make_graph(
        graph.nodes, 'spaars_policy',
        [info(o, ['batch', agent.latent_policy.inputs]), info('noise', ['batch', latent]),
         info('trust', [1])],
        [info(name, ['batch', *shapes.get(name, [action])]) for name in OUTPUTS],
        graph.initialisers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid('', OPSET)],
                              producer_name='spaars_ros')
    model.ir_version = 8
    return bytes(model.SerializeToString())
