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

"""Adam by torch's fused kernel alone."""

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

STATE = ('step', 'exp_avg', 'exp_avg_sq')


class Adam:
    """
    Adam (Kingma and Ba 2015) with the kernel and the numbers of `torch.optim.Adam(fused=True)`.

    Ours for two reasons. For networks of this size on one thread the library's `step` and
    `zero_grad` take longer around the kernel than in it (`spaars bench learner`). And the first
    optimiser that it makes imports torch's compiler and sympy: seconds in which a learner that
    was killed is not back yet.

    :param parameters: what it trains
    :param rate: learning rate
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        self.parameters = list(parameters)
        self.rate = rate
        self._steps = [torch.zeros(()) for _ in self.parameters]
        self._means = [torch.zeros_like(each) for each in self.parameters]
        self._squares = [torch.zeros_like(each) for each in self.parameters]

    def clear(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def advance(self) -> None:
        """Take one step along the gradients; parameters without one rest."""
        moved = [index for index, parameter in enumerate(self.parameters)
                 if parameter.grad is not None]
        if not moved:
            return
        parameters, steps, means, squares = (
            [tensors[index] for index in moved]
            for tensors in (self.parameters, self._steps, self._means, self._squares))
        gradients = [each.grad for each in parameters if each.grad is not None]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters, gradients, means, squares, [], steps, lr=self.rate, beta1=self.BETAS[0],
            beta2=self.BETAS[1], weight_decay=0.0, eps=self.EPSILON, amsgrad=False, maximize=False)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by `<index of the parameter>/<name>`, names as the library's."""
        return {f'{index}/{name}': tensor
                for name, tensors in zip(STATE, (self._steps, self._means, self._squares))
                for index, tensor in enumerate(tensors)}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """
        Take `tensors()` back; what is missing begins anew.

        :raises ValueError: a name that is not there, or another shape
        """
        there = self.tensors()
        for tensor in there.values():
            tensor.zero_()
        for name, array in arrays.items():
            if name not in there or tuple(array.shape) != tuple(there[name].shape):
                raise ValueError(f'state of Adam: {name} of shape {tuple(array.shape)}')
            there[name].copy_(torch.from_numpy(array))
