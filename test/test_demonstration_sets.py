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

"""Sets of demonstrations: shown, checked, merged, split, exported and read back."""

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.dataset import save_dataset
from spaars_ros.data.transitions import load_transitions
from spaars_ros.robot.config import load_robot
from spaars_ros.run import demonstration_set as sets
from spaars_ros.run.demonstration_export import write
from spaars_ros.run.demonstration_picture import picture_of
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.registry import load_task


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return five demonstrations, of which one is labelled a failure."""
    path = tmp_path_factory.mktemp('sets') / 'five.h5'
    data = collect(load_robot(), load_task('reach').model_copy(update={'horizon': 40}),
                   episodes=5, seed=0)
    data.attributes['outcomes'] = ['success', 'failure', *['unlabelled'] * 3]
    save_dataset(data, path)
    return path


@dataclass
class Done:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


def spaars(*arguments: str | Path) -> Done:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return Done(result.exit_code, result.stdout, result.stderr)


def test_a_set_is_shown_as_table_and_picture(file: Path, tmp_path: Path) -> None:
    picture, numbers = tmp_path / 'set.png', tmp_path / 'set.json'
    done = spaars('data', 'show', file, '--picture', picture, '--json', numbers)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 7
    assert 'success' in done.stdout and 'cells of 2 cm' in done.stdout
    assert done.stdout.splitlines()[2].split()[3] == 'failure', 'as it was labelled'
    assert picture.read_bytes().startswith(b'\x89PNG')
    content = json.loads(numbers.read_text())
    assert len(content['episodes']) == 5 and content['summary']['tip_cells'] > 5


def test_what_is_wrong_with_a_set_is_named(file: Path, tmp_path: Path) -> None:
    data = load_dataset(file)
    first, last = (np.flatnonzero(data.episode == number) for number in (0, 4))
    data.actions[last] = 0.0
    bad = sets.DemonstrationSet('bad', data, None)
    again = sets.merge_sets([bad, bad.chosen([0])])
    found = dict((text.split(':')[0], level) for level, text in sets.findings_of(again))
    assert found['episodes 4'] == 'wrong'
    assert any('episode 5 is episode 0 once more' in text for text in found)
    assert found['robot and task are not known'] == 'look'
    save_dataset(again.data, tmp_path / 'bad.h5')
    done = spaars('data', 'check', tmp_path / 'bad.h5')
    assert done.returncode == 1 and 'nothing moves' in done.stdout
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert len(first)


@pytest.mark.parametrize(('change', 'cause'), [
    (np.rad2deg, 'in degrees?'),
    (lambda joints: joints[:, [0, 3, 2, 1, 4, 5, 6]], 'in another order')],
    ids=['degrees', 'order'])
def test_joints_that_contradict_the_robot_are_wrong(
        file: Path, tmp_path: Path, change: Callable[[Any], Any], cause: str) -> None:
    """`spaars pretrain` refused what `spaars data check` had nothing against."""
    data = load_dataset(file)
    for observed in (data.observations, data.next_observations):
        observed[:, :7] = change(observed[:, :7])
    save_dataset(data, tmp_path / 'odd.h5')
    done = spaars('data', 'check', tmp_path / 'odd.h5')
    assert done.returncode == 1 and cause in done.stdout, done.stdout


def test_a_good_set_passes(file: Path) -> None:
    done = spaars('data', 'check', file)
    assert done.returncode == 0 and 'nothing is wrong' in done.stdout, done.stderr


def test_sets_are_merged_and_split_by_whole_episodes(file: Path, tmp_path: Path) -> None:
    twice, one, rest = (tmp_path / name for name in ('twice.h5', 'one.h5', 'rest.h5'))
    assert spaars('data', 'merge', file, file, '--out', twice).returncode == 0
    assert load_dataset(twice).episodes == 10
    assert list(load_dataset(twice).attributes['outcomes'])[1::5] == ['failure'] * 2
    done = spaars('data', 'split', twice, '--out', one, '--rest', rest, '--share', '0.3')
    assert done.returncode == 0, done.stderr
    assert load_dataset(one).episodes == 3 and load_dataset(rest).episodes == 7
    assert len(load_dataset(one)) + len(load_dataset(rest)) == len(load_dataset(twice))
    done = spaars('data', 'export', twice, tmp_path / 'good.h5', '--only', 'success')
    kept = list(load_dataset(tmp_path / 'good.h5').attributes['outcomes'])
    assert done.returncode == 0 and set(kept) == {'success'}


def test_sets_of_two_robots_cannot_be_one(file: Path) -> None:
    one = sets.open_set(str(file))
    other = sets.open_set(str(file))
    other.data.attributes['joints'] = ['another']
    with pytest.raises(DatasetError, match='joints'):
        sets.merge_sets([one, other])


@pytest.mark.parametrize('arguments, said', [
    (('show', 'nowhere.h5'), 'nowhere.h5: no such file'),
    (('split', 'FILE', '--out', 'a.h5', '--rest', 'b.h5', '--share', '0.01'), 'both parts'),
    (('export', 'FILE', 'a.csv'), 'unknown format'),
    (('export', 'FILE', 'a.h5', '--only', 'great'), 'expected one of success'),
    (('export', 'FILE', 'a.h5', '--only', 'discarded'), 'expected one of success')])
def test_what_cannot_be_done_is_one_line(file: Path, tmp_path: Path, arguments: tuple[str, ...],
                                         said: str) -> None:
    done = spaars('data', *(str(file) if each == 'FILE' else str(tmp_path / each)
                            if each in ('a.h5', 'b.h5', 'a.csv') else each for each in arguments))
    assert done.returncode == 1
    assert said in done.stderr and done.stderr.count('\n') == 1


def test_transitions_with_rewards_are_exported(file: Path, tmp_path: Path) -> None:
    some = sets.open_set(str(file))
    write(some, str(tmp_path / 'set.npz'))
    data = load_transitions(tmp_path / 'set.npz')
    assert data.episodes == 5 and len(data) == len(some.data)
    assert data.rewards == pytest.approx(some.rewards, rel=1e-5)


def test_a_set_goes_to_minari_and_back(file: Path, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('minari')
    monkeypatch.setenv('MINARI_DATASETS_PATH', str(tmp_path))
    some = sets.open_set(str(file))
    write(some, 'minari:arm/person-v0')
    back = load_transitions('minari:arm/person-v0')
    assert back.episodes == 5
    assert back.actions == pytest.approx(np.asarray(some.data.actions), abs=1e-6)
    assert back.next_observations == pytest.approx(
        np.asarray(some.data.next_observations), abs=1e-6)


def test_a_set_goes_to_lerobot_and_back(file: Path, tmp_path: Path) -> None:
    pytest.importorskip('pyarrow', reason='the extra lerobot is not installed')
    some = sets.open_set(str(file))
    write(some, f'lerobot:{tmp_path}/set')
    back = sets.open_set(f'lerobot:{tmp_path}/set')
    for name in ('observations', 'actions', 'next_observations', 'efforts', 'terminations',
                 'truncations', 'episode'):
        assert np.allclose(getattr(back.data, name), getattr(some.data, name), atol=1e-6), name
    assert back.outcomes == some.outcomes and back.task is not None
    with pytest.raises(DatasetError, match='already'):
        write(some, f'lerobot:{tmp_path}/set')


@pytest.mark.parametrize('change, said', [
    (lambda folder: (folder / 'meta/info.json').unlink(), 'info.json'),
    (lambda folder: (folder / 'meta/info.json').write_text('[]'), 'not an info.json'),
    (lambda folder: (folder / 'meta/info.json').write_text(
        '{"codebase_version": "v2.1", "features": {}}'), 'v2.1, this reads v3.0'),
    (lambda folder: next((folder / 'data').glob('*/*')).write_bytes(b'PAR1 no'), 'data: '),
    (lambda folder: next((folder / 'data').glob('*/*')).unlink(), 'no parquet file')])
def test_a_damaged_set_of_lerobot_is_named(file: Path, tmp_path: Path,
                                           change: Callable[[Path], object], said: str) -> None:
    pytest.importorskip('pyarrow', reason='the extra lerobot is not installed')
    folder = tmp_path / 'set'
    write(sets.open_set(str(file)), f'lerobot:{folder}')
    change(folder)
    with pytest.raises(DatasetError, match=said):
        sets.open_set(f'lerobot:{folder}')


def test_without_pyarrow_the_extra_is_named(file: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ImportError, match=r'spaars_ros\[lerobot\]'):
        write(sets.open_set(str(file)), f'lerobot:{tmp_path}/set')


def test_the_picture_needs_no_task(file: Path) -> None:
    assert picture_of(sets.DemonstrationSet('x', load_dataset(file), None))
