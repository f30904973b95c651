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
"""Average of a network's weights over its last updates, which oscillates less than the newest."""

from collections.abc import Iterator
from contextlib import contextmanager
import io

import numpy as np
import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.core.device import array_of


class AveragedWeights:
    """
    Polyak-Ruppert average w' <- decay w' + (1 - decay) w of a module's parameters.

    A policy that follows a learning critic oscillates about its limit, and the robot acts with
    the bundle that was pushed last. The average stays near the middle of the oscillation.

    :param decay: 0 to 1; the average spans about 1 / (1 - decay) updates. 0: no average, the
        newest weights act and nothing is copied
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._own: list[Tensor] = list(module.parameters())
        self._decay = decay
        self._mean = [parameter.detach().clone() for parameter in self._own]

    @torch.no_grad()
    def begin(self) -> None:
        """Set the average to the present weights."""
        torch._foreach_copy_(self._mean, self._own)

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights to the average, after each update."""
        if self._decay:
            torch._foreach_lerp_(self._mean, self._own, 1.0 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module the averaged weights within the context."""
        if not self._decay:
            yield
            return
        newest = [parameter.detach().clone() for parameter in self._own]
        with torch.no_grad():
            torch._foreach_copy_(self._own, self._mean)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._own, newest)

    def to_bytes(self) -> bytes:
        """Return the average as an npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, *[array_of(mean) for mean in self._mean])
        return buffer.getvalue()

    def load(self, data: bytes) -> None:
        """Restore `to_bytes()`; raise ValueError if the shapes are those of another module."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = [archive[name] for name in archive.files]
        if [array.shape for array in arrays] != [tuple(mean.shape) for mean in self._mean]:
            raise ValueError('averaged weights of other shapes')
        for mean, array in zip(self._mean, arrays):
            mean.copy_(torch.from_numpy(array))
