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

"""
A second device, simulated on the CPU: its tensors cannot be mixed with those of the CPU.

As on a GPU, an operation on tensors of both raises an error, unless that of the CPU is a scalar,
an index or the source of a copy; and such a tensor has no `numpy()`. A process has to call
`register` before its first backward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch import Tensor
from torch._decomp.decompositions import gru_impl
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from spaars_ros.learning import registry

DEVICE = torch.device('privateuseone', 0)
"""What torch keeps for a device of another library."""
MIXES = ('_to_copy', 'copy_', '_foreach_copy_', 'index')
"""Operations that take tensors of both devices."""


class Second(Tensor):
    """Tensor of the device; `raw` is the one of the CPU that has its values."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> 'Second':
        made: Second = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.shape, dtype=raw.dtype, device=DEVICE, strides=raw.stride(),
            storage_offset=raw.storage_offset())
        made.raw = raw
        return made

    # With these two, and `_keeping`, a module that moves keeps its parameters.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ['raw'], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *rest: Any) -> 'Second':
        return Second(inner['raw'])

    @property
    def data(self) -> 'Second':
        return Second(self.raw.detach())

    @data.setter
    def data(self, value: 'Second') -> None:
        self.raw = value.raw

    def tolist(self) -> Any:
        return self.raw.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        return compute(operation, args, kwargs or {})


def compute(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation on the CPU's tensors; its results are on the device that was asked for."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    ours = [each for each in tensors if isinstance(each, Second)]
    if operation.overloadpacket.__name__ not in MIXES and ours and any(
            each.dim() for each in tensors if not isinstance(each, Second)):
        raise RuntimeError(f'{operation}: tensors of the CPU and of {DEVICE}')
    stays = bool(ours)
    if kwargs.get('device') is not None:
        stays = torch.device(kwargs['device']).type == DEVICE.type
        kwargs = {**kwargs, 'device': torch.device('cpu')}
    args, kwargs = (tree_map_only(Second, lambda each: each.raw, each) for each in (args, kwargs))
    results = operation(*args, **kwargs)
    if not stays:
        return results
    # An operation in place returns the tensor that it was given.
    known = {id(each.raw): each for each in ours}
    return tree_map_only(
        Tensor, lambda each: known[id(each)] if id(each) in known else Second(each), results)


class _Everywhere(TorchDispatchMode):
    """Also moves tensors of the CPU to the device, and creates tensors on it."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get('device')
        if device is not None and torch.device(device).type == DEVICE.type \
                or any(isinstance(each, Second) for each in tree_leaves((args, kwargs))):
            return compute(operation, args, kwargs)
        return operation(*args, **kwargs)


def register() -> None:
    """Make the device known to torch, which cannot forget it again."""
    _setup_privateuseone_for_python_backend('second')
    torch.autograd.set_multithreading_enabled(False)


def _keeping(module: nn.Module, *arguments: Any, apply: Any = nn.Module._apply, **more: Any
             ) -> Any:
    """Move a module; its parameters stay the same objects, as with a GPU."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return apply(module, *arguments, **more)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


@contextmanager
def second_device() -> Iterator[None]:
    """Within the context `device: cuda` means this device."""
    with patch.object(registry, 'find_device', lambda choice: DEVICE), \
            patch.object(torch._VF, 'gru', gru_impl), \
            patch.object(nn.Module, '_apply', _keeping), _Everywhere():
        yield
