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

"""FLOP of an update, counted by hand, and the speed of matrix products on one machine."""

import time

import torch


def forward(batch: int, sizes: list[int]) -> int:
    """Return the FLOP of one forward pass: 2mnk for the matrix product of each layer."""
    return sum(2 * batch * a * b for a, b in zip(sizes[:-1], sizes[1:]))


def to_weights(batch: int, sizes: list[int]) -> int:
    """Return the FLOP of the gradient with respect to all weights, with stored activations."""
    # Each layer: 2mnk for its weights and 2mnk for its inputs; the latter is not needed for the
    # first layer.
    return 2 * forward(batch, sizes) - forward(batch, sizes[:2])


def to_inputs(batch: int, sizes: list[int]) -> int:
    """Return the FLOP of the gradient with respect to the inputs only."""
    return forward(batch, sizes)


def sac_update(batch: int, observation: int, action: int, width: int, heads: int) -> int:
    """
    Return the FLOP of one SAC update of critic and policy.

    Critic: policy at s', all target heads there, all heads at (s, a) with their gradient.
    Policy: policy at s with its gradient, all heads there with the gradient to the action.
    """
    actor = [observation, width, width, 2 * action]
    critic = [observation + action, width, width, 1]
    critic_step = forward(batch, actor) + heads * (
        2 * forward(batch, critic) + to_weights(batch, critic))
    actor_step = forward(batch, actor) + to_weights(batch, actor) + heads * (
        forward(batch, critic) + to_inputs(batch, critic))
    return critic_step + actor_step


def iql_update(batch: int, observation: int, action: int, width: int, heads: int) -> int:
    """
    Return the FLOP of one IQL update: value, critic and policy.

    All target heads at (s, a), the value at s with its gradient and at s', all heads with their
    gradient, the policy with its gradient.
    """
    actor = [observation, width, width, action]
    critic = [observation + action, width, width, 1]
    value = [observation, width, width, 1]
    return (heads * (2 * forward(batch, critic) + to_weights(batch, critic))
            + 2 * forward(batch, value) + to_weights(batch, value)
            + forward(batch, actor) + to_weights(batch, actor))


def matrix_product_speed(batch: int, width: int, seconds: float = 0.2) -> float:
    """Return FLOP/s of float32 (batch, width) x (width, width) on torch's threads."""
    a, b = torch.randn(batch, width), torch.randn(width, width)
    out = torch.empty(batch, width)
    torch.mm(a, b, out=out)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(20):
            torch.mm(a, b, out=out)
        count += 20
    return count * forward(batch, [width, width]) / (time.perf_counter() - began)
