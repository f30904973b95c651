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

"""Data as it comes from others: each fault is one line with file, field, index."""

import json
from pathlib import Path
import re
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import DatasetWarning
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.dataset import save_dataset
from spaars_ros.data.dataset_steps import import_mcap
from spaars_ros.data.importers import _of_episode
from spaars_ros.data.plausible import contradiction
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.transitions import DataError
from spaars_ros.data.transitions import DataWarning
from spaars_ros.data.transitions import load_transitions
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics

SCHEMA = StepSchema(observation=5, latent=2, action=2)


def written(path: Path) -> Path:
    """Write a sound data set of one episode."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(21, 5))
    data = Dataset(observations=states[:-1], actions=rng.uniform(-1, 1, (20, 2)),
                   next_observations=states[1:], efforts=np.zeros((20, 2)),
                   terminations=np.zeros(20, bool), truncations=np.arange(20) == 19,
                   episode=np.zeros(20, np.int64), attributes={'robot': 'two'})
    save_dataset(data, path)
    return path


def harm(path: Path, what: str) -> None:
    """Do to a file what others' files came with."""
    with h5py.File(path, 'r+') as file:
        if what in ('dangling', 'other file', 'virtual', 'external', 'unwritten', 'huge', 'null',
                    'part', 'flags', 'half', 'nan'):
            name = 'episode' if what in ('half', 'nan') else 'truncations' if what == 'flags' \
                else 'efforts'
            content = file[name][()]
            del file[name]
        if what == 'dangling':
            file['efforts'] = h5py.SoftLink('/nowhere')
        elif what == 'other file':
            file['efforts'] = h5py.ExternalLink('other.h5', '/efforts')
        elif what == 'virtual':
            layout = h5py.VirtualLayout((20, 2), 'f4')
            layout[:] = h5py.VirtualSource('gone.h5', 'efforts', (20, 2))
            file.create_virtual_dataset('efforts', layout)
        elif what == 'external':
            file.create_dataset('efforts', (20, 2), 'f4', external=[('/etc/passwd', 0, 160)])
        elif what == 'unwritten':
            file.create_dataset('efforts', (20, 2), 'f4')
        elif what == 'part':
            file.create_dataset('efforts', (20, 2), 'f4', chunks=(5, 2))[:5] = 1.0
        elif what == 'huge':
            file.create_dataset('efforts', (10**12, 2), 'f4', chunks=(1000, 2))
        elif what == 'null':
            file['efforts'] = h5py.Empty('f4')
        elif what == 'flags':
            file['truncations'] = content * 2
        elif what == 'half':
            file['episode'] = content + 0.5
        elif what == 'nan':
            file['episode'] = np.full(20, np.nan)
        elif what == 'attribute':
            file.attrs['joints'] = h5py.Empty('f4')
        elif what == 'encoding':
            file.attrs['robot'] = np.bytes_(b'\xff\xfe')


@pytest.mark.parametrize(('what', 'said'), [
    ('dangling', 'efforts is a link that leads nowhere'),
    ('other file', 'efforts is a link into another file'), ('virtual', 'efforts is a virtual'),
    ('external', 'efforts is stored in another file, /etc/passwd'),
    ('unwritten', 'efforts was made and never written'),
    ('part', 'efforts has rows that were never written: 1 of 4'),
    ('huge', 'efforts claims 8000000000000 bytes'), ('null', 'efforts is empty'),
    ('flags', 'truncations at 19 is 2'), ('half', 'episode at 0 is 0.5'),
    ('nan', 'episode at 0 is nan'), ('attribute', 'attribute joints'),
    ('encoding', 'attribute robot')])
def test_a_file_that_is_not_what_it_seems_is_refused_by_name(
        tmp_path: Path, what: str, said: str) -> None:
    """Zeros, dropped rows and bytes of a system file were learned from."""
    path = written(tmp_path / 'a.h5')
    assert len(load_dataset(path)) == 20
    harm(path, what)
    with pytest.raises(DatasetError, match=said) as found:
        load_dataset(path)
    assert str(found.value).startswith(str(path)) and '\n' not in str(found.value)


