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

"""The run folder has one owner, and nothing recorded is lost: without nodes."""

import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.cli import HOME
from spaars_ros.data.files import write_whole
from spaars_ros.data.folder_lock import FolderError
from spaars_ros.data.folder_lock import FolderLock
from spaars_ros.data.folder_lock import held_by
from spaars_ros.data.reconcile import reconcile
from spaars_ros.data.reconcile import ReconcileError
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.data.spool import read_spool
from spaars_ros.data.spool import Spool
from spaars_ros.data.spool import SpoolError
from spaars_ros.data.spool_format import scan_spool
from spaars_ros.learning.gym.training_folder import TrainingFolder
from spaars_ros.learning.online.pretrain import DivergedError
from spaars_ros.learning.online.pretrain import pretrain
from spaars_ros.nodes.learner.step_fetch import GIVE_UP
from spaars_ros.nodes.learner.step_fetch import StepFetch
from spaars_ros.robot.resources import resolve
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.kept_files import anchored_data
from spaars_ros.run.node_parameters import write_node_parameters
from spaars_ros.run.run_config import new_run_folder
from spaars_ros.run.run_config import RunConfig

pytestmark = pytest.mark.timeout(60)

SCHEMA = StepSchema(observation=26, latent=4, action=7)
MARKS = ('config.json',)


def steps(count: int) -> Array:
    """Return records of episodes of 20 steps, whose contents do not compress to nothing."""
    rng = np.random.default_rng(0)
    rows = np.stack([SCHEMA.row(sequence=i, episode=i // 20, index=i % 20, stamp=1.0 + 0.05 * i)
                     for i in range(count)])
    rows[:, SCHEMA.fields['observation']] = rng.normal(size=(count, 26))
    return rows


def spooled(folder: Path, rows: Array) -> Path:
    """Write a spool into a folder; return its file."""
    spool = Spool(folder / 'spool', SCHEMA)
    for row in rows:
        assert spool.append(row)
    assert spool.close()
    return folder / 'spool' / 'steps.f64'


def recorded(folder: Path, rows: Array, every: int = 200) -> Path:
    """Write a recording of several chunks into a folder; return its file."""
    path = folder / 'transitions.mcap'
    recorder = TransitionRecorder(path, SCHEMA)
    for i, row in enumerate(rows):
        recorder.write_step(row)
        if i % every == every - 1:
            recorder.flush()
    assert recorder.close()
    return path


def flip(path: Path, share: float) -> None:
    """Flip one bit at a share of a file's length."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0x10
    path.write_bytes(data)


# One owner


def test_a_folder_in_use_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    out = tmp_path / 'run'
    held = FolderLock(out, MARKS)
    code = ('import sys\nfrom spaars_ros.data.folder_lock import *\ntry:\n'
            '    FolderLock(sys.argv[1], ("config.json",))\n'
            'except FolderError as error:\n    print(error)\n')
    before = sorted(os.listdir(out))
    said = subprocess.run([sys.executable, '-c', code, str(out)], capture_output=True, text=True)
    assert f'in use by process {os.getpid()}' in said.stdout, said
    assert len(said.stdout.splitlines()) == 1
    assert sorted(os.listdir(out)) == before
    held.release()
    assert held_by(out) == {}
    FolderLock(out, MARKS).release()


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    """Curves of both would be mixed."""
    first, second = TrainingFolder(tmp_path / 'run'), TrainingFolder(tmp_path / 'run')
    first.begin()
    with pytest.raises(ValueError, match=f'in use by process {os.getpid()}'):
        second.begin()
    first.close()
    second.begin()
    second.close()


@pytest.mark.parametrize('place', ['.', '/', '~'])
def test_a_folder_of_something_else_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """With `--out .` one's own training.yaml was overwritten."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderError, match='give a folder of its own'):
        FolderLock(Path(place).expanduser(), MARKS)
    assert not os.listdir(tmp_path)


def test_a_folder_with_files_and_no_run_in_it_is_refused_and_left_as_it_is(
        tmp_path: Path) -> None:
    (tmp_path / 'training.yaml').write_text('mine')
    with pytest.raises(FolderError, match='contains training.yaml but no run'):
        FolderLock(tmp_path, MARKS)
    assert os.listdir(tmp_path) == ['training.yaml']


def test_a_link_inside_is_refused_and_not_followed(tmp_path: Path) -> None:
    out, target = tmp_path / 'run', tmp_path / 'mine'
    (out / 'log').mkdir(parents=True)
    (out / 'config.json').write_text('{}')
    target.write_text('mine')
    (out / 'log' / 'learner.log').symlink_to(target)
    with pytest.raises(FolderError, match='learner.log is a symbolic link'):
        FolderLock(out, MARKS, resume=True)
    write_whole(out / 'log' / 'learner.log', b'new')
    assert target.read_text() == 'mine'
    os.symlink(target, out / 'transitions.mcap')
    with pytest.raises(OSError, match='symbolic link'):
        TransitionRecorder(out / 'transitions.mcap', SCHEMA)
    assert target.read_text() == 'mine'


def test_a_folder_that_is_taken_away_is_noticed(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / 'run', MARKS)
    lock.check()
    (tmp_path / 'run').rename(tmp_path / 'other')
    with pytest.raises(FolderError, match='removed, moved or replaced'):
        lock.check()


@pytest.mark.parametrize('arguments', [
    ['--bundle', 'typo.spaars'], ['--params-file', 'typo.yaml'], ['--seed', str(2**63)],
    ['--log-level', 'loud'], ['--json', '/etc/hostname/a.json'],
    ['--demonstrations', 'typo.h5', '--cache', 'cache']], ids=lambda a: a[0])
def test_a_call_that_fails_writes_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Neither the corrected call nor --resume could use the folder that it left."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ['finetune', '--out', 'runs/a', '--training', 'smoke',
                                      *arguments])
    assert result.exit_code != 0
    assert arguments[1] in result.output or arguments[0] in result.output
    assert not os.listdir(tmp_path)


