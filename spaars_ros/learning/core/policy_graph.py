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

"""Build a policy as one ONNX graph, node by node: takes a millisecond, without tracing."""

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
from spaars_ros.policy.runtime import FLOOR_OUTPUTS
from spaars_ros.policy.runtime import OUTPUTS

OPSET = 17
FLOAT = int(TensorProto.FLOAT)


class PolicyGraph:
    """
    Builder of an ONNX graph: its methods add nodes and return the names of their results.

    Inputs of every policy: `observation` (batch, n) normalised, `noise` (batch, k), `trust` (1).
    Docstrings describe the tensors that the returned names stand for.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def number(self, value: float) -> str:
        """Add a scalar constant."""
        return self.constant(np.array(value, np.float32))

    def clip(self, x: str, bound: float) -> str:
        """Return x clipped to +-bound."""
        return self.node('Clip', x, self.number(-bound), self.number(bound))

    def constant(self, values: Tensor | NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a constant as an initialiser."""
        array = values.detach().numpy() if isinstance(values, Tensor) else values
        name = f'w{len(self.initialisers)}'
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of ONNX operator `kind` with one output."""
        name = f'n{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def mlp(self, net: MLP, x: str) -> str:
        """Return the output (batch, outputs) of an MLP for x (batch, inputs)."""
        for i, layer in enumerate(net.layers):
            weight, bias = layer.parameters()
            x = self.node('Gemm', x, self.constant(weight), self.constant(bias),
                          transB=1)
            if i + 1 < len(net.layers):
                x = self.node('Relu', x)
        return x

    def rename(self, names: dict[str, str]) -> None:
        """Rename results, old name -> new name, in outputs and inputs of all nodes."""
        for node in self.nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]

    def policy(self, policy: BoundedPolicy, observation: str) -> str:
        """Return the mode (batch, outputs) of a policy."""
        x = self.node('Tanh', self.mlp(policy.net, observation))
        if policy.bound == 1.0:
            return x
        return self.node('Mul', x, self.constant(np.array([policy.bound], np.float32)))

    def decoder(self, decoder: Decoder, observation: str, latent: str) -> str:
        """Return the decoded action (batch, d)."""
        x = self.node('Concat', observation, latent, axis=1)
        return self.node('Tanh', self.mlp(decoder.net, x))

    def critic(self, critic: EnsembleCritic, observation: str, action: str) -> str:
        """Return the values (batch, heads, 1 + C) of actions (batch, d)."""
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
        if critic.priors is not None:
            x = self.node('Add', x, self._priors(critic, observation, action))
        return self.node('Transpose', x, perm=[1, 0, 2])

    def _priors(self, critic: EnsembleCritic, observation: str, action: str) -> str:
        """Return the weighted values (heads, batch, 1 + C) of the priors."""
        x = self.node('Concat', observation, action, axis=1)
        (first, second), (bias, last) = critic.prior_layers()
        hidden = self.node('Relu', self.node('Add', self.node('MatMul', x, self.constant(first)),
                                             self.constant(bias)))
        return self.node('Add', self.node('MatMul', hidden, self.constant(critic.prior * second)),
                         self.constant(critic.prior * last))

    def pair(self, one: str, other: str) -> str:
        """Concatenate two batches, so that a network's weights are read once."""
        return self.node('Concat', one, other, axis=0)

    def halves(self, both: str, axis: int = 0) -> tuple[str, str]:
        """Split the result of `pair` into its batches, or any result into halves along an axis."""
        name = f'n{len(self.nodes)}'
        self.nodes.append(helper.make_node('Split', [both], [name, f'{name}b'], axis=axis))
        return name, f'{name}b'

    def lagrangian(self, values: str, multipliers: Tensor) -> str:
        """Return the Lagrangian values (..., 1) of values (..., 1 + C)."""
        weights = np.append(1.0, -multipliers.numpy()) / (1.0 + float(multipliers.sum()))
        return self.node('MatMul', values, self.constant(weights[:, None].astype(np.float32)))

    def lower_bounds(self, values: str, kappa: float) -> str:
        """
        Return the lower bounds (batch, K) of each candidate's advantage over the first.

        The same rule as `learning/core/floor.py`.

        :param values: (batch, K, heads) Lagrangian values
        :param kappa: weight of the standard deviation, >= 0
        """
        first = self.node('Gather', values, self.constant(np.array([0], np.int64)), axis=1)
        advantage = self.node('Sub', values, first)
        mean = self.node('ReduceMean', advantage, axes=[2])
        off = self.node('Sub', advantage, mean)
        std = self.node('Sqrt', self.node('ReduceMean', self.node('Mul', off, off), axes=[2]))
        bounds = self.node('Sub', mean, self.node('Mul', std, self.number(kappa)))
        return self.node('Squeeze', bounds, self.constant(np.array([2], np.int64)))

    def best_of(self, candidates: str, bounds: str, margins: NDArray[np.float32]) -> str:
        """
        Return the candidate (batch, d) with the greatest positive bound above its margin.

        Without one return the first candidate, the floor; the same rule as
        `learning/core/floor.py`. Margins apply against the floor only; candidates above their
        margins are compared by their bounds.

        :param candidates: (batch, K, d)
        :param bounds: (batch, K)
        :param margins: (K,); the first is ignored, negative margins count as 0
        """
        count = len(margins)
        margins = np.array([-1.0, *np.maximum(margins[1:], 0.0)], np.float32)
        # 1 above the margin, else 0; a large negative number stands for minus infinity.
        over = self.node('Cast', self.node('Greater', bounds, self.constant(margins)), to=FLOAT)
        out = self.node('Mul', self.node('Sub', self.number(1.0), over), self.number(-1e9))
        place = self.node('ArgMax', self.node('Add', self.node('Mul', bounds, over), out),
                          axis=1, keepdims=1)
        these = self.constant(np.arange(count, dtype=np.int64)[None])
        chosen = self.node('Cast', self.node('Equal', place, these), to=FLOAT)
        last = self.constant(np.array([2], np.int64))
        weighed = self.node('Mul', candidates, self.node('Unsqueeze', chosen, last))
        return self.node('ReduceSum', weighed, self.constant(np.array([1], np.int64)), keepdims=0)

    def stacked(self, *rows: str) -> str:
        """Stack K results (batch, d) into one (batch, K, d)."""
        middle = self.constant(np.array([1], np.int64))
        return self.node('Concat', *(self.node('Unsqueeze', each, middle) for each in rows),
                         axis=1)

    def values_of(self, critic: EnsembleCritic, observation: str, actions: str, count: int,
                  multipliers: Tensor) -> str:
        """Return Lagrangian values (batch, K, heads) of actions (batch * K, d), K = `count`."""
        values = self.critic(critic, observation, actions)
        shape = self.constant(np.array([-1, count, critic.heads], np.int64))
        return self.node('Reshape', self.lagrangian(values, multipliers), shape)

    def repeated(self, rows: str, width: int, count: int) -> str:
        """Repeat each row of (batch, width) `count` times in a row: (batch * count, width)."""
        middle = self.constant(np.array([1], np.int64))
        wide = self.node('Add', self.node('Unsqueeze', rows, middle),
                         self.constant(np.zeros((count, width), np.float32)))
        return self.flat(wide, width)

    def flat(self, rows: str, width: int) -> str:
        """Reshape (batch, K, width) to (batch * K, width)."""
        return self.node('Reshape', rows, self.constant(np.array([-1, width], np.int64)))

    def trusted(self, free: str, latent_action: str, trust: str = 'trust') -> str:
        """Clip the raw action to the trust box, +-trust about the latent action, and to +-1."""
        lower = self.node('Sub', latent_action, trust)
        upper = self.node('Add', latent_action, trust)
        return self.clip(self.node('Min', self.node('Max', free, lower), upper), 1.0)

    def model(self, results: dict[str, str], *, observation: int, latent: int,
              critic: EnsembleCritic, skills: bool = False, floor: bool = False) -> bytes:
        """
        Return the finished model of a bundle, serialised.

        :param results: output name in `OUTPUTS` or `FLOOR_OUTPUTS` -> name of its result
        :param observation: n
        :param latent: k
        :param critic: critic whose values are among the results
        :param skills: whether the graph has the inputs `skill` (batch, k) and `fresh` (batch, 1)
        :param floor: whether the graph has the outputs `FLOOR_OUTPUTS`
        """
        values = [critic.heads, critic.values]
        action = int(critic.weights[0].shape[1]) - observation
        shapes = {'latent': [latent], 'explored_latent': [latent], 'q_latent': values,
                  'q_raw': values, 'anchor_latent': [latent],
                  'explored_anchor_latent': [latent], 'q_anchor': values}
        self.rename({made: name for name, made in results.items()})

        inputs: dict[str, list[int | str]] = {
            'observation': ['batch', observation], 'noise': ['batch', latent], 'trust': [1]}
        if skills:
            inputs.update(skill=['batch', latent], fresh=['batch', 1])
        return self.finish(inputs, {name: ['batch', *shapes.get(name, [action])]
                                    for name in (*OUTPUTS, *FLOOR_OUTPUTS * floor)})

    def finish(self, inputs: dict[str, list[int | str]],
               outputs: dict[str, list[int | str]]) -> bytes:
        """Return the model with these inputs and outputs (name -> shape), serialised."""
        def info(shapes: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                    for name, shape in shapes.items()]
        made = helper.make_graph(self.nodes, 'spaars_policy', info(inputs), info(outputs),
                                 self.initialisers)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid('', OPSET)],
                                  producer_name='spaars_ros')
        model.ir_version = 8
        return bytes(model.SerializeToString())