def test_every_key_of_another_layout_is_listed(tmp_path: Path) -> None:
    """`found []` was said of a file in groups."""
    robomimic(tmp_path / 'r.hdf5')
    with pytest.raises(DatasetError, match='data/demo_2/actions.*layout of robomimic'):
        load_dataset(tmp_path / 'r.hdf5')
    with h5py.File(tmp_path / 'a.hdf5', 'w') as file:
        file['action'] = file['observations/qpos'] = np.ones((3, 2))
    for load in (load_dataset, load_transitions):
        with pytest.raises(ValueError, match='action.*observations/qpos.*ALOHA or LeRobot'):
            load(tmp_path / 'a.hdf5')
    old = {key: value for key, value in fields().items() if key != 'terminations'}
    np.savez(tmp_path / 'c.npz', **old, dones=np.ones(10))
    with pytest.raises(DataError, match='terminations is missing.*dones says that .* and not why'):
        load_transitions(tmp_path / 'c.npz')
    (tmp_path / 'lerobot' / 'meta').mkdir(parents=True)
    (tmp_path / 'lerobot' / 'meta' / 'info.json').write_text(json.dumps(
        {'features': {'observation.state': {}, 'action': {}}}))
    with pytest.raises(DataError, match="LeRobot, with .'observation.state', 'action'"):
        load_transitions(tmp_path / 'lerobot')


def robomimic(path: Path, **harm: Any) -> None:
    """Write two demonstrations as robomimic does, the second a success; `harm` replaces."""
    with h5py.File(path, 'w') as file:
        for number, size in ((10, 4), (2, 6)):
            walk = np.arange(size + 1, dtype=float)[:, None] + number
            done = np.arange(size) == size - 1
            arrays = {'actions': np.full((size, 2), 0.5), 'dones': done.astype(int),
                      'rewards': done * (number == 10), 'obs/pose': np.tile(walk[:-1], 3),
                      'obs/grip': walk[:-1, 0], 'obs/image': np.zeros((size, 4, 4, 3), np.uint8),
                      'next_obs/pose': np.tile(walk[1:], 3), 'next_obs/grip': walk[1:, 0], **harm}
            for name, array in arrays.items():
                if array is not None:
                    file[f'data/demo_{number}/{name}'] = array


def test_robomimic_files_are_read(tmp_path: Path) -> None:
    """Demonstrations by number; a success terminates, what only ends is cut."""
    path = tmp_path / 'a.hdf5'
    robomimic(path)
    with pytest.warns(DataWarning, match=r'an observation is grip \(1\), pose \(3\)'):
        data = load_transitions(path)
    assert data.observations.shape == (10, 4) and data.lengths.tolist() == [6, 4]
    np.testing.assert_allclose(data.observations[0], 2.0)
    np.testing.assert_allclose(data.next_observations[-1], 14.0)
    assert np.flatnonzero(data.terminations).tolist() == [9]
    assert np.flatnonzero(data.truncations).tolist() == [5]
    with pytest.warns(DataWarning, match=r'observation is pose \(3\), in'):
        assert load_transitions(path, observe=['pose']).observations.shape == (10, 3)
    for harm, said in (({'obs/pose': np.zeros((3, 3))}, r'demo_2/obs/pose has shape \(3, 3\)'),
                       ({'dones': np.full(6, 2)}, 'demo_2/dones at 0 is 2'),
                       ({'rewards': None}, 'data/demo_2/rewards is missing')):
        robomimic(path, **{'next_obs/pose': None, **harm})
        with pytest.raises(DataError, match=said):
            load_transitions(path)
    robomimic(path)
    with pytest.raises(DataError, match=r"obs/image has shape .*there are \['grip', 'pose'\]"):
        load_transitions(path, observe=['image'])