# Nothing recorded is lost


@pytest.mark.parametrize('share', [0.02, 0.1, 0.5])
def test_one_flipped_bit_costs_one_chunk_and_no_byte_of_the_file(
        tmp_path: Path, share: float) -> None:
    """It cost 13,500 of 15,000 steps, and the file that held them was replaced."""
    rows = steps(2000)
    path = recorded(tmp_path, rows)
    flip(path, share)
    damaged = path.read_bytes()
    recorder = TransitionRecorder(path, SCHEMA)
    assert len(rows) - 200 <= recorder.count <= len(rows)
    assert any('cannot be read' in line for line in recorder.damage)
    assert any('transitions.mcap.damaged-1' in line for line in recorder.damage)
    for row in rows:
        recorder.write_step(row)
    assert recorder.close()
    np.testing.assert_array_equal(read_steps(path)[1], rows)
    assert (tmp_path / 'transitions.mcap.damaged-1').read_bytes() == damaged


@pytest.mark.parametrize('share', [0.0, 0.3])
def test_what_only_the_spool_holds_is_recorded_before_a_run_goes_on(
        tmp_path: Path, share: float) -> None:
    """Start poses and stamps were used again after a power cut before the first chunk."""
    rows = steps(600)
    spooled(tmp_path, rows)
    path = recorded(tmp_path, rows)
    os.truncate(path, int(share * path.stat().st_size) + 20)
    said = reconcile(tmp_path)
    assert any('not in transitions.mcap: added' in line for line in said)
    np.testing.assert_array_equal(read_steps(path)[1], rows)
    assert reconcile(tmp_path) == []


