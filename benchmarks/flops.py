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

"""The useful arithmetic of an update, counted by hand, and what one thread can do of it."""

import time

import torch


def forward(batch: int, sizes: list[int]) -> int:
    """Return the FLOP of one forward pass: 2mnk for each layer's matrix product."""
    return sum(2 * batch * a * b for a, b in zip(sizes[:-1], sizes[1:]))


def to_weights(batch: int, sizes: list[int]) -> int:
    """Return the FLOP of the gradient with respect to all weights, activations kept."""
    # Each layer: 2mnk for its weights and 2mnk for its inputs; nobody needs the latter of the
    # first layer.
    return 2 * forward(batch, sizes) - forward(batch, sizes[:2])


def to_inputs(batch: int, sizes: list[int]) -> int:
    """Return the FLOP of the gradient with respect to the inputs alone."""
    return forward(batch, sizes)


def sac_update(batch: int, observation: int, action: int, width: int, heads: int) -> int:
    """
    Return the FLOP of one SAC update, policy and temperature included.

    Critic: the policy at s', every target head there, every head at (s, a) with its gradient.
    Policy: the policy at s with its gradient, every head there with its gradient to the action.
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

    Every target head at (s, a), the value at s with its gradient and at s', every head with its
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
