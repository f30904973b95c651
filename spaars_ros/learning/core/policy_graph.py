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

"""A policy as one ONNX graph, built node by node: a millisecond, no tracing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto
from torch import Tensor

from spaars_ros.learning.core.networks import BoundedPolicy
from spaars_ros.learning.core.networks import Decoder
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import MLP
from spaars_ros.policy.runtime import OUTPUTS

OPSET = 17


class PolicyGraph:
    """
    Collects nodes and initialisers; every method returns the name of its result.

    Inputs of every policy: `observation` (batch, n) normalised, `noise` (batch, k), `trust` (1).
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def number(self, value: float) -> str:
        """Return a scalar."""
        return self.constant(np.array(value, np.float32))

    def clip(self, x: str, bound: float) -> str:
        """Return x within +- bound."""
        return self.node('Clip', x, self.number(-bound), self.number(bound))

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

    def halves(self, both: str, axis: int = 0) -> tuple[str, str]:
        """Return the batches of `pair` again, or the halves along another axis."""
        name = f'n{len(self.nodes)}'
        self.nodes.append(helper.make_node('Split', [both], [name, f'{name}b'], axis=axis))
        return name, f'{name}b'

    def trusted(self, free: str, latent_action: str, trust: str = 'trust') -> str:
        """Return the raw action within `trust` of the latent one, and within +-1."""
        lower = self.node('Sub', latent_action, trust)
        upper = self.node('Add', latent_action, trust)
        return self.clip(self.node('Min', self.node('Max', free, lower), upper), 1.0)

    def model(self, results: dict[str, str], *, observation: int, latent: int,
              critic: EnsembleCritic, skills: bool = False) -> bytes:
        """
        Return the finished model.

        :param results: the result's name by its name in `OUTPUTS`
        :param observation: n
        :param latent: k
        :param critic: its values are two of the results
        :param skills: whether the graph also takes `skill` (batch, k) and `fresh` (batch, 1)
        """
        values = [critic.heads, critic.values]
        action = int(critic.weights[0].shape[1]) - observation
        shapes = {'latent': [latent], 'explored_latent': [latent], 'q_latent': values,
                  'q_raw': values}
        self.rename({made: name for name, made in results.items()})

        inputs: dict[str, list[int | str]] = {
            'observation': ['batch', observation], 'noise': ['batch', latent], 'trust': [1]}
        if skills:
            inputs.update(skill=['batch', latent], fresh=['batch', 1])
        return self.finish(inputs, {name: ['batch', *shapes.get(name, [action])]
                                    for name in OUTPUTS})

    def finish(self, inputs: dict[str, list[int | str]],
               outputs: dict[str, list[int | str]]) -> bytes:
        """Return the model with these inputs and outputs, name -> shape."""
        def info(shapes: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                    for name, shape in shapes.items()]
        made = helper.make_graph(self.nodes, 'spaars_policy', info(inputs), info(outputs),
                                 self.initialisers)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid('', OPSET)],
                                  producer_name='spaars_ros')
        model.ir_version = 8
        return bytes(model.SerializeToString())
