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
"""A module with its optimisers, which can be saved and restored whole."""
"""Adam by torch's fused kernel, without the bookkeeping around it."""

from collections.abc import Iterable

import torch
from torch import nn


class FusedAdam(torch.optim.Adam):
    """
    torch's Adam with the same state and the same numbers, by `advance` and `clear`.

    For networks of this size on one thread, `step` and `zero_grad` spend more time on hooks and
    on grouping tensors by device than on the arithmetic (`spaars bench learner`). The learning
    rate is read from `param_groups`; weight decay, amsgrad and their kin are not there.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, lr=rate, fused=True)

    def clear(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group['params']:
                parameter.grad = None

    def advance(self) -> None:
        """Take one step along the gradients; parameters without one rest."""
        for group in self.param_groups:
            moved = [parameter for parameter in group['params'] if parameter.grad is not None]
            if not moved:
                continue
            if any(parameter not in self.state for parameter in moved):
                self._init_group(group, [], [], [], [], [], [])
            states = [self.state[parameter] for parameter in moved]
            counts = [state['step'] for state in states]
            torch._foreach_add_(counts, 1)
            beta1, beta2 = group['betas']
            torch._fused_adam_(
                moved, [parameter.grad for parameter in moved],
                [state['exp_avg'] for state in states],
                [state['exp_avg_sq'] for state in states], [], counts, lr=group['lr'],
                beta1=beta1, beta2=beta2, weight_decay=0.0, eps=group['eps'], amsgrad=False,
                maximize=False)