@pytest.mark.parametrize('load', ['transitions', 'dataset'])
def test_rows_that_were_never_filled_are_named(tmp_path: Path, load: str) -> None:
    """A buffer that was made too long ended in zeros, which were learned from."""
    if load == 'transitions':
        content = fields()
        del content['next_observations']
        for name in ('observations', 'actions', 'rewards'):
            content[name] = np.concatenate([content[name], 0.0 * content[name][:3]])
        for name in ('terminations', 'truncations'):
            content[name] = np.r_[content[name], np.zeros(3, bool)]
        np.savez(tmp_path / 'a.npz', **content, episode=np.arange(13) // 10)
        with pytest.raises(DataError, match='actions at 10 to 12, the end of episode 1, are all'):
            load_transitions(tmp_path / 'a.npz')
        return
    data = load_dataset(written(tmp_path / 'a.h5'))
    for array in (data.observations, data.next_observations, data.actions):
        array[15:] = 0.0
    data.next_observations[14] = 0.0
    with pytest.raises(DatasetError, match='actions at 15 to 19, the end of episode 0, are all 0'):
        data.check()


def test_terms_that_never_change_and_time_limits_as_ends_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / 'a.h5')
    with h5py.File(path, 'r+') as file:
        for name in ('observations', 'next_observations'):
            file[name][:, 3] = 0.7
        file['episode'][10:] = 1
        file['terminations'][9::10] = True
        file['truncations'][19] = False
    with pytest.warns(DatasetWarning) as said:
        load_dataset(path)
    text = ' '.join(str(each.message) for each in said)
    assert 'observations 3 never change' in text
    assert '2 of 2 terminations' in text and 'the time limit of 10 steps' in text


@pytest.mark.parametrize(('name', 'value'), [('joints', 7), ('observation_names', 'tip'),
                                             ('term_widths', ['a']), ('action_scale', 'fast')])
def test_an_attribute_of_another_type_is_one_line(tmp_path: Path, name: str, value: Any) -> None:
    """TypeError: 'int' object is not iterable."""
    path = written(tmp_path / 'a.h5')
    with h5py.File(path, 'r+') as file:
        file.attrs[name] = value
    with pytest.raises(DatasetError, match=f'attribute {name} is '):
        load_dataset(path, load_robot('panda'))


def fields() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(11, 2))
    return {'observations': walk[:-1], 'next_observations': walk[1:],
            'actions': rng.uniform(-1, 1, (10, 1)), 'rewards': np.ones(10),
            'terminations': np.zeros(10, bool), 'truncations': np.arange(10) == 9}


@pytest.mark.parametrize(('more', 'said'), [
    ({'episode': np.r_[np.zeros(9), np.nan]}, 'episode at 9 is nan'),
    ({'episode': np.full(10, 0.5)}, 'episode at 0 is 0.5'),
    ({'terminals': np.zeros(10, bool)}, 'both terminals and terminations')])
def test_what_is_said_twice_or_is_no_number_of_an_episode_is_named(
        tmp_path: Path, more: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / 'a.npz', **{**fields(), **more})
    with pytest.raises(DataError, match=said):
        load_transitions(tmp_path / 'a.npz')


@pytest.mark.parametrize(('observations', 'said'), [(5, 'has 5 entries, expected 6'),
                                                    (7, 'has 7 entries, expected 6')])
def test_a_minari_episode_that_is_short_or_long_by_one_is_named(
        observations: int, said: str) -> None:
    """Sums that agree shifted every later row."""
    episode = SimpleNamespace(observations=np.zeros((observations, 2)), actions=np.zeros((5, 1)),
                              rewards=np.zeros(5), terminations=np.zeros(5, bool),
                              truncations=np.zeros(5, bool))
    with pytest.raises(DataError, match=f'episode 3 {said}'):
        _of_episode(episode, 3, 'minari:a')


def recorded(path: Path, *, first: float = 1.0, episode: int = 0) -> list[Any]:
    recorder = TransitionRecorder(path, SCHEMA)
    rows = [SCHEMA.row(sequence=i, episode=episode, index=i, stamp=first + 0.05 * i,
                       observation=np.full(5, first + i)) for i in range(10)]
    for row in rows:
        recorder.write_step(row)
    assert recorder.close()
    return rows


