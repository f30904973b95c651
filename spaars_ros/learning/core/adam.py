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

"""Adam optimiser over one vector that holds all its parameters."""

from collections.abc import Iterable
import math
from typing import Any

from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

STATE = ('step', 'exp_avg', 'exp_avg_sq')


class Adam:
    """
    Adam (Kingma and Ba 2015) with the update and the constants of `torch.optim.Adam`.

    The parameters become views of one vector: one pass over memory is far cheaper than thirty.
    `descend` is a few tensor operations, for updates that are compiled as one graph. `advance`
    calls torch's fused kernel, for losses by `backward`. `torch.optim` is not used: for networks
    of this size its overhead takes longer than its kernel, and creating its first optimiser
    imports torch's compiler, which delays the restart of a killed learner by seconds.

    :param parameters: trained parameters
    :param rate: learning rate
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        self.parameters = list(parameters)
        self.rate = torch.tensor(rate, dtype=torch.float64)
        self.flat = flatten(self.parameters)
        self.means, self.squares = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.steps = torch.zeros(len(self.parameters), device=self.flat.device)
        """Number of steps taken so far, per parameter tensor."""

    def move(self, device: torch.device) -> None:
        """Move the state to the device to which the parameters have moved."""
        self.flat = flatten(self.parameters)
        for name in ('means', 'squares', 'steps'):
            setattr(self, name, getattr(self, name).to(device))

    def clear(self) -> None:
        """Clear all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def advance(self) -> None:
        """Take one step on the parameters' gradients; skip parameters without a gradient."""
        moved = [index for index, parameter in enumerate(self.parameters)
                 if parameter.grad is not None]
        if not moved:
            return
        parameters, steps, means, squares = (
            [tensors[index] for index in moved]
            for tensors in (self.parameters, self.steps.unbind(), self.split(self.means),
                            self.split(self.squares)))
        gradients = [each.grad for each in parameters if each.grad is not None]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters, gradients, means, squares, [], steps, lr=float(self.rate),
            beta1=self.BETAS[0], beta2=self.BETAS[1], weight_decay=0.0, eps=self.EPSILON,
            amsgrad=False, maximize=False)

    def descend(self, gradient: Tensor) -> None:
        """Take one step of all parameters, given the gradient of `flat`, in its shape."""
        first, second = self.BETAS
        self.steps.add_(1.0)
        count = self.steps[0].double()
        # In float64: float32 rounding would distort the first steps. Written as a matrix product
        # because the compiler would recompute other operations for every few parameters.
        scales = torch.stack((self.rate / -torch.expm1(count * math.log(first)),
                              (-torch.expm1(count * math.log(second))).rsqrt()))
        rate, root = (self.steps.new_ones(1, 1) @ scales.float()[None])[0]
        self.means.copy_(torch.lerp(self.means, gradient, 1.0 - first))
        self.squares.copy_(second * self.squares + (1.0 - second) * gradient * gradient)
        self.flat.sub_(rate * self.means / (self.squares.sqrt() * root + self.EPSILON))

    def split(self, vector: Tensor) -> list[Tensor]:
        """Split a vector like `flat` into views in the shapes of the parameters."""
        parts = vector.split([each.numel() for each in self.parameters])
        return [part.view(each.shape) for part, each in zip(parts, self.parameters)]

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by `<index of the parameter>/<name>`, with torch's names (`STATE`)."""
        return {f'{index}/{name}': tensor
                for name, tensors in zip(STATE, (self.steps.unbind(), self.split(self.means),
                                                 self.split(self.squares)))
                for index, tensor in enumerate(tensors)}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """
        Restore `tensors()`; tensors that are missing are set to zero.

        :raises ValueError: unknown name or wrong shape
        """
        there = self.tensors()
        for tensor in there.values():
            tensor.zero_()
        for name, array in arrays.items():
            if name not in there or tuple(array.shape) != tuple(there[name].shape):
                raise ValueError(f'state of Adam: {name} of shape {tuple(array.shape)}')
            there[name].copy_(torch.from_numpy(array))


@torch.no_grad()
def flatten(parameters: list[nn.Parameter]) -> Tensor:
    """Copy all parameters into one vector, make the parameters views of it, and return it."""
    flat = torch.cat([each.detach().reshape(-1) for each in parameters]) if parameters \
        else torch.zeros(0)
    begin = 0
    for each in parameters:
        each.data = flat[begin:begin + each.numel()].view(each.shape)
        begin += each.numel()
    return flat
