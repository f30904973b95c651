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
from spaars_ros.learning.core.memory import keep_freed_memory
from spaars_ros.training_file import Training

Loss = Callable[[], tuple[Tensor, Any]]
"""Returns a loss and what else the update wants of it."""
Compiled = Callable[[list[Tensor], tuple[Tensor, ...]], tuple[Tensor, ...]]
"""A compiled update, of the state and of what is drawn for it."""
ADAM = ('flat', 'means', 'squares', 'steps', 'rate')


class TrainableModule(nn.Module):
    """
    Networks and one Adam a name in `optimisers`.

    A subclass names what each optimiser trains in `trained`, and calls `set_learning_rate` last
    in its constructor.
    """

    optimisers: dict[str, Adam]
    compiled: dict[str, Compiled]
    """Updates that run compiled, by `update_key`."""
    called: dict[str, dict[str, Any]]
    """What the other updates were called with, from which they can be compiled."""
    recipe: dict[str, Any] | None = None
    """From what the process that compiles makes such networks; None: it cannot."""
    multipliers: Tensor
    """lambda (C,), in subclasses that have costs."""
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

    def settings(self) -> dict[str, Any]:
        """Return what acts besides tensors, JSON-able."""
        return {}

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Take `settings()` back."""
        for name, value in settings.items():
            setattr(self, name, value)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser."""
        raise NotImplementedError

    def set_learning_rate(self, rate: float) -> None:
        """Begin with fresh optimisers at this rate."""
        keep_freed_memory()
        self.optimisers = {name: Adam(parameters, rate)
                           for name, parameters in self.trained().items()}
        self.compiled, self.called = {}, {}
        self._state: list[Tensor] = []  # of all modules, which may be made after this one

    def change_learning_rate(self, rate: float) -> None:
        """Go on at this rate, with the moments that the optimisers have."""
        for adam in self.optimisers.values():
            adam.rate.fill_(rate)

    # Updates as functions of tensors, which can be compiled whole

    def run(self, update: str, *drawn: Tensor, **choices: Any) -> tuple[Tensor, ...]:
        """
        Do an update, compiled where it is, and return its tensors.

        :param update: name of a method of (drawn tensors, choices), whose losses `minimise`
        :param choices: which of the update's forms; each is compiled by itself
        """
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
        Take a step of one optimiser on a loss; returns its value and the rest.

        Where both are tensors of the graph of another loss: the rest is to be detached.
        """
        adam = self.optimisers[name]
        self.state_tensors()
        with torch.enable_grad():
            # Not torch.func.grad, the first call of which imports torch's compiler: 6 s.
            at = adam.flat.detach().requires_grad_()
            value, rest = functional_call(self, dict(zip(self._names[name], adam.split(at))),
                                          (loss,), tie_weights=False)
            gradient, = torch.autograd.grad(value, at)
        adam.descend(gradient)
        return value.detach(), rest

    def forward(self, function: Callable[[], Any]) -> Any:
        """Return what a function of these networks does, for `functional_call`."""
        return function()

    def state_tensors(self) -> list[Tensor]:
        """Return every tensor that an update may read or write, those of optimisers first."""
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

    def set_recipe(self, training: Training, **sizes: Any) -> None:
        """Say of which training file and sizes, the constructor's, these networks are made."""
        # When it is compiled is nothing of what is compiled: one package for every mode.
        self.recipe = {'make': f'{type(self).__module__}:{type(self).__qualname__}',
                       'training': training.model_dump(exclude={'compile'}), 'sizes': sizes,
                       'layer_norm': True}

    @contextmanager
    def holding(self, state: list[Tensor]) -> Iterator[dict[str, Tensor]]:
        """Let optimisers and multipliers be others for a while; gives the networks' tensors."""
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


def update_key(update: str, choices: dict[str, Any]) -> str:
    """Return the name of one form of an update."""
    return '-'.join([update, *(f'{name}={value}' for name, value in sorted(choices.items()))])


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of some modules."""
    return [parameter for module in modules for parameter in module.parameters()]
