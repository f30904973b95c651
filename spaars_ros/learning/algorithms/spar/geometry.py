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
"""Geometry of a data set's residuals, unimodal or fragmented, to select the residual policy."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Projection = Literal['mlp', 'proj']

MOST = 5
"""Maximum number of mixture components."""
LEAST_POINTS = 40
"""Minimum number of distinct pairs for the diagnostic; smaller data sets count as unimodal."""
FLOOR = 0.02
"""Minimum variance of a component, relative to the variance of its cluster."""


@dataclass(frozen=True)
class Geometry:
    """Result of the diagnostic."""

    components: tuple[int, ...]
    """Number of mixture components per cluster, by BIC; empty if there was too little data."""

    @property
    def fragmented(self) -> float:
        """Return the share of clusters with more than one component, 0 to 1."""
        return float(np.mean([count > 1 for count in self.components])) if self.components \
            else 0.0

    @property
    def projection(self) -> Projection:
        """Return 'proj' if more than half of the clusters are fragmented, else 'mlp'."""
        return 'proj' if self.fragmented > 0.5 else 'mlp'


def residual_geometry(observations: NDArray[np.floating],  # type: ignore[type-arg]
                      residuals: NDArray[np.floating],  # type: ignore[type-arg]
                      seed: int, *, clusters: int = 16, neighbours: int = 80) -> Geometry:
    """
    Count the modes of residuals in clusters of states (docs/concepts/spar.md, reconstructed).

    A cluster is a randomly drawn state with its `neighbours` nearest states. Gaussian mixtures of
    1 to 5 components are fitted to its residuals, and BIC selects one. Sourced is only that a
    compact, unimodal geometry takes SPAR-MLP and a fragmented one SPAR-PROJ.

    :param observations: (N, n) normalised
    :param residuals: (N, d) actions of the data minus base actions
    :param seed: seed of the draws
    :param clusters: maximum number of clusters
    :param neighbours: number of pairs per cluster
    :raises ValueError: different numbers of observations and residuals
    """
    if len(observations) != len(residuals):
        raise ValueError(f'{len(observations)} observations, {len(residuals)} residuals')
    rng = np.random.default_rng(seed)
    states = np.asarray(observations, np.float64)
    rows = np.asarray(residuals, np.float64)
    # Duplicate pairs would form a component of zero width.
    _, index = np.unique(np.concatenate([states, rows], 1), axis=0, return_index=True)
    states, rows = states[index], rows[index]
    if len(rows) < LEAST_POINTS:
        return Geometry(())
    found = []
    for anchor in rng.choice(len(rows), min(clusters, len(rows)), replace=False):
        distance = np.square(states - states[anchor]).sum(1)
        near = np.argsort(distance, kind='stable')[:neighbours]
        found.append(count_modes(rows[near], rng))
    return Geometry(tuple(found))


def count_modes(points: Array, rng: np.random.Generator) -> int:
    """
    Return the number of components (1 to 5) of the mixture of points (N, d) with the least BIC.

    Points are whitened first, so that one component is a Gaussian with any covariance. The
    components of larger mixtures have diagonal covariances in the whitened axes.
    """
    points = points - points.mean(0)
    if float(np.abs(points).max(initial=0.0)) < 1e-6:
        return 1
    _, scale, axes = np.linalg.svd(points, full_matrices=False)
    kept = scale > 1e-4 * scale[0]
    white = points @ axes[kept].T / (scale[kept] / np.sqrt(len(points)))
    best, least = 1, np.inf
    for count in range(1, min(MOST, len(white) // 5) + 1):
        bic = _bic(white, count, rng)
        if bic < least:
            best, least = count, bic
    return best


def _bic(points: Array, count: int, rng: np.random.Generator) -> float:
    """Return -2 log L + parameters * log N of a fitted mixture of `count` components."""
    total, d = points.shape
    if count == 1:
        log_likelihood = -0.5 * (np.square(points).sum() + total * d * np.log(2.0 * np.pi))
        return float(-2.0 * log_likelihood + (d + d * (d + 1) / 2) * np.log(total))
    parameters = 2 * count * d + count - 1
    return float(-2.0 * _expectation_maximisation(points, count, rng)
                 + parameters * np.log(total))


def _expectation_maximisation(points: Array, count: int, rng: np.random.Generator,
                              rounds: int = 60) -> float:
    """Return the log-likelihood of a mixture of `count` diagonal Gaussians after EM."""
    mean = _spread_out(points, count, rng)
    variance = np.ones_like(mean)
    share = np.full(count, 1.0 / count)
    log_likelihood = -np.inf
    for _ in range(rounds):
        off = np.square(points[:, None] - mean) / variance
        joint = np.log(share) - 0.5 * (off + np.log(2.0 * np.pi * variance)).sum(-1)
        top = joint.max(1, keepdims=True)
        evidence = top[:, 0] + np.log(np.exp(joint - top).sum(1))
        before, log_likelihood = log_likelihood, float(evidence.sum())
        if log_likelihood - before < 1e-4 * len(points):
            break
        belongs = np.exp(joint - evidence[:, None])
        weight = belongs.sum(0) + 1e-9
        share = weight / weight.sum()
        mean = belongs.T @ points / weight[:, None]
        variance = np.maximum(belongs.T @ np.square(points) / weight[:, None] - np.square(mean),
                              FLOOR)
    return log_likelihood


def _spread_out(points: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` of the points, each preferably far from the previous ones (k-means++)."""
    chosen = [points[rng.integers(len(points))]]
    while len(chosen) < count:
        distance = np.min([np.square(points - one).sum(1) for one in chosen], 0)
        total = distance.sum()
        weight = distance / total if total > 0.0 else None
        chosen.append(points[rng.choice(len(points), p=weight)])
    return np.asarray(chosen)
