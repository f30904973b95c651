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

"""The floor: candidates compete in every state, and the pretrained action acts until beaten."""

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor


def lower_bounds(values: Tensor, kappa: float) -> Tensor:
    """
    Return the lower bounds (K, B) of each candidate's advantage over the first one.

    mean_i - kappa std_i of [Q_i(s, a_j) - Q_i(s, a_0)], head by head: `policy/gate.py` has the
    same in numpy, `PolicyGraph.lower_bounds` in ONNX. docs/concepts/spaars.md (reconstructed).

    :param values: (heads, K, B) Lagrangian values
    """
    advantage = values - values[:, :1]
    return advantage.mean(0) - kappa * advantage.std(0, unbiased=False)


def best_of(bounds: Tensor, margins: Tensor) -> Tensor:
    """
    Return the place (B) of the greatest bound among those above their margins, else 0.

    :param bounds: (K, B) of `lower_bounds`, the first of which is 0
    :param margins: (K,); what the first has does not matter
    """
    over = torch.where(bounds > margins[:, None], bounds, -torch.inf)
    return torch.cat([bounds[:1] * 0.0, over[1:]]).argmax(0)


def pick(candidates: Tensor, place: Tensor) -> Tensor:
    """Return the candidate (B, d) at a place (B) of candidates (K, B, d)."""
    index = place[None, :, None].expand(1, *candidates.shape[1:])
    return candidates.gather(0, index)[0]


def latent_offsets(count: int, latent: int, spread: float) -> Tensor:
    """
    Return what is added to the pretrained latent to make candidates (N, k); the first is 0.

    The same ones in every state and every run: an arm that keeps to one moves on, where draws of
    every tick would cancel.
    """
    offsets = torch.randn(count, latent, generator=torch.Generator().manual_seed(0)) * spread
    offsets[:1] = 0.0
    return offsets


def bootstrap_masks(observation: Tensor, action: Tensor, heads: int, share: float) -> Tensor:
    """
    Return which heads (B, heads) each transition trains, 1 or 0.

    Bernoulli(share) per transition and head, drawn by a hash of the transition itself: the same
    in every batch that it is in, after a resume too, and without anything to keep.

    :param observation: (B, n)
    :param action: (B, d)
    """
    words = np.concatenate([observation.numpy(), action.numpy()], 1).astype(np.float32)
    bits = np.ascontiguousarray(words).view(np.uint32).astype(np.uint64)
    factors = np.arange(1, 2 * bits.shape[1], 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over='ignore'):
        seeds = (bits * factors).sum(1, dtype=np.uint64)[:, None] \
            + np.arange(1, heads + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
        mixed = _mixed(seeds)
    drawn = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2 ** 24)
    return torch.from_numpy((drawn < share).astype(np.float32))


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return words of which every bit depends on every bit (splitmix64's finaliser)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words ^ (words >> np.uint64(31))
