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

"""What 0.1.0 wrote goes on being read: run folder, recording, spool, checkpoint, files."""

import json
import lzma
from pathlib import Path
import shutil

import numpy as np
import pytest

from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import read_spool
from spaars_ros.data.spool import Spool
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.training_file import load_training

OLD = Path(__file__).parent / 'fixtures' / '0.1.0'
"""Made by 0.1.0's own commands: `spaars finetune --episodes 3` with a network of width 8."""


@pytest.fixture
def run(tmp_path):
    """Return a copy of the run folder, its bundles unpacked."""
    shutil.copytree(OLD / 'run', tmp_path / 'run')
    packed = tmp_path / 'run' / 'checkpoints' / 'step_000060.spaars.xz'
    packed.with_suffix('').write_bytes(lzma.decompress(packed.read_bytes()))
    packed.unlink()
    shutil.copy(packed.with_suffix(''), tmp_path / 'run' / 'initial.spaars')
    return tmp_path / 'run'


def test_a_recording_comes_in_the_newest_layout(run):
    schema, rows = read_steps(run / 'transitions.mcap')
    assert schema == StepSchema(observation=26, latent=2, action=7)
    assert rows.shape == (63, schema.width)
    assert schema.get(rows, 'sequence').tolist() == list(range(63))
    assert not schema.get(rows, 'outcome').any() and not schema.get(rows, 'reward_given').any()


def test_a_recording_is_continued_in_one_layout(run):
    path = run / 'transitions.mcap'
    schema, rows = read_steps(path)
    recorder = TransitionRecorder(path, schema)
    assert recorder.next_sequence == 63
    new = rows[-1].copy()
    schema.set(new, 'sequence', 63)
    schema.set(new, 'outcome', 1)
    assert recorder.write_step(new) and recorder.close()
    _, after = read_steps(path)
    np.testing.assert_array_equal(after, [*rows, new])


def test_a_spool_is_read_and_continued(run):
    schema, rows = read_spool(run / 'spool')
    np.testing.assert_array_equal(rows, read_steps(run / 'transitions.mcap')[1])
    spool = Spool(run / 'spool', schema)
    assert spool.count == 63
    np.testing.assert_array_equal(spool.last_row(), rows[-1])
    assert spool.append(rows[0]) and spool.close()
    assert json.loads((run / 'spool' / 'layout.json').read_text())['version'] == 2
    np.testing.assert_array_equal(read_spool(run / 'spool')[1], [*rows, rows[0]])


def test_a_spool_whose_upgrade_was_cut_short_is_whole(run):
    """Power lost between its two files: the records are in the new layout, its name in the old."""
    whole, rows = read_spool(run / 'spool')
    (run / 'spool' / '.layout.json').write_text(whole.to_json())
    (run / 'spool' / 'steps.f64').write_bytes(rows.tobytes())
    spool = Spool(run / 'spool', whole)
    assert spool.count == 63 and spool.close()
    np.testing.assert_array_equal(read_spool(run / 'spool')[1], rows)


def test_demonstrations_and_a_flat_training_file_are_read():
    assert load_dataset(OLD / 'demonstrations.h5', load_robot()).episodes == 6
    training = load_training(str(OLD / 'training.yaml'))
    assert (training.width, training.algorithm) == (8, 'spaars')


def test_a_checkpoint_is_read(run):
    manifest = load_bundle(run / 'checkpoints' / 'step_000060.spaars').manifest
    assert (manifest.task, manifest.observation_dim) == ('reach', 26)
