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
Compile one update of an agent, in a separate process.

The process reads one JSON line on stdin: the agent's recipe, the update, shapes and types of its
inputs, and the path of the package to write. Importing torch's compiler takes seconds, compiling
tens of seconds. The learner spends neither: it only loads the finished package.
"""

from importlib import import_module
import json
import os
from pathlib import Path
import sys
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from spaars_ros.learning.core.ensemble import plainly
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.products import shims
from spaars_ros.learning.core.products import use_products
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training

OPTIONS = {'cpp.threads': 1, 'aot_inductor.custom_ops_to_c_shims': shims()}
"""Compiler options: one thread, as in the learner, and the operations of `products`."""


def make_agent(recipe: dict[str, Any]) -> TrainableModule:
    """Return an agent with the shapes of a `TrainableModule.recipe`."""
    module, _, name = recipe['make'].partition(':')
    agent: TrainableModule = getattr(import_module(module), name)(
        Training(**recipe['training']), **recipe['sizes'])
    for critic in agent.modules():
        if isinstance(critic, EnsembleCritic):
            critic.normalise = recipe['layer_norm']
    return agent


def trace(agent: TrainableModule, update: str, drawn: list[Tensor],
          choices: dict[str, Any]) -> tuple[Any, list[int]]:
    """
    Trace an update; return its graph and the indices of its inputs in [*state, *drawn].

    The graph writes the state's tensors in place.
    """
    from torch.fx.experimental.proxy_tensor import make_fx
    state = agent.state_tensors()

    def whole(*tensors: Tensor) -> tuple[Tensor, ...]:
        with agent.holding(list(tensors[:len(state)])) as networks:
            done: tuple[Tensor, ...] = functional_call(
                agent, networks,
                (lambda: getattr(agent, update)(*tensors[len(state):], **choices),),
                tie_weights=False)
        return done

    with torch.no_grad():
        with plainly():
            graph = make_fx(whole)(*state, *drawn)
    places = [node for node in graph.graph.nodes if node.op == 'placeholder']
    taken = [index for index, node in enumerate(places) if node.users]
    for node in places:
        if not node.users:
            graph.graph.erase_node(node)
    use_products(graph.graph)
    graph.recompile()
    return graph, taken


def compile_update(request: dict[str, Any]) -> None:
    """Compile the update of a request and write its package atomically."""
    from torch._inductor import aoti_compile_and_package
    torch.set_num_threads(1)
    agent = make_agent(request['recipe'])
    drawn = [torch.ones(shape, dtype=getattr(torch, kind)) if kind == 'float32'
             else torch.arange(shape[0], dtype=getattr(torch, kind))
             for shape, kind in request['drawn']]
    graph, taken = trace(agent, request['update'], drawn, request['choices'])
    tensors = [*agent.state_tensors(), *drawn]
    with torch.no_grad():
        program = torch.export.export(graph, tuple(tensors[index] for index in taken))
    path = Path(request['path'])
    partial = path.with_name(f'{path.stem}.{os.getpid()}.pt2')
    aoti_compile_and_package(program, package_path=str(partial), inductor_configs=OPTIONS)
    path.with_suffix('.json').write_text(json.dumps(taken))
    partial.rename(path)


if __name__ == '__main__':
    compile_update(json.loads(sys.stdin.readline()))
