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

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from spaars_ros.learning.core.adam import Adam


class Learner(nn.Module):
    """
    Networks and one Adam a name in `optimisers`.

    A subclass names what each optimiser trains in `trained`, and calls `set_learning_rate` last
    in its constructor.
    """

    optimisers: dict[str, Adam]
    _rng: np.random.Generator
    """Of the choices that are not torch's, in subclasses that have any."""

    def seed(self, seed: int) -> None:
        """Seed the choices that are not torch's."""
        self._rng = np.random.default_rng(seed)

    def rng_state(self) -> dict[str, Any]:
        """Return the state of their generator, JSON-able."""
        return dict(self._rng.bit_generator.state)

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Take `rng_state()` back."""
        self._rng.bit_generator.state = state

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser."""
        raise NotImplementedError

    def set_learning_rate(self, rate: float) -> None:
        """Begin with fresh optimisers at this rate."""
        self.optimisers = {name: Adam(parameters, rate)
                           for name, parameters in self.trained().items()}

    def step(self, name: str, loss: Tensor) -> float:
        """Minimise a loss by one step of one optimiser; returns its value."""
        optimiser = self.optimisers[name]
        optimiser.clear()
        loss.backward()
        optimiser.advance()
        return float(loss.detach())

    def descend(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Do one step of each named optimiser on its loss, by one backward pass."""
        for name in losses:
            self.optimisers[name].clear()
        if losses:
            sum(losses.values(), torch.zeros(())).backward()
        for name in losses:
            self.optimisers[name].advance()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, optimisers included, by name."""
        arrays = {f'net/{name}': value.numpy().copy() for name, value in self.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            arrays.update({f'adam/{name}/{key}': value.numpy().copy()
                           for key, value in optimiser.tensors().items()})
        return arrays

    def load_arrays(self, arrays: dict[str, NDArray[Any]], optimisers: bool = True) -> None:
        """Take `arrays()` back, strictly: every tensor present, in its shape."""
        state = {name[4:]: torch.from_numpy(np.array(value))
                 for name, value in arrays.items() if name.startswith('net/')}
        self.load_state_dict(state, strict=True)
        if optimisers:
            self.load_optimisers(arrays)

    def load_optimisers(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the optimisers' part of `arrays()` back."""
        for name, optimiser in self.optimisers.items():
            prefix = f'adam/{name}/'
            optimiser.load({key[len(prefix):]: np.array(value) for key, value in arrays.items()
                            if key.startswith(prefix)})


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of some modules."""
    return [parameter for module in modules for parameter in module.parameters()]
