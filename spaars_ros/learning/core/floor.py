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

"""Floor rule: a candidate action replaces the pretrained action only where it is better."""

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.learning.core.device import array_of


def lower_bounds(values: Tensor, kappa: float) -> Tensor:
    """
    Return the lower bounds (K, B) of each candidate's advantage over the first one.

    mean_i - kappa std_i of [Q_i(s, a_j) - Q_i(s, a_0)] over heads i. The same rule is in numpy in
    `policy/gate.py`, in ONNX in `PolicyGraph.lower_bounds`. docs/concepts/spaars.md
    (reconstructed).

    :param values: (heads, K, B) Lagrangian values
    :param kappa: weight of the standard deviation, >= 0
    """
    advantage = values - values[:, :1]
    return advantage.mean(0) - kappa * advantage.std(0, unbiased=False)


def best_of(bounds: Tensor, margins: Tensor) -> Tensor:
    """
    Return the index (B) of the greatest positive bound above its margin; 0 if there is none.

    :param bounds: (K, B) from `lower_bounds`; the first row is 0
    :param margins: (K,); the first is ignored
    """
    over = torch.where(bounds > margins[:, None], bounds, -torch.inf)
    return torch.cat([bounds[:1] * 0.0, over[1:]]).argmax(0)


def pick(candidates: Tensor, place: Tensor) -> Tensor:
    """Return the candidates (B, d) at indices `place` (B) of candidates (K, B, d)."""
    index = place[None, :, None].expand(1, *candidates.shape[1:])
    return candidates.gather(0, index)[0]


def latent_offsets(count: int, latent: int, spread: float) -> Tensor:
    """
    Return the offsets (N, k) from the pretrained latent to the latent candidates; the first is 0.

    The offsets are equal in every state and every run. An arm that keeps one offset makes
    progress, whereas fresh draws in every tick would cancel out.

    :param count: N
    :param latent: k
    :param spread: standard deviation of the offsets
    """
    offsets = torch.randn(count, latent, generator=torch.Generator().manual_seed(0)) * spread
    offsets[:1] = 0.0
    return offsets


def bootstrap_masks(observation: Tensor, action: Tensor, heads: int, share: float) -> Tensor:
    """
    Return the bootstrap masks (B, heads), 1 where a transition trains a head, else 0.

    Bernoulli(share) per transition and head (docs/concepts/spaars.md). The draw is a hash of the
    transition, so the mask is equal in every batch and after a resume, without being stored.

    :param observation: (B, n)
    :param action: (B, d)
    :param share: probability that a transition trains a head, 0 to 1
    """
    words = np.concatenate([array_of(observation), array_of(action)], 1).astype(np.float32)
    bits = np.ascontiguousarray(words).view(np.uint32).astype(np.uint64)
    factors = np.arange(1, 2 * bits.shape[1], 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over='ignore'):
        seeds = (bits * factors).sum(1, dtype=np.uint64)[:, None] \
            + np.arange(1, heads + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
        mixed = _mixed(seeds)
    drawn = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2 ** 24)
    return torch.from_numpy((drawn < share).astype(np.float32)).to(observation.device)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash words so that every bit depends on every input bit (splitmix64's finaliser)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words ^ (words >> np.uint64(31))
