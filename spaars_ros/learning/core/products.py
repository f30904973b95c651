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
Products of small matrices in compiled updates: custom operations that replace those of torch.

General libraries reach 80 to 85 % of a core's peak at 128 to 256 rows and columns, and far less
with 14. `products.h` reaches 95 %, and fuses bias, ReLU or the gradient's mask. A traced graph is
rewritten after differentiation, so losses and gradients are defined by torch alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph
from torch.fx import Node

SOURCE = Path(__file__).with_name('products.h')
KINDS: dict[str, Callable[..., Tensor]] = {
    'product': lambda a, b: a @ b,
    'product_bias': lambda a, b, e: a @ b + e,
    'product_relu': lambda a, b, e: torch.relu(a @ b + e),
    'product_mask': lambda a, b, e: torch.where(e > 0, a @ b, 0.0)}
"""What each operation computes: a (..., m, k), b (..., k, n), e broadcast to (..., m, n)."""
_library = torch.library.Library('spaars', 'DEF')
_aten = torch.ops.aten


def _define(name: str, function: Callable[..., Tensor]) -> None:
    extra = '' if name == 'product' else ', Tensor e'
    _library.define(f'{name}(Tensor a, Tensor b{extra}) -> Tensor')
    _library.impl(name, function, 'CompositeExplicitAutograd')
    torch.library.register_fake(
        f'spaars::{name}', lambda a, b, *e: a.new_empty((*a.shape[:-1], b.shape[-1])),
        lib=_library)


for _name, _function in KINDS.items():
    _define(_name, _function)


def operation(name: str) -> Any:
    """Return one of `KINDS` as a torch operation."""
    return getattr(torch.ops.spaars, name).default


def shims() -> dict[Any, list[str]]:
    """Return the value of the compiler option `aot_inductor.custom_ops_to_c_shims`."""
    declared = {name: f'AOTITorchError aoti_torch_cpu_{name}(AtenTensorHandle, AtenTensorHandle, '
                      f'{"" if name == "product" else "AtenTensorHandle, "}AtenTensorHandle*)'
                for name in KINDS}
    # Entries are written after `extern`, before all else: the first one also includes the source.
    source = f'int spaars_products;\n#include "{SOURCE}"\n'
    return {operation(name): [*([source] if name == 'product' else []), text]
            for name, text in declared.items()}


def use_products(graph: Graph) -> None:
    """Replace float32 matrix products in a traced graph, fused with the following operation."""
    for node in list(graph.nodes):
        if node.target in (_aten.mm.default, _aten.bmm.default) and _fits(node):
            _replace(graph, node, operation('product'), node.args)
        elif node.target is _aten.addmm.default and not node.kwargs and _fits(node):
            bias, a, b = node.args
            _replace(graph, node, operation('product_bias'), (a, b, bias))
    for node in list(graph.nodes):
        if node.target is operation('product'):
            _take_in_what_follows(graph, node)
    for node in list(graph.nodes):
        after = _only_user(node, _aten.relu.default)
        if node.target is operation('product_bias') and after is not None:
            _replace(graph, after, operation('product_relu'), node.args, node)


def _fits(node: Node) -> bool:
    value = node.meta['val']
    return value.dtype == torch.float32 and value.device.type == 'cpu' and value.numel() > 0


def _take_in_what_follows(graph: Graph, node: Node) -> None:
    """Fuse a product with its only user, if that is a sum or the mask of a gradient."""
    shape = node.meta['val'].shape
    after = _only_user(node, _aten.add.Tensor)
    if after is not None and not after.kwargs:
        extra = after.args[1] if after.args[0] is node else after.args[0]
        if isinstance(extra, Node) and extra is not node and _spreads(extra, shape):
            _replace(graph, after, operation('product_bias'), (*node.args, extra), node)
    after = _only_user(node, _aten.threshold_backward.default)
    if after is not None and after.args[0] is node and after.args[2] == 0:
        extra = after.args[1]
        if isinstance(extra, Node) and extra.meta['val'].shape == shape:
            _replace(graph, after, operation('product_mask'), (*node.args, extra), node)


def _spreads(extra: Node, shape: torch.Size) -> bool:
    """Return whether a summand has the product's shape, or is one row overall or per matrix."""
    own = extra.meta['val'].shape
    return own in (shape[-1:], shape, torch.Size((*shape[:-2], 1, shape[-1])))


def _only_user(node: Node, target: Any) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target is target else None


def _replace(graph: Graph, last: Node, target: Any, arguments: Any,
             first: Node | None = None) -> None:
    with graph.inserting_before(last):
        made = graph.call_function(target, arguments)
    made.meta = last.meta
    last.replace_all_uses_with(made)
    graph.erase_node(last)
    if first is not None:
        graph.erase_node(first)
