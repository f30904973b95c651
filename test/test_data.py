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

"""The data room: spool, recording, dataset; one test a way that data gets lost or wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
import resource
import signal
import stat
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from spaars_ros.data.dataset import concatenate
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.dataset import save_dataset
from spaars_ros.data.dataset_steps import dataset_from_rows
from spaars_ros.data.dataset_steps import import_mcap
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool
from spaars_ros.data.spool import SpoolError
from spaars_ros.robot.config import load_robot
from spaars_ros.run.completion import complete_recording
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

pytestmark = pytest.mark.timeout(60)

SCHEMA = StepSchema(observation=26, latent=4, action=7)
OTHER = StepSchema(observation=25, latent=4, action=7)


def steps(count: int, horizon: int = 10, first: int = 0) -> Array:
    """Return step records (count, width): whole episodes of `horizon` transitions."""
    rng = np.random.default_rng(first)
    rows = rng.uniform(-1, 1, (count, SCHEMA.width))
    number = np.arange(first, first + count)
    for name, value in (('sequence', number), ('episode', number // (horizon + 1)),
                        ('index', number % (horizon + 1)), ('stamp', number * 0.05),
                        ('flag', Flag.TRUNCATED * (number % (horizon + 1) == horizon))):
        rows[:, SCHEMA.fields[name].start] = value
    return rows


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[Path]:
    """Give a directory on a file system with `room` bytes: tmpfs, else a file size limit."""
    path.mkdir(parents=True, exist_ok=True)
    mounted = os.geteuid() == 0 and subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={room}', 'tmpfs', str(path)],
        capture_output=True, check=False).returncode == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield path
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if mounted:
            subprocess.run(['umount', '-l', str(path)], check=True)


def make_room(path: Path) -> None:
    """End what `full_disk` does to `path`."""
    if os.path.ismount(path):
        subprocess.run(['mount', '-o', 'remount,size=64m', str(path)], check=True)
    resource.setrlimit(resource.RLIMIT_FSIZE,
                       (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


# Spool


def test_spool_returns_what_was_appended_from_queue_and_disk(tmp_path: Path) -> None:
    rows = steps(2500)
    spool = Spool(tmp_path, SCHEMA)
    for row in rows:
        assert spool.append(row)
    np.testing.assert_array_equal(spool.read(0, 2499), rows)
    np.testing.assert_array_equal(spool.read(2400, 9999), rows[2400:])
    assert spool.flush()
    assert spool.backlog == 0 and spool.count == 2500
    np.testing.assert_array_equal(spool.read(17, 17), rows[17:18])
    assert spool.read(2500, 2600).shape == (0, SCHEMA.width)
    assert spool.close()
    assert os.path.getsize(tmp_path / 'steps.f64') == rows.nbytes + 8 * len(rows)


@pytest.mark.parametrize('taken', [0, 700, 1000])
def test_steps_that_the_learner_had_not_taken_reach_the_recording(tmp_path: Path,
                                                                  taken: int) -> None:
    """A run that ends while a restarted learner catches up has them in the spool alone."""
    rows = steps(1000)
    spool = Spool(tmp_path / 'spool', SCHEMA)
    for row in rows:
        spool.append(row)
    assert spool.close()
    recording = tmp_path / 'transitions.mcap'
    if taken:
        recorder = TransitionRecorder(recording, SCHEMA)
        for row in rows[:taken]:
            recorder.write_step(row)
        recorder.write('/cost_monitor/multiplier', {'multiplier': 0.5}, 10**9)
        assert recorder.close()
    assert complete_recording(tmp_path / 'spool', recording) == (1000 - taken, [])
    np.testing.assert_array_equal(read_steps(recording)[1], rows)
    assert complete_recording(tmp_path / 'spool', recording) == (0, [])


def test_spool_keeps_its_own_copy_of_a_reused_row(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SCHEMA)
    row = SCHEMA.row(sequence=0)
    spool.append(row)
    row[:] = 7.0
    assert spool.close()
    assert Spool(tmp_path, SCHEMA).read(0, 0)[0, 0] == 0.0


def test_spool_cuts_a_torn_tail_and_continues(tmp_path: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    rows = steps(20)
    spool = Spool(tmp_path, SCHEMA)
    for row in rows[:10]:
        spool.append(row)
    spool.close()
    with open(tmp_path / 'steps.f64', 'ab') as file:
        file.write(rows[10].tobytes()[:100])
    spool = Spool(tmp_path, SCHEMA)
    assert 'cut 100 bytes' in caplog.text
    assert spool.count == 10
    last = spool.last_row()
    assert last is not None and last[0] == 9
    for row in rows[10:]:
        spool.append(row)
    spool.close()
    np.testing.assert_array_equal(Spool(tmp_path, SCHEMA).read(0, 19), rows)


def test_spool_refuses_another_schema(tmp_path: Path) -> None:
    Spool(tmp_path, SCHEMA).close()
    with pytest.raises(SpoolError, match='"observation": 26.*"observation": 25'):
        Spool(tmp_path, OTHER)


def test_spool_refuses_a_broken_layout(tmp_path: Path) -> None:
    (tmp_path / 'layout.json').write_text('{"observation": 26}')
    with pytest.raises(SpoolError, match='layout.json'):
        Spool(tmp_path, SCHEMA)


def test_spool_refuses_records_without_layout(tmp_path: Path) -> None:
    (tmp_path / 'steps.f64').write_bytes(b'12345678')
    with pytest.raises(SpoolError, match='without layout.json'):
        Spool(tmp_path, SCHEMA)


def test_spool_in_use_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SCHEMA)
    with pytest.raises(SpoolError, match='in use'):
        Spool(tmp_path, SCHEMA)
    spool.close()
    Spool(tmp_path, SCHEMA).close()


def test_spool_refuses_a_record_of_another_width(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SCHEMA)
    with pytest.raises(ValueError, match=f'{SCHEMA.width}|{OTHER.width}'):
        spool.append(np.zeros(OTHER.width))
    spool.close()


def test_spool_files_are_not_world_writable(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Spool(tmp_path / 'spool', SCHEMA).close()
    finally:
        os.umask(old)
    assert not (tmp_path / 'spool' / 'steps.f64').stat().st_mode & stat.S_IWOTH


@pytest.mark.alone
def test_spool_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    rows = steps(400)
    with full_disk(tmp_path / 'disk', 65536) as disk:
        spool = Spool(disk, SCHEMA)
        for row in rows:
            start = time.monotonic()
            assert spool.append(row)
            assert time.monotonic() - start < 0.5
        assert not spool.flush(timeout=0.5)
        assert spool.error is not None and str(disk) in spool.error
        assert any(os.strerror(e) in spool.error for e in (errno.ENOSPC, errno.EFBIG))
        assert 0 < spool.backlog < 400 and spool.count == 400
        np.testing.assert_array_equal(spool.read(0, 399), rows)
        make_room(disk)
        assert spool.flush(timeout=5.0)
        assert spool.error is None
        np.testing.assert_array_equal(spool.read(0, 399), rows)
        assert spool.close()


def test_spool_over_its_backlog_says_that_it_did_not_take_the_record(tmp_path: Path) -> None:
    with full_disk(tmp_path / 'disk', 4096) as disk:
        spool = Spool(disk, SCHEMA, max_backlog=20)
        taken = [spool.append(row) for row in steps(100)]
        assert not taken[-1]
        assert sum(taken) == spool.count
        make_room(disk)
        assert spool.close()


def test_spool_survives_a_kill(tmp_path: Path) -> None:
    code = ('import sys, time\nfrom spaars_ros.data.schema import StepSchema\n'
            'from spaars_ros.data.spool import Spool\n'
            's = StepSchema(observation=26, latent=4, action=7)\nspool = Spool(sys.argv[1], s)\n'
            'i = 0\nwhile True:\n    spool.append(s.row(sequence=i)); i += 1\n'
            '    time.sleep(0.001)\n')
    child = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)],
                             cwd=Path(__file__).parents[1])
    file = tmp_path / 'steps.f64'
    while child.poll() is None and (not file.exists() or file.stat().st_size < 100_000):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    spool = Spool(tmp_path, SCHEMA)
    assert spool.count > 100
    np.testing.assert_array_equal(spool.read(0, spool.count)[:, 0], np.arange(spool.count))
    spool.close()


# Recording


def test_recording_is_read_by_rosbags_as_ros2_messages(tmp_path: Path) -> None:
    path, rows = tmp_path / 'transitions.mcap', steps(300)
    recorder = TransitionRecorder(path, SCHEMA)
    for row in rows:
        assert recorder.write_step(row)
    recorder.write('cost_monitor/cost', {'episode': 3, 'cost': [1.5, 2.5]}, 10**9)
    assert recorder.close()
    with AnyReader([path], default_typestore=get_typestore(Stores.EMPTY)) as reader:
        assert {(c.topic, c.msgtype, c.msgcount) for c in reader.connections} == {
            ('/policy_server/step', 'std_msgs/msg/Float64MultiArray', 300),
            ('/cost_monitor/cost', 'std_msgs/msg/Float64MultiArray', 1)}
        got, cost = [], None
        for connection, stamp, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            if connection.topic == '/policy_server/step':
                assert stamp == round(message.data[3] * 1e9)
                got.append(message.data)
                labels = {d.label: (d.stride, d.stride + d.size) for d in message.layout.dim}
            else:
                cost = message
    np.testing.assert_array_equal(np.stack(got), rows)
    assert labels == {name: (s.start, s.stop) for name, s in SCHEMA.fields.items()}
    assert [d.label for d in cost.layout.dim] == ['episode', 'cost']
    assert list(cost.data) == [3.0, 1.5, 2.5]


@pytest.mark.parametrize('share', [0.0, 0.00005, 0.0005, 0.1, 0.5, 0.9, 0.99999])
def test_recording_cut_anywhere_keeps_every_whole_chunk_and_continues(
        tmp_path: Path, share: float) -> None:
    path, rows = tmp_path / 'transitions.mcap', steps(800)
    recorder = TransitionRecorder(path, SCHEMA)
    ends = [0]
    for start in range(0, 800, 100):
        for row in rows[start:start + 100]:
            recorder.write_step(row)
        recorder.flush()
        ends.append(path.stat().st_size)
    recorder.close()
    cut = int(path.stat().st_size * share)
    os.truncate(path, cut)
    whole = 100 * (sum(end <= cut for end in ends) - 1)
    recorder = TransitionRecorder(path, SCHEMA)
    assert recorder.next_sequence == recorder.count
    assert whole <= recorder.count
    for row in rows[max(recorder.next_sequence - 50, 0):]:
        recorder.write_step(row)
    assert recorder.close()
    np.testing.assert_array_equal(read_steps(path)[1], rows)
    # What could not be read whole is never replaced: it is kept under a name that says so.
    assert set(os.listdir(tmp_path)) <= {'transitions.mcap', 'transitions.mcap.damaged-1'}
    with AnyReader([path], default_typestore=get_typestore(Stores.EMPTY)) as reader:
        assert reader.message_count == 800


def test_recording_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / 'transitions.mcap'
    code = ('import sys\nfrom spaars_ros.data.schema import StepSchema\n'
            'from spaars_ros.data.recorder import TransitionRecorder\n'
            's = StepSchema(observation=26, latent=4, action=7)\n'
            'r = TransitionRecorder(sys.argv[1], s)\ni = 0\n'
            'while True:\n    r.write_step(s.row(sequence=i)); i += 1\n'
            '    if i % 50 == 0:\n        r.flush(); sys.stdout.write(f"{i}\\n")\n'
            '        sys.stdout.flush()\n')
    child = subprocess.Popen([sys.executable, '-c', code, str(path)], text=True,
                             stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert child.stdout is not None
    for _ in range(20):
        said = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.communicate()
    recorder = TransitionRecorder(path, SCHEMA)
    assert recorder.count >= said == 1000
    recorder.close()
    rows = read_steps(path)[1]
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(rows)))


def test_recording_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    rows = steps(1000)
    with full_disk(tmp_path / 'disk', 131072) as disk:
        path = disk / 'transitions.mcap'
        recorder = TransitionRecorder(path, SCHEMA)
        for index, row in enumerate(rows):
            recorder.write_step(row)
            if index % 50 == 49:
                recorder.flush()
        assert recorder.error is not None
        assert any(os.strerror(e) in recorder.error for e in (errno.ENOSPC, errno.EFBIG))
        kept = read_steps(path)[1]
        assert 0 < len(kept) < 1000
        np.testing.assert_array_equal(kept, rows[:len(kept)])
        make_room(disk)
        assert recorder.flush()
        assert recorder.error is None
        np.testing.assert_array_equal(read_steps(path)[1], rows)
        assert recorder.close()
        with AnyReader([path], default_typestore=get_typestore(Stores.EMPTY)) as reader:
            assert reader.message_count == 1000


def test_recording_closed_on_a_full_disk_says_so_and_can_be_continued(tmp_path: Path) -> None:
    rows = steps(1000)
    with full_disk(tmp_path / 'disk', 131072) as disk:
        path = disk / 'transitions.mcap'
        recorder = TransitionRecorder(path, SCHEMA)
        for index, row in enumerate(rows):
            recorder.write_step(row)
            if index % 50 == 49:
                recorder.flush()
        assert not recorder.close()
        assert recorder.error is not None
        make_room(disk)
        again = TransitionRecorder(path, SCHEMA)
        assert 0 < again.count < 1000
        for row in rows[again.next_sequence:]:
            again.write_step(row)
        assert again.close()
        np.testing.assert_array_equal(read_steps(path)[1], rows)


def test_recovery_on_a_full_disk_leaves_the_old_recording(tmp_path: Path) -> None:
    with full_disk(tmp_path / 'disk', 131072) as disk:
        path = disk / 'transitions.mcap'
        recorder = TransitionRecorder(path, SCHEMA)
        for row in steps(150):
            recorder.write_step(row)
        assert recorder.close()
        before = path.read_bytes()
        if not os.path.ismount(disk):
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match='transitions'):
            TransitionRecorder(path, SCHEMA)
        assert path.read_bytes() == before
        assert os.listdir(disk) == ['transitions.mcap']


def test_recording_of_another_schema_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / 'transitions.mcap'
    recorder = TransitionRecorder(path, SCHEMA)
    recorder.write_step(SCHEMA.row(sequence=0))
    recorder.close()
    before = path.read_bytes()
    with pytest.raises(RecorderError, match='"observation": 26.*"observation": 25'):
        TransitionRecorder(path, OTHER)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ['transitions.mcap']


def test_a_file_that_is_no_recording_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / 'notes.mcap'
    path.write_text('not for overwriting')
    with pytest.raises(RecorderError, match='not an MCAP file'):
        TransitionRecorder(path, SCHEMA)
    with pytest.raises(RecorderError, match='not an MCAP file'):
        read_steps(path)
    assert path.read_text() == 'not for overwriting'


def test_recording_without_steps_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'empty.mcap'
    TransitionRecorder(path, SCHEMA).close()
    with pytest.raises(RecorderError, match='no policy_server/step'):
        read_steps(path)


def test_a_step_sent_twice_is_recorded_once(tmp_path: Path) -> None:
    recorder = TransitionRecorder(tmp_path / 'a.mcap', SCHEMA)
    assert recorder.write_step(SCHEMA.row(sequence=0))
    assert not recorder.write_step(SCHEMA.row(sequence=0))
    recorder.close()
    assert len(read_steps(tmp_path / 'a.mcap')[1]) == 1


def test_a_clock_that_starts_again_does_not_mix_old_and_new_steps(tmp_path: Path) -> None:
    path = tmp_path / 'transitions.mcap'
    for sequence, stamp in ((0, 100.0), (1, 100.05), (2, 0.0), (3, 0.05)):
        recorder = TransitionRecorder(path, SCHEMA)
        recorder.write_step(SCHEMA.row(sequence=sequence, stamp=stamp))
        recorder.close()
    with AnyReader([path], default_typestore=get_typestore(Stores.EMPTY)) as reader:
        order = [reader.deserialize(raw, c.msgtype).data[0] for c, _, raw in reader.messages()]
    assert order == [0, 1, 2, 3]
    np.testing.assert_array_equal(SCHEMA.get(read_steps(path)[1], 'stamp'),
                                  [100.0, 100.05, 0.0, 0.05])


# Dataset


def test_records_become_transitions() -> None:
    rows = steps(33)
    data = dataset_from_rows(SCHEMA, rows)
    assert len(data) == 30 and data.episodes == 3
    np.testing.assert_array_equal(data.observations[10], SCHEMA.get(rows[11], 'observation'))
    np.testing.assert_array_equal(data.next_observations[9], SCHEMA.get(rows[10], 'observation'))
    np.testing.assert_array_equal(data.efforts[9], SCHEMA.get(rows[10], 'effort'))
    np.testing.assert_array_equal(data.actions[9], SCHEMA.get(rows[9], 'action'))
    np.testing.assert_array_equal(np.flatnonzero(data.truncations), [9, 19, 29])
    assert not data.terminations.any()


def test_a_true_end_is_a_termination_not_a_truncation() -> None:
    rows = steps(22)
    rows[10, SCHEMA.fields['flag']] = Flag.TERMINATED
    data = dataset_from_rows(SCHEMA, rows)
    np.testing.assert_array_equal(np.flatnonzero(data.terminations), [9])
    np.testing.assert_array_equal(np.flatnonzero(data.truncations), [19])


def test_missing_records_never_join_what_was_not_adjacent() -> None:
    rows = np.delete(steps(22), [4, 5], axis=0)
    data = dataset_from_rows(SCHEMA, np.concatenate([rows, rows[:7]]))
    assert len(data) == 20 - 3
    np.testing.assert_array_equal(np.flatnonzero(data.truncations), [2, 6, 16])
    np.testing.assert_array_equal(np.unique(data.episode), [0, 1, 2])


def test_dataset_comes_back_from_disk(tmp_path: Path) -> None:
    robot, task = load_robot('panda'), ReachTask(load_robot('panda'), load_task('reach'))
    data = dataset_from_rows(SCHEMA, steps(33), robot=robot, task=task, source='spaars collect')
    path = tmp_path / 'demonstrations.h5'
    save_dataset(data, path)
    back = load_dataset(path)  # its poses are no arm's
    back.check(robot, task)
    np.testing.assert_allclose(back.observations, data.observations, atol=1e-6)
    np.testing.assert_array_equal(back.truncations, data.truncations)
    assert back.attributes['joints'] == robot.joints
    assert back.attributes['observation_names'] == task.observation_names
    assert back.attributes['source'] == 'spaars collect'
    assert back.attributes['action_scale'] == robot.control.action_scale
    assert back.observations.dtype == np.float32
    assert os.listdir(tmp_path) == ['demonstrations.h5']
    both = concatenate([back, back])
    both.check(robot, task)
    assert len(both) == 60 and both.episodes == 6


def test_recording_becomes_a_dataset(tmp_path: Path) -> None:
    recorder = TransitionRecorder(tmp_path / 'a.mcap', SCHEMA)
    for row in steps(33):
        recorder.write_step(row)
    recorder.close()
    assert len(import_mcap(tmp_path / 'a.mcap')) == 30


def _drop(file: h5py.File) -> None:
    del file['efforts']


def _shorten(file: h5py.File) -> None:
    rows = file['actions'][:-1]
    del file['actions']
    file['actions'] = rows


def _text(file: h5py.File) -> None:
    del file['actions']
    file['actions'] = [b'up', b'down']


def _flat(file: h5py.File) -> None:
    rows = file['actions'][:, 0]
    del file['actions']
    file['actions'] = rows


def _narrow(file: h5py.File) -> None:
    rows = file['next_observations'][:, :-1]
    del file['next_observations']
    file['next_observations'] = rows


def _nan(file: h5py.File) -> None:
    file['observations'][7, 3] = np.nan


def _infinite(file: h5py.File) -> None:
    file['actions'][5, 2] = np.inf


def _large(file: h5py.File) -> None:
    file['actions'][12, 1] = 1.5


def _jump(file: h5py.File) -> None:
    file['next_observations'][13, 0] += 0.1


def _scatter(file: h5py.File) -> None:
    file['episode'][29] = 0


def _early_end(file: h5py.File) -> None:
    file['terminations'][4] = True


def _other_joint(file: h5py.File) -> None:
    file.attrs['joints'] = ['panda_joint2', 'panda_joint1', *file.attrs['joints'][2:]]


def _other_scale(file: h5py.File) -> None:
    file.attrs['action_scale'] = 0.5


def _other_names(file: h5py.File) -> None:
    names = list(file.attrs['observation_names'])
    file.attrs['observation_names'] = [*names[:14], 'camera', *names[15:]]


def _fewer_joints(file: h5py.File) -> None:
    for name in ('actions', 'efforts'):
        rows = file[name][:, :6]
        del file[name]
        file[name] = rows


def _other_observation(file: h5py.File) -> None:
    for name in ('observations', 'next_observations'):
        rows = file[name][:, :20]
        del file[name]
        file[name] = rows


@pytest.mark.parametrize(('spoil', 'message'), [
    (_drop, 'field efforts is missing'),
    (_shorten, 'actions has 29 entries, observations 30'),
    (_text, 'actions holds'),
    (_flat, r'actions has shape \(30,\)'),
    (_narrow, 'next_observations is 25 wide, observations 26'),
    (_nan, 'observations at 7, 3 is nan'),
    (_infinite, 'actions at 5, 2 is inf'),
    (_large, r'actions at 12, 1 is 1.5, outside \[-1, 1\]'),
    (_jump, 'next_observations at 13 is not observations at 14, within episode 1'),
    (_scatter, 'episode at 29 is 0 after 2'),
    (_early_end, 'terminations at 4 is set, but episode 0 goes on'),
    (_other_joint, 'joints differ at 0'),
    (_other_scale, 'action_scale 0.5'),
    (_other_names, "observation_names differ at 14: 'camera'"),
    (_fewer_joints, 'actions has 6 values a row, robot panda has 7 joints'),
    (_other_observation, 'observations has 20 values a row, the task observes 26'),
], ids=lambda value: getattr(value, '__name__', '').strip('_'))
def test_malformed_dataset_is_named(tmp_path: Path, spoil: object, message: str) -> None:
    robot, task = load_robot('panda'), ReachTask(load_robot('panda'), load_task('reach'))
    path = tmp_path / 'a.h5'
    save_dataset(dataset_from_rows(SCHEMA, steps(33), robot=robot, task=task), path)
    with h5py.File(path, 'r+') as file:
        spoil(file)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(path, robot, task)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_hdf5_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.h5').write_text('observations')
    with pytest.raises(DatasetError, match=r'a\.h5: not a readable HDF5 file'):
        load_dataset(tmp_path / 'a.h5')
    (tmp_path / 'a.h5').write_bytes(b'\x89MCAP0\r\n')
    with pytest.raises(DatasetError, match='an MCAP file, expected HDF5: give the folder'):
        load_dataset(tmp_path / 'a.h5')
    with pytest.raises(DatasetError, match='no such file'):
        load_dataset(tmp_path / 'b.h5')


def test_a_malformed_dataset_is_not_written(tmp_path: Path) -> None:
    data: Dataset = dataset_from_rows(SCHEMA, steps(33))
    save_dataset(data, tmp_path / 'a.h5')
    before = (tmp_path / 'a.h5').read_bytes()
    data.actions[3, 0] = np.nan
    with pytest.raises(DatasetError, match='actions at 3, 0 is nan'):
        save_dataset(data, tmp_path / 'a.h5')
    assert (tmp_path / 'a.h5').read_bytes() == before
