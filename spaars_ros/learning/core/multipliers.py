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
"""Lagrange multipliers: validation, and the Lagrangian value."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def checked_multipliers(values: Array, count: int) -> NDArray[np.float32]:
    """Return multipliers (C,) as float32; raise ValueError unless `count` finite values >= 0."""
    array = np.asarray(values, dtype=np.float32)
    if array.shape != (count,) or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f'multipliers {values}: expected {count} finite values >= 0')
    return array


def lagrangian(values: Tensor, multipliers: Tensor) -> Tensor:
    """
    Return the Lagrangian values (Q_r - lambda . Q_c) / (1 + sum lambda), (...).

    The division keeps large multipliers from making the policy's steps large
    (docs/concepts/marvel.md).

    :param values: (..., 1 + C) values of the reward, then of each cost
    :param multipliers: (C,), >= 0
    """
    return (values[..., 0] - values[..., 1:] @ multipliers) / (1.0 + multipliers.sum())
