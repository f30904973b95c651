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

"""
Critic ensemble: from torch operations, and with a hand-written backward pass for `backward`.

The hand-written pass gives the numbers of autograd in about two thirds of the time, on one
thread. It computes gradients of weights only when they are needed, the last layer (few columns,
for which a matrix product is slow) by products with vectors, and LayerNorm's gradient in four
passes over memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5
"""LayerNorm's epsilon."""
FEW = 4
"""Maximum number of columns for which products with vectors are faster than a matrix product."""
_plainly = False


def ensemble_values(x: Tensor, weights: list[Tensor], biases: list[Tensor],
                    normalise: bool = True) -> Tensor:
    """
    Return the values (heads, B, v) of inputs x (B, n), differentiable once.

    Every layer but the last is followed by LayerNorm and ReLU. LayerNorm has no affine part: the
    next layer has one, and memory traffic dominates the time.

    :param weights: one (heads, a, b) per layer
    :param biases: one (heads, 1, b) per layer
    :param normalise: False leaves out LayerNorm
    """
    if _plainly or not x.is_cpu:
        return _plain(x, weights, biases, normalise)
    result: Tensor = _Ensemble.apply(x, normalise, len(weights), *weights, *biases)
    return result


@contextmanager
def plainly() -> Iterator[None]:
    """Within the context, compute values by operations that torch's compiler can trace."""
    global _plainly
    _plainly = True
    try:
        yield
    finally:
        _plainly = False


def _plain(x: Tensor, weights: list[Tensor], biases: list[Tensor], normalise: bool) -> Tensor:
    hidden = x.expand(len(weights[0]), *x.shape)
    for weight, bias in zip(weights[:-1], biases[:-1]):
        hidden = torch.bmm(hidden, weight) + bias
        if normalise:
            hidden = torch.nn.functional.layer_norm(hidden, weight.shape[-1:], eps=EPSILON)
        hidden = torch.relu(hidden)
    # By column: a matrix product with few columns is slow, and these fuse with ReLU.
    columns = [(hidden * column[:, None]).sum(-1) for column in weights[-1].unbind(-1)]
    return torch.stack(columns, -1) + biases[-1]


def _times(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight, (heads, m, k) x (heads, k, v), by column if there are at most `FEW`."""
    if weight.shape[-1] > FEW:
        return torch.bmm(x, weight)
    return torch.stack([torch.stack([torch.mv(a, column) for column in b.unbind(-1)], -1)
                        for a, b in zip(x, weight)])


class _Ensemble(torch.autograd.Function):
    """Function (x (B, n), normalise, number of layers, *weights, *biases) -> (heads, B, v)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, normalise: bool, layers: int,
                *parameters: Tensor) -> Tensor:
        weights, biases = parameters[:layers], parameters[layers:]
        hidden = [x.expand(len(weights[0]), *x.shape)]
        normal, inverse_std = [], []
        for weight, bias in zip(weights[:-1], biases[:-1]):
            before = torch.baddbmm(bias, hidden[-1], weight)
            if normalise:
                before, _, scale = torch.native_layer_norm(
                    before, (weight.shape[-1],), None, None, EPSILON)
                normal.append(before)
                inverse_std.append(scale)
                hidden.append(torch.relu(before))
            else:
                hidden.append(torch.relu_(before))
        ctx.normalise, ctx.layers = normalise, layers
        ctx.save_for_backward(*weights, *hidden, *normal, *inverse_std)
        return _times(hidden[-1], weights[-1]) + biases[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, kept = ctx.layers, ctx.saved_tensors
        weights, hidden = kept[:layers], kept[layers:2 * layers]
        normal, inverse_std = kept[2 * layers:3 * layers - 1], kept[3 * layers - 1:]
        wants_x, wants_weights = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
        by_weight: list[Tensor | None] = [None] * layers
        by_bias: list[Tensor | None] = [None] * layers
        flow = gradient
        for layer in range(layers - 1, -1, -1):
            if layer < layers - 1:
                flow = torch.ops.aten.threshold_backward(flow, hidden[layer + 1], 0)
                if ctx.normalise:
                    _through_layer_norm(flow, normal[layer], inverse_std[layer])
            if wants_weights:
                by_weight[layer] = _times(hidden[layer].transpose(1, 2), flow)
                by_bias[layer] = flow.sum(1, keepdim=True)
            if layer or wants_x:
                back = weights[layer].transpose(1, 2)
                # An outer product of one column needs no matrix product.
                flow = flow * back if flow.shape[-1] == 1 else torch.bmm(flow, back)
        return (flow.sum(0) if wants_x else None, None, None, *by_weight, *by_bias)


def _through_layer_norm(flow: Tensor, normal: Tensor, inverse_std: Tensor) -> None:
    """Replace, in place, the gradient of LayerNorm's output y by that of its input."""
    # (g - mean g - y mean(g y)) / std
    along = torch.linalg.vecdot(flow, normal)[..., None]
    flow.sub_(flow.mean(-1, keepdim=True)).addcmul_(
        normal, along, value=-1.0 / normal.shape[-1]).mul_(inverse_std)