@pytest.mark.parametrize('harm', ['removed', 'flipped', 'nan', 'layout', 'cut'])
def test_a_spool_that_is_harmed_is_rebuilt_from_the_recording(
        tmp_path: Path, harm: str) -> None:
    rows = steps(400)
    file = spooled(tmp_path, rows)
    recorded(tmp_path, rows)
    if harm == 'removed':
        shutil.rmtree(file.parent)
    elif harm == 'flipped':
        for share in np.linspace(0.01, 0.99, 50):
            flip(file, float(share))
    elif harm == 'nan':
        data = np.fromfile(file)
        data[:SCHEMA.width + 1][0] = np.nan
        data.tofile(file)
    elif harm == 'layout':
        (file.parent / 'layout.json').unlink()
    else:
        os.truncate(file, file.stat().st_size // 3)
    said = reconcile(tmp_path)
    assert said
    np.testing.assert_array_equal(read_spool(file.parent)[1], rows)
    assert reconcile(tmp_path) == []
    # What was damaged is kept.
    assert (tmp_path / 'spool.damaged-1').exists() == (harm in ('flipped', 'nan', 'layout'))


def test_a_recording_whose_footer_is_too_short_is_read(tmp_path: Path) -> None:
    """Found by the fuzz at length: an exception of the library, and no resume."""
    rows = steps(60)
    path = recorded(tmp_path, rows)
    data = bytearray(path.read_bytes())
    place = len(data) - 8 - 20 - 8
    data[place:place + 8] = (3).to_bytes(8, 'little')
    path.write_bytes(data)
    np.testing.assert_array_equal(read_steps(path)[1], rows)


def forged(rows: Array, name: str, value: float, *, on: bool = True) -> Array:
    """Return one record more that nobody wrote: the last with another number and content."""
    row = rows[-1].copy()
    row[SCHEMA.fields['sequence']] += 1
    if on:
        row[SCHEMA.fields['stamp']] += 0.05
        row[SCHEMA.fields['index']] += 1
    row[SCHEMA.fields[name]] = value
    return np.concatenate([rows, row[None]])


@pytest.mark.parametrize(('name', 'value', 'on', 'why'), [
    ('action', 0.5, False, 'do not follow'), ('stamp', 1.0, True, 'do not follow'),
    ('episode', 2.0**40, True, 'do not follow'), ('sequence', 1e9, True, 'do not follow'),
    ('flag', 7.0, True, 'flag is 7'), ('observation', 1e308, True, r'observation is 1e\+308'),
    ('index', 0.5, True, 'index is 0.5')])
def test_a_forged_step_beyond_the_spools_end_is_left_out(
        tmp_path: Path, name: str, value: float, on: bool, why: str) -> None:
    """It was added to the spool: the server numbered on from it."""
    rows = steps(130)[:127]
    spooled(tmp_path, rows)
    path = recorded(tmp_path, forged(rows, name, value, on=on))
    before = path.read_bytes()
    said = reconcile(tmp_path)
    assert any(re.search(why, line) for line in said), said
    np.testing.assert_array_equal(read_spool(tmp_path / 'spool')[1], rows)
    np.testing.assert_array_equal(read_steps(path)[1], rows)
    assert [file for file in tmp_path.glob('transitions.mcap.*')
            if file.read_bytes() == before], 'nothing recorded is lost'
    assert reconcile(tmp_path) == []


@pytest.mark.parametrize('closes', [False, True])
def test_steps_that_follow_the_spools_end_are_the_servers(tmp_path: Path, closes: bool) -> None:
    """Also one that closes an episode between two ticks, with the stamp of the one before."""
    rows = steps(130)
    if closes:
        rows[-1, SCHEMA.fields['stamp']] = rows[-2, SCHEMA.fields['stamp']]
        rows[-1, SCHEMA.fields['flag']] = 3.0
    spooled(tmp_path, rows[:95])
    path = recorded(tmp_path, rows)
    assert any('35 steps were recorded but not in the spool: added' in line
               for line in reconcile(tmp_path))
    np.testing.assert_array_equal(read_spool(tmp_path / 'spool')[1], rows)
    np.testing.assert_array_equal(read_steps(path)[1], rows)


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize(('name', 'value'), [('flag', 7.0), ('observation', 1e308),
                                             ('mode', 0.5)])
def test_a_recording_poisoned_with_what_no_server_writes_is_mended_from_the_spool(
        tmp_path: Path, name: str, value: float, version: int) -> None:
    """A run of 0.1.0 ended with `7 is not a valid Flag`, and so did every resume."""
    rows, wrong = steps(100), steps(100)
    wrong[40, SCHEMA.fields[name]] = value
    path = recorded(tmp_path, wrong)
    if version == 1:
        (tmp_path / 'spool').mkdir()
        rows.astype('<f8').tofile(tmp_path / 'spool' / 'steps.f64')
        (tmp_path / 'spool' / 'layout.json').write_text(SCHEMA.to_json())
    else:
        spooled(tmp_path, rows)
    assert any('1 recorded steps were not as the server wrote them' in line
               for line in reconcile(tmp_path))
    np.testing.assert_array_equal(read_steps(path)[1], rows)
    np.testing.assert_array_equal(read_spool(tmp_path / 'spool')[1], rows)
    assert reconcile(tmp_path) == []


def test_a_step_that_is_poisoned_in_both_is_refused_with_what_to_do(tmp_path: Path) -> None:
    wrong = steps(100)
    wrong[40, SCHEMA.fields['flag']] = 7.0
    recorded(tmp_path, wrong)
    with pytest.raises(ReconcileError, match=r'step 40 .*flag is 7.*--bundle'):
        reconcile(tmp_path)


def test_a_flipped_value_that_no_checksum_guards_is_taken_from_the_recording(
        tmp_path: Path) -> None:
    """Spools of 0.1.0 have none: 175 rows differed, unnoticed."""
    rows = steps(100)
    recorded(tmp_path, rows)
    wrong = rows.copy()
    wrong[40, SCHEMA.fields['observation']] += 1.0
    (tmp_path / 'spool').mkdir()
    wrong.astype('<f8').tofile(tmp_path / 'spool' / 'steps.f64')
    (tmp_path / 'spool' / 'layout.json').write_text(SCHEMA.to_json())
    assert any('1 that are not as recorded' in line for line in reconcile(tmp_path))
    np.testing.assert_array_equal(read_spool(tmp_path / 'spool')[1], rows)


def test_a_spool_of_0_1_0_goes_on_with_checksums(tmp_path: Path) -> None:
    old = StepSchema(observation=26, latent=4, action=7, version=1)
    rows = steps(50)[:, :old.width]
    rows.astype('<f8').tofile(tmp_path / 'steps.f64')
    (tmp_path / 'layout.json').write_text(json.dumps(
        {'observation': 26, 'latent': 4, 'action': 7, 'width': old.width}))
    spool = Spool(tmp_path, SCHEMA)
    assert spool.count == 50
    spool.append(steps(51)[50])
    spool.close()
    np.testing.assert_array_equal(read_spool(tmp_path)[1][:50, :old.width], rows)
    flip(tmp_path / 'steps.f64', 0.5)
    assert len(scan_spool(tmp_path).damaged) == 1


def test_a_step_that_is_in_neither_is_named_and_everything_stays(tmp_path: Path) -> None:
    """The learner asked for it every 6 s, for ever."""
    rows = steps(300)
    file = spooled(tmp_path, rows)
    data = np.fromfile(file).reshape(300, -1)
    data[250, 0] = np.nan
    data.tofile(file)
    recorded(tmp_path, rows[:200])
    before = file.read_bytes()
    with pytest.raises(ReconcileError, match='step 250 of 300'):
        reconcile(tmp_path)
    assert file.read_bytes() == before
    with pytest.raises(SpoolError, match='record 250 is damaged'):
        Spool(tmp_path / 'spool', SCHEMA)


def test_a_learner_gives_a_step_up_that_does_not_come() -> None:
    sequencer = Sequencer(0)
    sequencer.put(1, steps(2)[1])
    fetch = StepFetch(sequencer, lambda first, last: None)
    for _ in range(GIVE_UP):
        fetch._asked = fetch._advanced = 0.0
        fetch.on_beat()
    assert fetch.given_up == ''
    fetch._asked = fetch._advanced = 0.0
    fetch.on_beat()
    assert 'step 0 was asked for' in fetch.given_up


@pytest.mark.parametrize('harm', ['removed', 'replaced', 'cut'])
def test_writers_notice_that_their_file_is_taken_away(tmp_path: Path, harm: str) -> None:
    """Rows of zeros were left for good, and the run ended as if all were well."""
    rows = steps(60)
    spool = Spool(tmp_path / 'spool', SCHEMA)
    recorder = TransitionRecorder(tmp_path / 'transitions.mcap', SCHEMA)
    for row in rows[:30]:
        spool.append(row)
        recorder.write_step(row)
    assert spool.flush() and recorder.flush()
    for path in (tmp_path / 'spool' / 'steps.f64', tmp_path / 'transitions.mcap'):
        if harm == 'cut':
            os.truncate(path, 100)
        else:
            path.unlink()
            if harm == 'replaced':
                path.write_bytes(b'')
    for row in rows[30:]:
        spool.append(row)
        recorder.write_step(row)
    assert not spool.flush(0.5) and not recorder.flush()
    word = {'removed': 'removed', 'replaced': 'replaced', 'cut': 'cut short'}[harm]
    assert word in spool.lost and word in recorder.lost
    assert word in str(spool.error) and word in str(recorder.error)
    if harm == 'cut':
        assert (tmp_path / 'spool' / 'steps.f64').stat().st_size == 100
    assert not spool.close(0.2) and not recorder.close()


@pytest.mark.parametrize('rate', [1e6])
def test_a_pretraining_that_diverges_makes_no_bundle(rate: float) -> None:
    """NaN weights were saved, with exit code 0."""
    folder = RunFolder(RunConfig(out='', training='smoke', overrides={
        'offline_learning_rate': rate}))
    with pytest.raises(DivergedError, match='pretraining diverged: .*lower offline_learning_rate'):
        pretrain(folder.robot, folder.task, folder.training, folder.demonstrations(), seed=0)


def test_two_runs_of_one_moment_get_folders_of_their_own(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second was refused, or lost: its name was the first one's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('time.strftime', lambda _: 'runs/20260101-000000')
    folders = [RunFolder(RunConfig(out='')) for _ in range(3)]
    locks = [folder.claim(resume=False) for folder in folders]
    for folder, lock in zip(folders, locks):
        folder.begin()
        lock.release()
        assert json.loads((folder.path / 'config.json').read_text())['options']['out'] \
            == str(folder.path)
    assert [folder.path.name for folder in folders] == [
        '20260101-000000', '20260101-000000-2', '20260101-000000-3']
    assert new_run_folder() == 'runs/20260101-000000-4'


@pytest.mark.parametrize('given', ['~/a', '--out=~/a', '~'])
def test_a_home_in_any_path_is_expanded(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves the ~ of --out=~/a; a folder of that name was made."""
    monkeypatch.setenv('HOME', '/home/me')
    assert HOME.sub(lambda found: found[1] + str(Path.home()), given) == given.replace(
        '~', '/home/me')
    assert HOME.sub('', 'a~/b') == 'a~/b' and HOME.sub('', '~other/b') == '~other/b'
    assert resolve('~/a.h5') == Path('/home/me/a.h5') and anchored_data('~/a') == '/home/me/a'


def test_a_name_that_looks_like_a_number_reaches_the_nodes_as_it_is(tmp_path: Path) -> None:
    """ROS 2 takes a plain 12e3 for a number, and the node did not start."""
    from rcl_interfaces.msg import ParameterType
    import rclpy
    file = tmp_path / 'parameters.yaml'
    write_node_parameters(file, {'robot': '12e3', 'task': '1', 'out': 'yes', 'seed': 3})
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--params-file', str(file)], context=context)
    node = rclpy.create_node('somebody', context=context, use_global_arguments=True,
                             automatically_declare_parameters_from_overrides=True)
    try:
        found = {name: node.get_parameter(name).get_parameter_value() for name in
                 ('robot', 'task', 'out')}
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert {value.type for value in found.values()} == {ParameterType.PARAMETER_STRING}
    assert found['robot'].string_value == '12e3'
