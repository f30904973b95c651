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
"""Module with its optimisers, whose complete state can be saved and restored."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.func import functional_call

from spaars_ros.learning.core.adam import Adam
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.device import CPU
from spaars_ros.learning.core.memory import keep_freed_memory
from spaars_ros.training_file import Training

Loss = Callable[[], tuple[Tensor, Any]]
"""Function that returns a loss and further results for the update."""
Compiled = Callable[[list[Tensor], tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Compiled update: (state tensors, drawn tensors) -> results."""
ADAM = ('flat', 'means', 'squares', 'steps', 'rate')


class TrainableModule(nn.Module):
    """
    Networks with named Adam optimisers.

    A subclass returns the parameters of each optimiser from `trained`, and calls
    `set_learning_rate` at the end of its constructor.
    """

    optimisers: dict[str, Adam]
    compiled: dict[str, Compiled]
    """Compiled updates, by `update_key`."""
    called: dict[str, dict[str, Any]]
    """Calls of uncompiled updates (name, choices, input shapes), from which to compile them."""
    recipe: dict[str, Any] | None = None
    """How the compiling process builds such networks; None: updates cannot be compiled."""
    device = CPU
    """Device of all tensors; `move` changes it."""
    multipliers: Tensor
    """(C,) Lagrange multipliers, in subclasses with costs."""
    _rng: np.random.Generator
    """Generator for draws outside of torch, in subclasses that have any."""

    def seed(self, seed: int) -> None:
        """Seed the generator for draws outside of torch."""
        self._rng = np.random.default_rng(seed)

    def rng_state(self) -> dict[str, Any]:
        """Return the state of that generator, as values for JSON."""
        return dict(self._rng.bit_generator.state)

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Restore `rng_state()`."""
        self._rng.bit_generator.state = state

    def settings(self) -> dict[str, Any]:
        """Return the attributes besides tensors that affect actions, as values for JSON."""
        return {}

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Restore `settings()`."""
        for name, value in settings.items():
            setattr(self, name, value)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        raise NotImplementedError

    def set_learning_rate(self, rate: float) -> None:
        """Create new optimisers with this learning rate; compiled updates are dropped."""
        keep_freed_memory()
        self.optimisers = {name: Adam(parameters, rate)
                           for name, parameters in self.trained().items()}
        self.compiled, self.called = {}, {}
        # Filled on first use: a subclass may add modules after this call.
        self._state: list[Tensor] = []

    def change_learning_rate(self, rate: float) -> None:
        """Set the learning rate; the optimisers keep their moments."""
        for adam in self.optimisers.values():
            adam.rate.fill_(rate)

    # Device

    def move(self, device: torch.device) -> None:
        """Move all tensors, those of the optimisers included; compiled updates are dropped."""
        if device == self.device:
            return
        self.to(device)
        shared: dict[int, Tensor] = {}
        for part in self.modules():
            if isinstance(part, TrainableModule):
                part.device = device
                for adam in part.optimisers.values():
                    adam.move(device)
                own = getattr(part, 'multipliers', None)
                if isinstance(own, Tensor):  # parts that share one keep doing so
                    part.multipliers = shared.setdefault(id(own), own.to(device))
                part.compiled, part.called, part._state = {}, {}, []

    @contextmanager
    def on_cpu(self) -> Iterator[None]:
        """Have all tensors on the CPU within the context, for an export."""
        device = self.device
        self.move(CPU)
        try:
            yield
        finally:
            self.move(device)

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the device."""
        return torch.from_numpy(array).to(self.device)

    # Updates as functions of tensors, which can be compiled as one graph

    def run(self, update: str, *drawn: Tensor, **choices: Any) -> tuple[Tensor, ...]:
        """
        Do an update, compiled if available, and return its results.

        :param update: name of a method (*drawn, **choices) that trains by `minimise`
        :param drawn: input tensors of the update, on any device
        :param choices: variant of the update; each variant is compiled separately
        """
        drawn = tuple(each.to(self.device) for each in drawn)
        key = update_key(update, choices)
        if key in self.compiled:
            return self.compiled[key](self.state_tensors(), drawn)
        if key not in self.called:
            self.called[key] = {'update': update, 'choices': choices, 'drawn': [
                (list(each.shape), str(each.dtype).removeprefix('torch.')) for each in drawn]}
        with torch.no_grad():
            done: tuple[Tensor, ...] = getattr(self, update)(*drawn, **choices)
        return done

    def minimise(self, name: str, loss: Loss) -> tuple[Tensor, Any]:
        """
        Take a step of one optimiser on a loss; return the loss, detached, and its other results.

        The other results stay attached to the loss's graph: the caller detaches them.
        """
        adam = self.optimisers[name]
        self.state_tensors()
        with torch.enable_grad():
            # Not torch.func.grad: its first call imports torch's compiler, which takes 6 s.
            at = adam.flat.detach().requires_grad_()
            value, rest = functional_call(self, dict(zip(self._names[name], adam.split(at))),
                                          (loss,), tie_weights=False)
            gradient, = torch.autograd.grad(value, at)
        adam.descend(gradient)
        return value.detach(), rest

    def forward(self, function: Callable[[], Any]) -> Any:
        """Call a function that uses these networks; an adapter for `functional_call`."""
        return function()

    def state_tensors(self) -> list[Tensor]:
        """Return all tensors that an update may read or write, those of the optimisers first."""
        if not self._state:
            self._state = self._find_state()
        return self._state

    def _find_state(self) -> list[Tensor]:
        by_place = {id(parameter): name for name, parameter in self.named_parameters()}
        self._names = {name: [by_place[id(each)] for each in adam.parameters]
                       for name, adam in self.optimisers.items()}
        moved = {each for names in self._names.values() for each in names}
        self._rest = [name for name in self.state_dict() if name not in moved]
        there = self.state_dict(keep_vars=True)
        self._costs = isinstance(getattr(self, 'multipliers', None), Tensor)
        return [*(getattr(adam, part) for adam in self.optimisers.values() for part in ADAM),
                *(there[name].detach() for name in self._rest),
                *([self.multipliers] if self._costs else [])]

    def parts(self) -> 'list[TrainableModule]':
        """Return the modules that have updates of their own, which are compiled one by one."""
        return [self]

    def set_recipe(self, training: Training, make: Callable[..., Any] | None = None,
                   **sizes: Any) -> None:
        """
        Set the recipe: the training file and the sizes for the constructor.

        :param make: module-level function to call instead of the constructor
        """
        make = type(self) if make is None else make
        # These say when updates are compiled and where they run: one package serves all.
        self.recipe = {'make': f'{make.__module__}:{make.__qualname__}',
                       'training': training.model_dump(exclude={'compile', 'device'}),
                       'sizes': sizes, 'layer_norm': True}

    @contextmanager
    def holding(self, state: list[Tensor]) -> Iterator[dict[str, Tensor]]:
        """
        Use other tensors for optimisers and multipliers within the context.

        :param state: tensors in the order of `state_tensors`
        :return: tensors of the networks by name, for `functional_call`
        """
        given = iter(state)
        kept = {name: {part: getattr(adam, part) for part in ADAM}
                for name, adam in self.optimisers.items()}
        multipliers = self.multipliers if self._costs else None
        tensors: dict[str, Tensor] = {}
        for name, adam in self.optimisers.items():
            for part in ADAM:
                setattr(adam, part, next(given))
            tensors.update(zip(self._names[name], adam.split(adam.flat)))
        tensors.update((name, next(given)) for name in self._rest)
        if multipliers is not None:
            self.multipliers = next(given)
        try:
            yield tensors
        finally:
            for name, adam in self.optimisers.items():
                for part in ADAM:
                    setattr(adam, part, kept[name][part])
            if multipliers is not None:
                self.multipliers = multipliers

    # Losses by autograd

    def step(self, name: str, loss: Tensor) -> float:
        """Take one step of one optimiser on a loss; return the loss."""
        optimiser = self.optimisers[name]
        optimiser.clear()
        loss.backward()
        optimiser.advance()
        return float(loss.detach())

    def descend(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Take one step of each named optimiser on its loss, with one backward pass."""
        for name in losses:
            self.optimisers[name].clear()
        if losses:
            sum(losses.values(), torch.zeros(())).backward()
        for name in losses:
            self.optimisers[name].advance()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the optimisers included, by name."""
        arrays = {f'net/{name}': array_of(value).copy()
                  for name, value in self.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            arrays.update({f'adam/{name}/{key}': array_of(value).copy()
                           for key, value in optimiser.tensors().items()})
        return arrays

    def load_arrays(self, arrays: dict[str, NDArray[Any]], optimisers: bool = True) -> None:
        """Restore `arrays()`, strictly: every tensor of the networks, in its shape."""
        state = {name[4:]: torch.from_numpy(np.array(value))
                 for name, value in arrays.items() if name.startswith('net/')}
        self.load_state_dict(state, strict=True)
        if optimisers:
            self.load_optimisers(arrays)

    def load_optimisers(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore the optimisers' part of `arrays()`."""
        for name, optimiser in self.optimisers.items():
            prefix = f'adam/{name}/'
            optimiser.load({key[len(prefix):]: np.array(value) for key, value in arrays.items()
                            if key.startswith(prefix)})


def update_key(update: str, choices: dict[str, Any]) -> str:
    """Return the key of one variant of an update."""
    return '-'.join([update, *(f'{name}={value}' for name, value in sorted(choices.items()))])


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of some modules."""
    return [parameter for module in modules for parameter in module.parameters()]
