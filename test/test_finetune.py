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

"""Whole runs of `spaars finetune` as a process: what it leaves, and how it ends."""

import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from finetune_run import Run
from finetune_run import sequences
from mcap.reader import make_reader
import numpy as np
import pytest
from small_run import HORIZON
from small_run import prepare
from small_run import until

from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Flag
from spaars_ros.interrupts import END_TIMEOUT
from spaars_ros.policy.bundle import load_bundle

pytestmark = pytest.mark.timeout(120)
pytest_plugins = ['finetune_run']

NODES = ('sim', 'learner', 'cost_monitor', 'policy_server')


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small training, its demonstrations and its bundle."""
    return prepare(tmp_path_factory.mktemp('small'))


def test_a_run_leaves_every_transition_and_its_report(
        small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """All files, all steps once and in order, every process gone."""
    run = Run(small, tmp_path / 'run', '--episodes', '6', '--json',
              str(tmp_path / 'copy.json'))
    runs.append(run)
    assert run.wait() == 0, run.text
    summary = run.summary()
    for key in ('algorithm', 'seed', 'success_before', 'success_after', 'tip_error_before',
                'tip_error_after', 'cost_last_fifth', 'cost_limit', 'online_steps', 'episodes',
                'bundles_pushed', 'transitions_recorded', 'lost_ticks', 'wall_seconds'):
        assert summary[key] is not None, key
    assert summary['episodes'] == 6
    assert summary['online_steps'] == summary['transitions_recorded'] == 6 * HORIZON
    assert summary['bundles_pushed'] >= 2
    assert summary['lost_ticks'] == 0
    assert json.loads((tmp_path / 'copy.json').read_text())['episodes'] == 6
    np.testing.assert_array_equal(sequences(run.out), np.arange(6 * (HORIZON + 1)))
    schema, rows = read_steps(run.out / 'transitions.mcap')
    # One control period between records of an episode: the lockstep lost and invented nothing.
    for episode in range(6):
        stamps = schema.get(rows, 'stamp')[schema.get(rows, 'episode') == episode]
        np.testing.assert_allclose(np.diff(stamps), 0.05, atol=1e-6)
    with open(run.out / 'transitions.mcap', 'rb') as file:
        assert make_reader(file).get_summary().statistics.message_count >= len(rows)
    page = (run.out / 'report.html').read_text()
    assert 'http://' not in page.replace('http://www.w3.org', '')
    assert list((run.out / 'plots').glob('*.png'))
    newest = sorted((run.out / 'checkpoints').glob('step_*.spaars'))[-1]
    assert newest.name == f'step_{6 * HORIZON:06d}.spaars'
    assert 'learner.npz' in load_bundle(newest).extras
    assert not run.processes()


def test_a_finished_run_can_be_resumed(small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """The second part goes on with the steps, episodes and networks of the first."""
    first = Run(small, tmp_path / 'run', '--episodes', '3')
    runs.append(first)
    assert first.wait() == 0, first.text
    version = load_bundle(sorted((first.out / 'checkpoints').iterdir())[-1]).manifest.version
    assert version >= 1
    second = Run(small, tmp_path / 'run', '--resume', '--episodes', '2000')
    runs.append(second)
    # However fast the arm is and however slow its machine: until what was learned since acts.
    until(lambda: any(int(acts) > version for acts in re.findall(r'bundle (\d+)', second.text))
          or second.process.poll() is not None, 90.0, f'a bundle after {version}: {second.text}')
    assert second.process.poll() is None, second.text
    os.kill(second.process.pid, signal.SIGINT)
    assert second.wait() == 0, second.text
    summary = second.summary()
    assert summary['episodes'] > 3
    assert summary['transitions_recorded'] == summary['online_steps'] > 3 * HORIZON
    schema, rows = read_steps(first.out / 'transitions.mcap')
    np.testing.assert_array_equal(sequences(first.out), np.arange(len(rows)))
    # It begins with what acted last; the newest checkpoint was perhaps never on trial.
    episode, acting = schema.get(rows, 'episode'), schema.get(rows, 'bundle_version')
    assert acting[episode == 3][0] >= acting[episode == 2][-1]
    assert acting[-1] > version
    starts = rows[schema.get(rows, 'index') == 0]
    assert len(np.unique(schema.get(starts, 'observation')[:, 0])) == len(starts)
    # The record that closes an aborted episode has the stamp of the state it was aborted in.
    ahead = rows[schema.get(rows, 'flag') != Flag.ABORTED]
    assert (np.diff(schema.get(ahead, 'stamp')) > 0).all()
    assert (np.diff(schema.get(rows, 'stamp')) >= 0).all()


def test_a_folder_with_a_run_is_not_overwritten(
        small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """Nobody loses a run by typing the same --out again."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.json').write_text('{}')
    run = Run(small, tmp_path / 'run')
    runs.append(run)
    assert run.wait() == 1
    assert run.text.startswith('error: ')
    assert 'holds a run already: --resume continues it' in run.text
    assert len(run.text.strip().splitlines()) == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_order(
        small: Path, tmp_path: Path, runs: list[Run], number: int) -> None:
    """Code 0, every process gone, every step recorded, a report, and it can be resumed."""
    run = Run(small, tmp_path / 'run', '--episodes', '2000')
    runs.append(run)
    run.until_episode(3)
    assert set(run.processes()) == set(NODES)
    os.kill(run.process.pid, number)
    assert run.wait(40.0) == 0, run.text
    assert 'Traceback' not in run.text
    assert not run.processes()
    summary = run.summary()
    assert summary['ended'] == 'interrupted'
    assert summary['success_after'] is None
    assert summary['online_steps'] == summary['transitions_recorded'] > 2 * HORIZON
    count = len(sequences(run.out))
    np.testing.assert_array_equal(sequences(run.out), np.arange(count))
    assert (run.out / 'report.html').exists()
    done = summary['episodes'] + 2
    again = Run(small, run.out, '--resume', '--episodes', str(done))
    runs.append(again)
    assert again.wait() == 0, again.text
    np.testing.assert_array_equal(sequences(run.out), np.arange(len(sequences(run.out))))
    assert len(sequences(run.out)) > count


