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

"""Updates as graphs of tensors: the same results, and what happens around compiling."""

import json
from resource import getrusage
from resource import RUSAGE_SELF
import shutil
import time

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from spaars_ros.learning.algorithms.supe.skill_agent import SkillAgent
from spaars_ros.learning.algorithms.supe.skill_learner import SkillLearner
from spaars_ros.learning.core import compiler as compiler_module
from spaars_ros.learning.core.compile import make_agent
from spaars_ros.learning.core.compile import OPTIONS
from spaars_ros.learning.core.compile import trace
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.core.products import operation
from spaars_ros.learning.core.products import use_products
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.training_file import load_training

OBSERVATION, ACTION, CONSTRAINTS, ROWS = 5, 3, 2, 8
COMPILER = shutil.which('g++') is not None
WITH_COSTS = ('spaars', 'spar', 'sac-lagrangian', 'marvel', 'cpq')


def make(name='spaars', gated=True, **changes):
    """Return a tiny algorithm, the policies of which learn from the first update."""
    torch.manual_seed(0)
    constraints = CONSTRAINTS if name in WITH_COSTS else 0
    algorithm = make_algorithm(
        name, load_training('spaars', algorithm=name, width=8, batch=ROWS, latent_dim=2,
                            critic_steps=0, **changes), observation=OBSERVATION, action=ACTION,
        constraints=constraints, seed=0,
        normaliser=Normaliser(np.zeros(OBSERVATION), np.ones(OBSERVATION)))
    if constraints:
        algorithm.set_multipliers(np.array([0.3, 0.1]))
    algorithm.begin_online()
    if hasattr(algorithm.agent, 'gated'):
        algorithm.agent.gated = gated
    return algorithm


