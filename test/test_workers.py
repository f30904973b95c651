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

"""Runs in processes and on Ray: the same results, failures named, killed ones taken up again."""

import os
from pathlib import Path
import signal

import pytest
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.commands.sweep import choices_of
from spaars_ros.run import workers
from spaars_ros.run.sweep import grid
from spaars_ros.run.sweep import interquartile_mean
from spaars_ros.run.sweep import sweep
from spaars_ros.run.sweep import Trial
from spaars_ros.run.workers import Workers

pytestmark = pytest.mark.system
SMALL = (('width', 16), ('batch', 16), ('cvae_steps', 5), ('iql_steps', 5), ('align_steps', 5),
         ('warmup_steps', 20), ('critic_steps', 20))
WHERE = [Workers(2), pytest.param(Workers(2, ray='local'), id='ray')]


@pytest.fixture(autouse=True)
def ray_where_wanted(request):
    if 'ray' in request.node.name:
        pytest.importorskip('ray', reason='Ray is an extra: pip install spaars_ros[cluster]')


def half(number: int) -> float:
    if number == 3:
        raise ValueError('three')
    return number / 2


def end_once(path: str) -> str:
    """Be killed the first time, go on the second."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getcwd()


@pytest.mark.parametrize('where', WHERE)
def test_every_job_gives_a_result_or_what_it_raised(where):
    found = dict(where.each(half, range(4)))
    assert str(found.pop(3)) == 'three' and found == {0: 0.0, 1: 0.5, 2: 1.0}


def test_a_run_whose_ray_worker_was_killed_is_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dict(Workers(1, ray='local').each(end_once, ['marker'])) == {'marker': str(tmp_path)}
    assert (tmp_path / 'marker').exists()


def test_a_ray_cluster_that_does_not_answer_is_one_line():
    with pytest.raises(ValueError, match='--ray 127.0.0.1:1: .*'):
        list(Workers(1, ray='127.0.0.1:1').each(half, [1]))


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'ray', None)
    with pytest.raises(ValueError, match=r'spaars_ros\[cluster\]'):
        workers._ray()


def trials(out: Path) -> list[Trial]:
    return [Trial('Pendulum-v1', '', 'locomotion', (*SMALL, ('algorithm', 'sac'), *settings), seed,
                  60, 60, 1, str(out))
            for settings in grid({'utd': [0.5, 1.0]}) for seed in (0, 1)]


@pytest.mark.parametrize('where', WHERE)
def test_a_sweep_gives_a_row_for_each_combination(where, tmp_path):
    lines: list[str] = []
    rows = sweep(trials(tmp_path), where, lines.append)
    assert sorted(row['settings']['utd'] for row in rows) == [0.5, 1.0]
    assert all(row['seeds'] == [0, 1] and len(row['returns']) == 2 for row in rows)
    assert len(lines) == 4 and rows[0]['iqm'] >= rows[1]['iqm']
    # Once more: from their files.
    again = sweep(trials(tmp_path), Workers(1), lines.append)
    assert [row['returns'] for row in again] == [row['returns'] for row in rows]


def test_a_run_of_a_sweep_that_fails_is_named_after_the_others(tmp_path):
    some = trials(tmp_path)[:1]
    bad = Trial('NoSuch-v0', '', 'locomotion', some[0].settings, 0, 60, 60, 1, str(tmp_path / 'b'))
    lines: list[str] = []
    with pytest.raises(ValueError, match='NoSuch'):
        sweep([bad, *some], Workers(1), lines.append)
    assert any('1 of 2' in line for line in lines)


@pytest.mark.parametrize('change, message', [
    (['utd'], 'expected KEY=VALUE,VALUE'), (['utd=1,,2'], 'expected KEY=VALUE,VALUE'),
    (['utd=1', 'utd=2'], 'given twice')])
def test_choices_that_are_none_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        choices_of(change)


def test_a_wrong_key_of_a_sweep_fails_before_anything_runs(tmp_path):
    result = CliRunner().invoke(app, ['sweep', '--env', 'Pendulum-v1', '--set', 'widht=1,2',
                                      '--out', str(tmp_path / 'x')])
    assert result.exit_code == 1 and "unknown key 'widht'" in result.output
    assert not (tmp_path / 'x').exists()


def test_the_mean_between_the_quartiles_leaves_out_the_ends():
    mean, low, high = interquartile_mean([0.0, 1.0, 2.0, 3.0, 1000.0, -1000.0, 1.5, 1.5])
    assert 1.0 <= mean <= 2.0 and low is not None and low <= mean <= high
    assert interquartile_mean([1.0, 2.0])[1:] == (None, None)
