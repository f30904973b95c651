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

"""Training of Gymnasium environments by compiled updates."""

import shutil

import numpy as np
import pytest
from test_trainer import FEW
from test_trainer import trainer_of

from spaars_ros.learning.core import compiler as compiler_module
from spaars_ros.learning.core.compiler import Compiler
from spaars_ros.learning.core.compiler import LOOKS

STEPS = 100 + LOOKS + 40
"""Of the warm-up, until the compiler looks for the first time, and of compiled updates."""


def run(out, compile_, steps=STEPS):
    """Train a little; return the trainer, which is closed."""
    trainer = trainer_of(out, steps=steps, compile=compile_, critic_steps=0, **FEW)
    trainer._updates.compiler._beside = False
    trainer.run()
    trainer.close()
    return trainer


@pytest.mark.long
@pytest.mark.skipif(shutil.which('g++') is None, reason='no C++ compiler (apt install g++)')
def test_a_run_with_compiled_updates_is_the_run_without_within_rounding(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler_module, 'CACHE', tmp_path / 'cache')
    plain, compiled = run(tmp_path / 'plain', 'off'), run(tmp_path / 'compiled', 'on')
    assert not plain.algorithm.agent.compiled
    assert compiled.algorithm.agent.compiled and 'fit_critic' in next(iter(
        compiled.algorithm.agent.compiled))
    assert plain.updates == compiled.updates > LOOKS
    expected, got = plain.algorithm.arrays(), compiled.algorithm.arrays()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=5e-3, atol=5e-4, err_msg=name)
    # What the first run left in the cache the next one has from its first look on.
    monkeypatch.setattr(compiler_module.subprocess, 'Popen', None)  # starting one would raise
    again = run(tmp_path / 'again', 'auto')
    assert again.algorithm.agent.compiled.keys() == compiled.algorithm.agent.compiled.keys()


def test_where_every_core_has_a_run_the_run_waits_for_its_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler_module, 'CACHE', tmp_path / 'cache')
    monkeypatch.setenv('CXX', 'true')  # there, and makes nothing
    trainer = trainer_of(tmp_path, steps=0, **FEW)
    agent = trainer.algorithm.agent
    agent.recipe['make'] = 'no_such_module:Agent'
    agent.called['fit_critic'] = {'update': 'fit_critic', 'choices': {}, 'drawn': []}
    compiler = Compiler(agent, beside=False)
    compiler.look()
    assert not compiler.busy and 'no_such_module' in compiler.status
    trainer.close()


def test_a_trainer_that_is_closed_leaves_no_compiler_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler_module, 'CACHE', tmp_path / 'cache')
    monkeypatch.setenv('CXX', 'true')
    trainer = trainer_of(tmp_path, steps=0, compile='on', **FEW)
    compiler = trainer._updates.compiler
    trainer.algorithm.agent.called['fit_critic'] = {
        'update': 'fit_critic', 'choices': {}, 'drawn': []}
    compiler.look()
    process = compiler._process
    assert process is not None
    trainer.close()
    assert process.poll() is not None and not compiler.busy