def test_a_killed_learner_loses_nothing(small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """The robot goes on without it; started again, it catches up from the server's spool."""
    run = Run(small, tmp_path / 'run', '--episodes', '2000')
    runs.append(run)
    run.until_episode(2)
    time.sleep(5.0)  # younger than that a dead node is not started again
    os.kill(run.processes()['learner'], signal.SIGKILL)
    log = run.out / 'log' / 'learner.log'
    until(lambda: 'recovered' in log.read_text() or run.process.poll() is not None, 60.0,
          f'a new learner: {run.text}')
    recovered = int(re.search(r'recovered (\d+) steps', log.read_text()).group(1))

    def last(what: str) -> int:
        return int(re.findall(what + r' (\d+)', run.text)[-1])

    def wait_for(what: str, after: int) -> None:
        until(lambda: last(what) > after or run.process.poll() is not None, 60.0,
              f'{what} after {after}: {run.text}')

    # A line is up to an episode behind the arm: two more, and it shows every bundle of before.
    wait_for('episode', last('episode') + 1)
    wait_for('bundle', last('bundle'))
    wait_for('episode', last('episode'))  # whose steps were taken by that bundle
    assert run.process.poll() is None, run.text
    os.kill(run.process.pid, signal.SIGINT)
    assert run.wait(40.0) == 0, run.text
    schema, rows = read_steps(run.out / 'transitions.mcap')
    np.testing.assert_array_equal(schema.get(rows, 'sequence'), np.arange(len(rows)))
    summary = run.summary()
    assert summary['transitions_recorded'] == summary['online_steps'] > recovered
    versions = schema.get(rows, 'bundle_version')
    assert (np.diff(versions) >= 0).all()
    # The arm moves with what the restarted learner learned, not with its last bundle before.
    assert versions[-1] > versions[recovered]


def test_a_killed_conductor_leaves_no_process(
        small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """Nothing drives an arm that nobody watches."""
    run = Run(small, tmp_path / 'run', '--episodes', '2000')
    runs.append(run)
    run.until_episode(1)
    assert set(run.processes()) == set(NODES)
    run.process.kill()
    run.process.wait()
    until(lambda: not run.processes(), END_TIMEOUT + 15.0, 'nodes outlive the conductor')
    for name in NODES:
        text = (run.out / 'log' / f'{name}.log').read_text()
        assert 'Timeout (' not in text, text  # in order, not by the last resort


def test_a_node_that_cannot_become_active_ends_the_run_with_its_reason(
        small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """The error names the node and what it said; nothing is left running."""
    wrong = tmp_path / 'wrong.yaml'
    wrong.write_text('/**/policy_server:\n  ros__parameters:\n    public_key: no_such_key.pem\n')
    run = Run(small, tmp_path / 'run', '--params-file', str(wrong))
    runs.append(run)
    assert run.wait() == 1, run.text
    assert 'error: policy_server: refused to configure' in run.text
    assert 'no_such_key' in run.text
    assert 'Traceback' not in run.text
    assert not run.processes()
    # Nor does a resume that comes to nothing change what the next one goes on with.
    config = (run.out / 'config.json').read_bytes()
    other = tmp_path / 'other.yaml'
    other.write_text(wrong.read_text().replace('no_such_key', 'no_such_pem'))
    again = Run(small, run.out, '--resume', '--episodes', '7', '--params-file', str(other))
    runs.append(again)
    assert again.wait() == 1 and 'no_such_pem' in again.text, again.text
    assert (run.out / 'config.json').read_bytes() == config


def test_a_node_that_dies_ends_the_run(small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """Without its cost monitor the run is not what the operator asked for."""
    run = Run(small, tmp_path / 'run', '--episodes', '2000')
    runs.append(run)
    run.until_episode(1)
    os.kill(run.processes()['cost_monitor'], signal.SIGKILL)
    assert run.wait() == 1, run.text
    assert 'error: cost_monitor: its process ended with code -9' in run.text
    assert not run.processes()
    assert (run.out / 'summary.json').exists(), run.text
    assert run.summary()['ended'] == 'failed'


def test_a_run_whose_spool_is_cut_while_it_is_written_ends_with_an_error(
        small: Path, tmp_path: Path, runs: list[Run]) -> None:
    """Exit code 0 was said of 207 bad rows; what the learner has is recorded, and goes on."""
    run = Run(small, tmp_path / 'run', '--episodes', '2000')
    runs.append(run)
    run.until_episode(2)
    os.truncate(run.out / 'spool' / 'steps.f64', 1000)
    assert run.wait() == 1, run.text
    assert 'the run cannot be recorded any more: SPOOL' in run.text
    assert 'steps.f64 was cut short while it was written' in run.text
    summary = run.summary()
    assert summary['ended'] == 'failed' and 'cut short' in summary['failure']
    assert summary['online_steps'] == summary['transitions_recorded'] > HORIZON
    recorded = len(sequences(run.out))
    again = Run(small, run.out, '--resume', '--episodes', str(summary['episodes'] + 2))
    runs.append(again)
    assert again.wait() == 0, again.text
    assert 'left out' not in again.text
    np.testing.assert_array_equal(sequences(run.out), np.arange(len(sequences(run.out))))
    assert len(sequences(run.out)) > recorded


@pytest.mark.parametrize('arguments, message', [
    (['--robot', 'nobody'], "robot file 'nobody': no such file"),
    (['--set', 'widht=3'], "unknown key 'widht'"),
    (['--mode', 'fast'], 'mode: '),
    (['--bundle', '/nowhere.spaars'], 'unreadable: /nowhere.spaars'),
    (['--resume', '--out', '/nowhere'], '/nowhere: no run to resume'),
])
def test_a_wrong_argument_is_one_clear_line(
        tmp_path: Path, arguments: list[str], message: str) -> None:
    """No traceback, exit code 1."""
    result = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.cli', 'finetune', '--out', str(tmp_path / 'run'),
         *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def spaars(*arguments: str) -> 'subprocess.CompletedProcess[str]':
    """Run a subcommand."""
    return subprocess.run([sys.executable, '-m', 'spaars_ros.cli', *arguments],
                          capture_output=True, text=True, timeout=90, check=False)


def test_collect_pretrain_and_evaluate_work_on_each_others_files(
        small: Path, tmp_path: Path) -> None:
    """The offline half of the job, by hand."""
    # In the small task's 40 ticks the operator reaches too few targets for `collect` to keep them.
    task, data = str(small / 'task.yaml'), tmp_path / 'demonstrations.h5'
    done = spaars('collect', str(data), '--episodes', '2')
    assert done.returncode == 0, done.stderr
    done = spaars('pretrain', '--out', str(tmp_path / 'a.spaars'), '--demonstrations', str(data),
                  '--task', task, '--training', str(small / 'training.yaml'))
    assert done.returncode == 0, done.stderr
    done = spaars('evaluate', str(tmp_path / 'a.spaars'), '--episodes', '2', '--task', task,
                  '--json', str(tmp_path / 'a.json'))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / 'a.json').read_text())
    assert {'success', 'return_mean', 'cost_mean', 'tip_error_mean'} <= result.keys()
    assert len(result['episodes']) == 2


def test_a_broken_bundle_is_one_clear_line(small: Path, tmp_path: Path) -> None:
    """A flipped byte is refused by its digest before anything runs."""
    data = bytearray((small / 'initial.spaars').read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / 'broken.spaars').write_bytes(data)
    done = spaars('evaluate', str(tmp_path / 'broken.spaars'))
    assert done.returncode == 1
    assert done.stderr.startswith('error: wrong_digest')
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('command', ['finetune', 'evaluate', 'pretrain', 'collect',
                                     'bench control', 'bench finetune'])
def test_every_command_has_help_with_examples(command: str) -> None:
    """And starts without torch and ROS 2: help comes at once."""
    done = spaars(*command.split(), '--help')
    assert done.returncode == 0
    assert f'Examples:\n    spaars {command}' in done.stdout
