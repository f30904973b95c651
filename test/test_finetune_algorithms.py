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
"""Whole runs of `spaars finetune` over ROS 2 with each further algorithm of the robot."""

from pathlib import Path

from finetune_run import Run
import numpy as np
import pytest
from small_run import HORIZON
from small_run import prepare
from small_run import until

from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Mode
from spaars_ros.policy.bundle import load_bundle

pytestmark = pytest.mark.timeout(120)
pytest_plugins = ['finetune_run']

EPISODES = 6
H = 4


def finished(small: Path, out: Path, runs: list[Run], algorithm: str
             ) -> dict[str, np.ndarray]:
    """Run a job to its end; return the fields of its records, after what holds for each."""
    run = Run(small, out, '--algorithm', algorithm, '--episodes', str(EPISODES))
    runs.append(run)
    until(lambda: run.process.poll() is not None, 90.0, run.text)
    assert run.process.returncode == 0, run.text
    summary = run.summary()
    assert summary['algorithm'] == algorithm
    assert summary['online_steps'] == summary['transitions_recorded'] == EPISODES * HORIZON
    assert summary['bundles_pushed'] >= 2 and summary['lost_ticks'] == 0
    schema, rows = read_steps(out / 'transitions.mcap')
    step = {name: schema.get(rows, name) for name in schema.fields}
    np.testing.assert_array_equal(step['sequence'], np.arange(EPISODES * (HORIZON + 1)))
    # Pushed, tried beside the old one, and promoted.
    assert step['bundle_version'].max() >= 2
    newest = load_bundle(sorted((out / 'checkpoints').glob('step_*.spaars'))[-1])
    assert newest.manifest.algorithm == algorithm and newest.manifest.version >= 2
    return step


def test_spaars_supe_runs_in_the_four_nodes(tmp_path: Path, runs: list[Run]) -> None:
    """Skills are held for H steps, through the bundles that take over in the middle of one."""
    step = finished(prepare(tmp_path / 'small', 'spaars-supe'), tmp_path / 'run', runs,
                    'spaars-supe')
    acts = step['mode'] != Mode.NONE
    assert acts.sum() == EPISODES * HORIZON
    np.testing.assert_array_equal(step['skill_step'][acts], step['index'][acts] % H)
    assert set(step['skill_step'][acts]) == {0, 1, 2, 3}
    same = np.isclose(step['latent'][1:], step['latent'][:-1]).all(1)[acts[1:]]
    np.testing.assert_array_equal(same, step['skill_step'][1:][acts[1:]] > 0)
    manifest = load_bundle(tmp_path / 'run' / 'initial.spaars').manifest
    assert manifest.skill_length == H and manifest.decoder


def test_spar_runs_in_the_four_nodes(tmp_path: Path, runs: list[Run]) -> None:
    """One policy acts throughout, and no skill is ever held."""
    step = finished(prepare(tmp_path / 'small', 'spar'), tmp_path / 'run', runs, 'spar')
    mode = {'latent-only': Mode.LATENT, 'raw-only': Mode.RAW}[
        load_bundle(tmp_path / 'run' / 'initial.spaars').manifest.mode]
    assert set(step['mode']) == {mode, Mode.NONE}
    assert not step['skill_step'].any()