def test_two_runs_in_one_bag_are_kept_apart(tmp_path: Path) -> None:
    """Half of the steps were dropped, and one was invented between the two."""
    bag = tmp_path / 'bag'
    bag.mkdir()
    first, second = recorded(bag / 'bag_0.mcap'), recorded(bag / 'bag_1.mcap', first=100.0)
    with pytest.raises(RecorderError, match='2 runs of a policy server, of 10, 10 steps'):
        read_steps(bag)
    data = import_mcap(bag)
    assert (len(data), data.episodes) == (18, 2)
    np.testing.assert_allclose(data.observations[0], first[0][SCHEMA.fields['observation']])
    np.testing.assert_allclose(data.observations[9], second[0][SCHEMA.fields['observation']])


def test_a_bag_in_split_files_is_one_recording(tmp_path: Path) -> None:
    """IsADirectoryError."""
    bag = tmp_path / 'bag'
    bag.mkdir()
    for number in range(11):
        recorder = TransitionRecorder(bag / f'bag_{number}.mcap', SCHEMA)
        recorder.write_step(SCHEMA.row(sequence=number, index=number, stamp=0.05 * number))
        assert recorder.close()
    np.testing.assert_array_equal(read_steps(bag)[1][:, 0], np.arange(11))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(RecorderError, match='no .mcap file in this folder'):
        read_steps(tmp_path / 'empty')


def test_two_robots_in_one_bag_are_refused_and_one_can_be_chosen(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows were joined across robots: 0.94 rad in 50 ms."""
    bag = tmp_path / 'bag'
    bag.mkdir()
    for name, first in (('left', 1.0), ('right', 50.0)):
        monkeypatch.setattr('spaars_ros.data.recorder.STEP_TOPIC', f'{name}/policy_server/step')
        recorded(bag / f'{name}.mcap', first=first)
    with pytest.raises(RecorderError, match='several robots: /left/.*, /right/'):
        read_steps(bag)
    _, rows = read_steps(bag, '/right/policy_server/step')
    assert len(rows) == 10 and SCHEMA.get(rows[0], 'stamp') == 50.0


def test_a_reading_that_hardly_changes_keeps_a_floor_of_its_spread() -> None:
    """0.04 m +- 10 um: 0.5 mm off was clipped at 8 standard deviations."""
    rng = np.random.default_rng(0)
    readings = np.stack([0.04 + 1e-5 * rng.normal(size=500), rng.normal(size=500)], axis=1)
    normalise = Normaliser.of(readings, np.array([1e-3, 1e-3]))
    assert abs(float(normalise(np.array([[0.0405, 0.0]]))[0, 0])) < 1.0
    assert normalise.std[1] == pytest.approx(readings[:, 1].std())


def test_attributes_that_are_no_mapping_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / 'a.npz', **fields(), attributes=np.array(json.dumps([1, 2])))
    with pytest.raises(DataError, match='a.npz'):
        load_transitions(tmp_path / 'a.npz')


@pytest.mark.parametrize(('harm', 'said'), [
    ('degrees', r'in degrees\?'), ('exchanged', 'joint2 and panda_joint4 exchanged'),
    ('none', '')])
def test_demonstrations_that_contradict_the_arm_name_the_likely_cause(
        harm: str, said: str) -> None:
    """Degrees, and joints in another order, were pretrained from in silence."""
    robot = load_robot('panda')
    kinematics = Kinematics(robot)
    rng = np.random.default_rng(0)
    joints = np.asarray(robot.home) + rng.uniform(-0.1, 0.1, (30, 7))
    tips = np.stack([kinematics.tip(row) for row in joints])
    if harm == 'degrees':
        joints = np.rad2deg(joints)
    elif harm == 'exchanged':
        # Values that both limits allow.
        joints = np.clip(joints, -1.7, -0.1) * [0, 1, 0, 1, 0, 0, 0] + joints * [
            1, 0, 1, 0, 1, 1, 1]
        tips = np.stack([kinematics.tip(row) for row in joints])
        joints = joints[:, [0, 3, 2, 1, 4, 5, 6]]
    names = [*(f'{joint}.position' for joint in robot.joints), 'tip.x', 'tip.y', 'tip.z']
    found = contradiction(np.concatenate([joints, tips], axis=1), names, robot)
    assert re.search(said, found) if said else found == ''
