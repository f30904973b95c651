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
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.run.folder import RunFolder
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
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
    new = rows[-1].copy()
    schema.set(new, 'sequence', 63)
    assert spool.append(new) and spool.close()
    layout = json.loads((run / 'spool' / 'layout.json').read_text())
    assert layout['record']['version'] == 2
    np.testing.assert_array_equal(read_spool(run / 'spool')[1], [*rows, new])


def test_a_spool_whose_renewal_was_cut_short_is_whole(run):
    """Power lost between its two files: the layout is new, the new records wait beside the old."""
    steps = run / 'spool' / 'steps.f64'
    old, (schema, rows) = steps.read_bytes(), read_spool(run / 'spool')
    Spool(run / 'spool', schema).close()
    shutil.move(steps, run / 'spool' / 'steps.f64.renewed')
    steps.write_bytes(old)
    spool = Spool(run / 'spool', schema)
    assert spool.count == 63 and spool.close()
    np.testing.assert_array_equal(read_spool(run / 'spool')[1], rows)


def test_demonstrations_and_a_flat_training_file_are_read():
    assert load_dataset(OLD / 'demonstrations.h5', load_robot()).episodes == 6
    training = load_training(str(OLD / 'training.yaml'))
    assert (training.width, training.algorithm) == (8, 'spaars')


def test_a_checkpoint_is_read(run):
    manifest = load_bundle(run / 'checkpoints' / 'step_000060.spaars').manifest
    assert (manifest.task, manifest.observation_dim) == ('reach', 26)


@pytest.fixture
def resumable(run):
    """Return the run folder, with its files where config.json says they are."""
    config = json.loads((run / 'config.json').read_text())
    config['options'].update(task=str(OLD / 'task.yaml'), training=str(OLD / 'training.yaml'))
    config['training']['demonstrations'] = str(OLD / 'demonstrations.h5')
    (run / 'config.json').write_text(json.dumps(config))
    return run


def test_a_run_folder_is_resumed_and_its_episodes_are_scored_as_before(resumable):
    folder = RunFolder.resume(str(resumable))
    episodes = folder.episodes()
    assert [episode['steps'] for episode in episodes] == [20, 20, 20]
    before = json.loads((resumable / 'evaluation_before.json').read_text())
    summary = folder.summary(before, None, episodes)
    kept = json.loads((resumable / 'summary.json').read_text())
    for key in ('tip_error_before', 'cost_last_fifth', 'success_before', 'online_steps',
                'transitions_recorded', 'task'):
        assert summary[key] == pytest.approx(kept[key]) if isinstance(kept[key], float) \
            else summary[key] == kept[key], key
    assert summary['metrics']['tip_error']['before'] == pytest.approx(kept['tip_error_before'])


def test_a_checkpoint_acts_and_goes_on_learning(resumable):
    bundle = load_bundle(resumable / 'checkpoints' / 'step_000060.spaars')
    robot = load_robot()
    task = make_task(robot, load_task(str(OLD / 'task.yaml')))
    check_bundle(bundle, robot, task=task.name, observation_dim=26, spec=task.spec)
    tuner = FineTuner(load_bundle(resumable / 'initial.spaars'), robot=robot, task=task,
                      training=load_training(str(OLD / 'training.yaml')),
                      demonstrations=load_dataset(OLD / 'demonstrations.h5', robot, task), seed=0)
    tuner.restore(bundle)
    _, rows = read_steps(resumable / 'transitions.mcap')
    tuner.catch_up(rows)
    assert tuner.steps == 60
    assert np.isfinite(tuner.update()['critic'])