def work(algorithm, updates=4, constraints=CONSTRAINTS):
    """Do some updates, of the same batches each time."""
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    for _ in range(updates):
        drawn = {name: torch.from_numpy(rng.standard_normal((ROWS, *shape)).astype(np.float32))
                 for name, shape in (('observation', (OBSERVATION,)), ('action', (ACTION,)),
                                     ('reward', ()), ('cost', (constraints,)),
                                     ('next', (OBSERVATION,)))}
        batch = Batch({**drawn, 'action': drawn['action'].tanh(),
                       'discount': torch.full((ROWS,), 0.9)})
        losses = algorithm.update_online(batch, Batch({
            each: tensor[:ROWS // 2] for each, tensor in batch.items()})) \
            if algorithm.learns_online else algorithm.update_offline(batch, 0)
        if getattr(algorithm.agent, 'raw_imitates', False):
            losses['imitation'] = algorithm.agent.imitate(batch['observation'], batch['action'])
    return losses


def traced(agent):
    """Let an agent run the graphs of what it has done, as the compiled ones would run."""
    for key, call in list(agent.called.items()):
        drawn = [torch.ones(shape, dtype=getattr(torch, kind)) if kind == 'float32'
                 else torch.arange(shape[0]) for shape, kind in call['drawn']]
        kept = [each.clone() for each in agent.state_tensors()]
        graph, taken = trace(agent, call['update'], drawn, call['choices'])
        for mine, before in zip(agent.state_tensors(), kept):
            mine.copy_(before)

        def run(state, given, graph=graph, taken=taken):
            tensors = [*state, *given]
            return graph(*(tensors[index] for index in taken))

        agent.compiled[key] = run


def assert_alike(one, other):
    """Compare every tensor of two agents, those of their optimisers too, within rounding."""
    expected, got = one.arrays(), other.arrays()
    assert expected.keys() == got.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=2e-4, atol=2e-5, err_msg=name)


FLOOR = {'floor': True, 'prior': 1.0, 'independent_targets': True, 'bootstrap': 0.8,
         'latent_candidates': 4}


@pytest.mark.parametrize('climb, anchor', [(False, 0.0), (True, 0.0), (True, 0.1)])
def test_an_update_of_skills_as_a_graph_does_what_it_does_without(climb, anchor):
    def skills():
        torch.manual_seed(0)
        learner = SkillLearner(load_training('staged', width=8, skill_width=8, skill_dim=2),
                               OBSERVATION, ACTION, torch.tensor([0.3, 0.1]))
        learner.set_learning_rate(1e-3)
        return learner

    def learn(learner, updates):
        rng = np.random.default_rng(1)
        torch.manual_seed(1)
        for _ in range(updates):
            batch = Batch({name: torch.from_numpy(rng.standard_normal((ROWS, *shape)).astype(
                np.float32)).tanh() for name, shape in (
                    ('observation', (OBSERVATION,)), ('action', (2,)), ('reward', ()),
                    ('cost', (CONSTRAINTS,)), ('next', (OBSERVATION,)), ('discount', ()))})
            losses = learner.update_sac(batch, batch, -1.0, climb=climb, anchor=anchor)
        return losses

    plain, called, other = skills(), skills(), skills()
    learn(called, 1)
    other.called = called.called
    assert {key.split('-')[0] for key in other.called} == {'fit_models', 'fit_sac'}
    traced(other)
    assert learn(plain, 4) == pytest.approx(learn(other, 4), rel=1e-4)
    assert_alike(plain, other)


def test_skills_and_gate_are_compiled_both():
    """Each has optimisers of its own, and so updates of its own."""
    agent = SkillAgent(load_training('staged', width=8, skill_width=8, skill_dim=2), OBSERVATION,
                       ACTION, CONSTRAINTS)
    assert [part.recipe is not None for part in agent.parts()] == [True, True]
    made = make_agent(agent.skills.recipe)
    assert [each.shape for each in made.state_tensors()] \
        == [each.shape for each in agent.skills.state_tensors()]


@pytest.mark.parametrize('name, gated, changes', [
    ('sac', False, {}), ('spaars', False, {}), ('spaars', True, {}), ('spaars', True, FLOOR),
    ('spaars', True, {**FLOOR, 'self_imitation': True, 'raw_candidate': 'imitation'}),
    ('spaars', True, {'raw_candidate': 'residual'}),
    ('sac-lagrangian', False, {'entropy': 0.0}), ('sac-lagrangian', False, {'entropy': 0.01}),
    ('marvel', False, {'offline_share': 0.5, 'demonstration_weight': 0.5}),
    ('cpq', False, {'cvae_steps': 0, 'cost_limit': 1.0}),
    ('spar', False, {'spar_projection': 'mlp', 'spar_conservative': 0.3}),
    ('spar', False, {'spar_projection': 'proj'})])
def test_an_update_as_a_graph_does_what_it_does_without(name, gated, changes):
    constraints = CONSTRAINTS if name in WITH_COSTS else 0
    plain, graph = make(name, gated, **changes), make(name, gated, **changes)
    work(graph, 1, constraints)
    other = make(name, gated, **changes)
    other.agent.called = graph.agent.called
    traced(other.agent)
    assert work(plain, constraints=constraints) == pytest.approx(
        work(other, constraints=constraints), rel=1e-4)
    assert other.agent.compiled
    assert_alike(plain.agent, other.agent)


SHAPES = ((1, 1, 1), (7, 5, 3), (33, 70, 17), (128, 128, 14))
"""m, n, k of products: blocks and what is left of them, on both sides."""


def products(*operands):
    """Return what comes of products forward and backward: transposed, narrow, masked ones."""
    results = []
    for a, b, bias in zip(operands[::3], operands[1::3], operands[2::3]):
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        with torch.enable_grad():
            hidden = torch.relu(torch.bmm(a, b) + bias)
            # Twice, so that the gradient of a product is masked on its way to the next.
            out = torch.bmm(torch.relu(torch.bmm(hidden, hidden.transpose(1, 2))), hidden).tanh()
            results += [out.detach(), *torch.autograd.grad(out.square().sum(), (a, b))]
    return tuple(results)


@pytest.fixture(scope='module')
def rewritten():
    """Return operands of all shapes, and `products` as a graph of our own products."""
    torch.manual_seed(0)
    operands = [each for m, n, k in SHAPES for each in (
        torch.randn(2, m, k), torch.randn(2, k, n), torch.randn(2, 1, n))]
    graph = make_fx(products)(*operands)
    use_products(graph.graph)
    graph.recompile()
    return operands, graph


def assert_same(results, expected):
    for mine, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_products_in_a_traced_graph_are_those_of_torch(rewritten):
    operands, graph = rewritten
    used = {node.target for node in graph.graph.nodes}
    assert operation('product_relu') in used and operation('product_mask') in used
    assert torch.ops.aten.bmm.default not in used
    assert_same(graph(*operands), products(*operands))


@pytest.mark.skipif(not COMPILER, reason='no C++ compiler (apt install g++)')
def test_compiled_products_are_those_of_torch(rewritten, tmp_path):
    from torch._C._aoti import AOTIModelPackageLoader
    from torch._inductor import aoti_compile_and_package
    operands, graph = rewritten
    path = aoti_compile_and_package(torch.export.export(graph, tuple(operands)),
                                    package_path=str(tmp_path / 'products.pt2'),
                                    inductor_configs=OPTIONS)
    compiled = AOTIModelPackageLoader(path, 'model', False, 1, -1)
    assert_same(compiled.boxed_run(list(operands)), products(*operands))


def test_memory_of_an_update_is_not_handed_back_between_updates():
    algorithm = make()

    def activations():
        faults = getrusage(RUSAGE_SELF).ru_minflt
        for _ in range(20):
            kept = [torch.ones(1 << 18) for _ in range(8)]  # 8 of 1 MB
            del kept
        return getrusage(RUSAGE_SELF).ru_minflt - faults

    assert algorithm.agent.optimisers
    activations()
    assert activations() < 2048  # a page each, once, would be 40,960


def test_a_checkpoint_goes_on_after_the_parameters_moved_into_one_vector():
    first, second = make(), make()
    work(first)
    second.load_arrays(first.arrays())
    second.load_state(first.state())
    second.agent.gated = True
    assert work(first) == pytest.approx(work(second))
    assert_alike(first.agent, second.agent)


def test_without_a_compiler_updates_go_on_and_the_status_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    algorithm = make()
    compiler = Compiler(algorithm.agent, folder=tmp_path / 'cache')
    work(algorithm)
    compiler.look()
    assert 'apt install g++' in compiler.status and not compiler.busy
    assert not (tmp_path / 'cache').exists()


def test_a_short_run_starts_no_compiler_and_off_never_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler_module.subprocess, 'Popen', None)  # whatever starts would raise
    algorithm = make()
    work(algorithm)
    Compiler(algorithm.agent, 'auto', tmp_path).after_update(compiler_module.LOOKS)
    off = Compiler(algorithm.agent, 'off', tmp_path)
    off.after_update(compiler_module.LOOKS * compiler_module.PAYS)
    assert off.status == 'off'


def test_a_package_that_cannot_be_loaded_is_dropped_and_updates_go_on(tmp_path):
    algorithm = make()
    work(algorithm)
    compiler = Compiler(algorithm.agent, 'auto', tmp_path)
    for key, call in algorithm.agent.called.items():
        digest = compiler_module._digest({'recipe': algorithm.agent.recipe, **call})
        (tmp_path / f'{key}-{digest}.pt2').write_bytes(b'cut short')
        (tmp_path / f'{key}-{digest}.json').write_text(json.dumps([0]))
    compiler.look(start=False)
    assert not algorithm.agent.compiled and not list(tmp_path.glob('*.pt2'))
    assert all(key in compiler.status for key in algorithm.agent.called)
    work(algorithm)


def test_a_package_stays_valid_when_only_comments_change_and_not_when_an_update_does(tmp_path):
    def digest(name, code, header='int one;'):
        for room in ('core', 'algorithms/spar', 'gym'):
            (tmp_path / name / room).mkdir(parents=True)
        (tmp_path / name / 'algorithms/spar/update.py').write_text(code)
        (tmp_path / name / 'core/products.h').write_text(header)
        (tmp_path / name / 'gym/trainer.py').write_text(f'name = {name!r}\n')
        return compiler_module.updates_digest(tmp_path / name)

    first = digest('first', 'def update(x):\n    """Return twice x."""\n    return 2 * x\n')
    assert first == digest('same', 'def update(x):\n    # Twice.\n    return 2 * x\n')
    assert first != digest('other', 'def update(x):\n    return 3 * x\n')
    assert first != digest('header', 'def update(x):\n    return 2 * x\n', 'int two;')


@pytest.mark.long
@pytest.mark.skipif(not COMPILER, reason='no C++ compiler (apt install g++)')
def test_compiled_beside_the_learner_and_found_in_the_cache_it_does_the_same(tmp_path):
    plain, compiled, cached = make('sac'), make('sac'), make('sac')
    work(compiled, 1, 0)
    state = compiled.agent.called
    for algorithm in (compiled, cached):
        algorithm.agent.load_arrays(plain.agent.arrays())
        algorithm.load_state(plain.state())
        algorithm.agent.called = dict(state)
    compiler = Compiler(compiled.agent, folder=tmp_path)
    compiler.look()
    until = time.monotonic() + 600.0
    while compiler.busy and time.monotonic() < until:
        time.sleep(0.1)
        compiler.look()
    assert compiler.status == '1 of 1 compiled'
    Compiler(cached.agent, folder=tmp_path).look()
    work(plain, constraints=0)
    for algorithm in (compiled, cached):
        work(algorithm, constraints=0)
        assert_alike(plain.agent, algorithm.agent)
