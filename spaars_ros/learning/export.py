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

"""Torch networks as ONNX graphs, built node by node: a millisecond, no tracing."""

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto
from torch import Tensor

from spaars_ros.learning.networks import BoundedPolicy
from spaars_ros.learning.networks import Decoder
from spaars_ros.learning.networks import EnsembleCritic
from spaars_ros.learning.networks import MLP

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

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f'n{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def mlp(self, net: MLP, x: str) -> str:
        for i, layer in enumerate(net.layers):
            x = self.node('Gemm', x, self.constant(layer.weight), self.constant(layer.bias),
                          transB=1)
            if i + 1 < len(net.layers):
                x = self.node('Relu', x)
        return x

    def finish(self, inputs: dict[str, int], result: str, shape: list[object]) -> bytes:
        self.nodes.append(helper.make_node('Identity', [result], ['output']))
        graph = helper.make_graph(
            self.nodes, 'spaars',
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ['batch', width])
             for name, width in inputs.items()],
            [helper.make_tensor_value_info('output', TensorProto.FLOAT, shape)],
            self.initialisers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)],
                                  producer_name='spaars_ros')
        model.ir_version = 8
        return bytes(model.SerializeToString())


def export_policy(policy: BoundedPolicy) -> bytes:
    """Return observation -> bound * tanh(net)."""
    graph = _Graph()
    x = graph.node('Tanh', graph.mlp(policy.net, 'observation'))
    x = graph.node('Mul', x, graph.constant(np.float32([policy.bound])))
    layers = policy.net.layers
    return graph.finish({'observation': layers[0].in_features}, x,
                        ['batch', layers[-1].out_features])


def export_decoder(decoder: Decoder, latent: int) -> bytes:
    """Return (observation, latent) -> action."""
    graph = _Graph()
    x = graph.node('Concat', 'observation', 'latent', axis=1)
    x = graph.node('Tanh', graph.mlp(decoder.net, x))
    layers = decoder.net.layers
    return graph.finish({'observation': layers[0].in_features - latent, 'latent': latent}, x,
                        ['batch', layers[-1].out_features])


def export_critic(critic: EnsembleCritic, action: int) -> bytes:
    """Return (observation, action) -> values (batch, heads, 1 + C)."""
    graph = _Graph()
    x = graph.node('Concat', 'observation', 'action', axis=1)
    for i, (weight, bias) in enumerate(zip(critic.weights, critic.biases)):
        x = graph.node('Add', graph.node('MatMul', x, graph.constant(weight)),
                       graph.constant(bias))
        if i + 1 < len(critic.weights):
            width = weight.shape[-1]
            x = graph.node('LayerNormalization', x, graph.constant(np.ones(width, np.float32)),
                           graph.constant(np.zeros(width, np.float32)), axis=-1, epsilon=1e-5)
            x = graph.node('Relu', x)
    x = graph.node('Transpose', x, perm=[1, 0, 2])
    heads, inputs, _ = critic.weights[0].shape
    return graph.finish({'observation': inputs - action, 'action': action}, x,
                        ['batch', heads, critic.weights[-1].shape[-1]])
