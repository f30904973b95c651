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

"""What a policy would do in recorded states, and the film of before and after."""

import os
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest
from small_run import prepare

from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import StepSchema
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.run.film import side_by_side
from spaars_ros.run.film import to_gif

pytest.importorskip('viser', reason="the extra 'page' is not installed")
from spaars_ros.run.page.why import describe_recorded  # noqa: E402
from spaars_ros.run.page.why import told  # noqa: E402
from spaars_ros.run.page.why import why  # noqa: E402

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope='module')
def runtime(tmp_path_factory: pytest.TempPathFactory) -> PolicyRuntime:
    small = prepare(tmp_path_factory.mktemp('small'))
    return PolicyRuntime(load_bundle(small / 'initial.spaars'))


def test_values_of_the_candidates_are_those_that_the_gate_compares(runtime: PolicyRuntime):
    manifest = runtime.manifest
    rng = np.random.default_rng(0)
    for _ in range(20):
        observation = np.asarray(manifest.observation_mean) + rng.normal(
            size=manifest.observation_dim) * np.asarray(manifest.observation_std)
        answer = why(runtime, observation)
        values = {each.name: each for each in answer.candidates}
        base = values.get('pretrained', values['latent'])
        # The bound is the mean difference less kappa of its spread: never above the difference.
        assert answer.gate <= values['raw'].value - base.value + 1e-6
        assert any(np.allclose(answer.action, each.action, atol=1e-6)
                   for each in answer.candidates)


def test_what_the_filter_changed_is_told():
    schema = StepSchema(observation=3, latent=2, action=2)
    row = schema.row(mode=int(Mode.RAW), intervention=1, asked_action=[0.5, 0.0],
                     action=[0.2, 0.0], latent=[0, 0])
    said = describe_recorded(schema, row)
    assert 'raw acted' in said and 'at most 0.300' in said
    assert 'left it as it was' in describe_recorded(schema, schema.row(mode=0))


def test_a_mode_of_another_version_is_shown_and_ends_nothing():
    schema = StepSchema(observation=3, latent=2, action=2)
    assert 'mode 9 acted' in describe_recorded(schema, schema.row(mode=9))


def test_every_candidate_is_a_row_of_the_table(runtime: PolicyRuntime):
    answer = why(runtime, np.asarray(runtime.manifest.observation_mean))
    assert told('mine', answer).count('\n|') == len(answer.candidates) + 2


def test_the_shorter_episode_waits_at_its_end_and_says_how_it_went():
    short, long = [np.zeros((300, 360, 3), np.uint8)], [np.full((300, 360, 3), 90, np.uint8)] * 4
    film = side_by_side([short], [long], ('before', 'after'), ([False], [True]))
    assert len(film) >= 4 and all(frame.shape == (300, 720, 3) for frame in film)
    assert (film[0][:, :360] != film[3][:, :360]).any()  # the label: it has ended
    assert to_gif(film).startswith(b'GIF89a')


@pytest.mark.parametrize('given', [['replay'], ['film']])
def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, given: list[str]):
    done = subprocess.run([sys.executable, '-m', 'spaars_ros.cli', *given, str(tmp_path)],
                          capture_output=True, text=True, timeout=100, env={
                              **os.environ, 'MUJOCO_GL': os.environ.get('MUJOCO_GL', 'egl')})
    said = re.sub(r'^warning.*\n', '', done.stderr)
    assert done.returncode != 0 and 'Traceback' not in said and said.count('\n') == 1, said
    assert str(tmp_path) in said
