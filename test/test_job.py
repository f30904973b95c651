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

"""The job around the nodes: what it resumes, what it refuses, how it ends; without nodes."""

from functools import cache
from functools import partial
import io
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.reconcile import complete_spool
from spaars_ros.data.reconcile import ReconcileError
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import read_spool
from spaars_ros.data.spool import Spool
from spaars_ros.interrupts import ending_signals
from spaars_ros.interrupts import Interrupts
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.learner.member import Member
from spaars_ros.nodes.learner.node import LearnerNode
from spaars_ros.nodes.learner.parameters import PROGRESS
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.diagnostics import diagnostic_array
from spaars_ros.ros.diagnostics import ERROR
from spaars_ros.ros.diagnostics import full_name
from spaars_ros.ros.diagnostics import status
from spaars_ros.run import continuation
from spaars_ros.run import domain
from spaars_ros.run import job
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.conductor import Conductor
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.domain import stay_on_this_machine
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.lifecycle_client import ACTIVE
from spaars_ros.run.lifecycle_client import INACTIVE
from spaars_ros.run.lifecycle_client import UNKNOWN
from spaars_ros.run.liveview import learner_line
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.loss_watch import LossWatch
from spaars_ros.run.option_words import read_launch
from spaars_ros.run.preparation import prepare
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_observer import reset_command
from spaars_ros.run.run_observer import RunObserver
from spaars_ros.source_code import code_of

pytestmark = pytest.mark.timeout(60)

STEPS = 30

HANGING = """
import ctypes
import signal
import threading
from spaars_ros import interrupts
signal.signal(signal.SIGTERM, lambda number, frame: None)
interrupts.END_TIMEOUT = 0.5
interrupts.end_in_time()
print('ready', flush=True)
{hang}
"""


class Reached(Exception):
    """The job came to where it would start the nodes."""


@cache
def untrained() -> bytes:
    """Return a whole bundle of the default robot, task and training."""
    folder = RunFolder(RunConfig(out=''))
    return untrained_bundle(folder.robot, folder.task, folder.training).to_bytes()


def made_run(path: Path, **options: Any) -> RunFolder:
    """Return the folder of a run with STEPS recorded and spooled steps."""
    folder = RunFolder(RunConfig(out=str(path), **options))
    lock = folder.claim(resume=False)
    folder.begin()
    lock.release()
    folder.initial_bundle.write_bytes(untrained())
    schema = StepSchema(observation=folder.task.observation_dim, latent=3, action=7)
    rows = np.stack([schema.row(sequence=i, episode=i // 10, index=i % 10, stamp=1.0 + 0.05 * i,
                                flag=Flag.TRUNCATED if i % 10 == 9 else Flag.RUNNING)
                     for i in range(STEPS)])
    recorder, spool = TransitionRecorder(folder.recording, schema), Spool(path / 'spool', schema)
    for row in rows:
        recorder.write_step(row)
        spool.append(row)
    assert recorder.close() and spool.close()
    return folder


def cut(spool: Path, steps: int) -> None:
    """Leave so many steps and a torn one in a spool, as a kill does."""
    width = read_spool(spool)[0].width
    data = (spool / 'steps.f64').read_bytes()
    (spool / 'steps.f64').write_bytes(data[:8 * (width + 1) * steps + 11])


def resumed(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the job up to its start of nodes; return the schema and rows of the spool then."""
    def start(*_: Any) -> None:
        raise Reached
    monkeypatch.setattr(job, 'evaluate_policy', lambda *_: {})
    monkeypatch.setattr(job, 'refuse_others', lambda *_: None)
    monkeypatch.setattr(job, 'load_bundle',
                        lambda _: SimpleNamespace(manifest=SimpleNamespace(version=0)))
    monkeypatch.setattr(job, '_run', start)
    with Interrupts() as interrupts, pytest.raises(Reached):
        job.finetune(folder, LiveView(LiveState(), plain=True), interrupts, resume=True)
    return read_spool(folder.path / 'spool')


def test_a_server_killed_before_its_spool_had_the_step_numbers_on_after_a_resume(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the learner holds is in the spool again before a node is configured."""
    folder = made_run(tmp_path)
    _, rows = read_spool(tmp_path / 'spool')
    cut(tmp_path / 'spool', STEPS - 3)
    assert len(read_spool(tmp_path / 'spool')[1]) == STEPS - 3
    _, after = resumed(RunFolder.resume(str(folder.path)), monkeypatch)
    np.testing.assert_array_equal(after, rows)


def test_a_spool_that_is_ahead_of_the_recording_stays_as_it_is(tmp_path: Path) -> None:
    """The learner fetches what it lacks; a spool in use is no error when nothing is missing."""
    folder = made_run(tmp_path)
    schema, rows = read_spool(tmp_path / 'spool')
    held = Spool(tmp_path / 'spool', schema)
    held.append(schema.row(sequence=STEPS, stamp=9.0))
    held.flush()
    assert complete_spool(folder.path) == []
    held.close()
    assert len(read_spool(tmp_path / 'spool')[1]) == STEPS + 1


def test_a_spool_of_a_run_that_still_runs_is_refused(tmp_path: Path) -> None:
    """One line instead of two servers with the same numbers."""
    folder = made_run(tmp_path)
    cut(tmp_path / 'spool', STEPS - 1)
    held = Spool(tmp_path / 'spool', read_spool(tmp_path / 'spool')[0])
    with pytest.raises(ReconcileError, match='in use by another process'):
        complete_spool(folder.path)
    held.close()


def observer(namespace: str = '/') -> RunObserver:
    """Return an observer whose topics the test plays."""
    node: Any = SimpleNamespace(create_subscription=lambda *_: None,
                                get_namespace=lambda: namespace)
    task: Any = None
    return RunObserver(node, task, LiveState())


def progress(**fields: float) -> Any:
    """Return a learner/progress message."""
    return ArrayCodec(dict.fromkeys(PROGRESS, 1)).encode_fields(**fields)


def test_progress_with_numbers_that_are_not_finite_is_heard() -> None:
    """Ignored, it would look like a silent learner."""
    made = observer()
    made._on_progress(progress(received=7, bc_error=np.nan, novelty=np.inf, margin=np.nan,
                               gate_share=np.nan))
    assert made.received == 7
    assert made.heard_learner > 0.0


def test_a_learner_that_is_paused_is_told_once_and_ends_no_run() -> None:
    made = observer()
    made._on_progress(progress(received=7))
    assert not made.state.paused and not made.state.message
    made._on_progress(progress(received=7, paused=1))
    assert made.state.paused and 'spaars resume' in made.state.message
    assert 'PAUSED' in learner_line(made.state)
    made.state.message = ''
    made._on_progress(progress(received=8, paused=1))
    assert not made.state.message
    assert watched(made) == 'budget done'
    made._on_progress(progress(received=8, paused=0))
    assert not made.state.paused and made.state.message == 'learning continues'


def test_a_stop_while_a_person_is_waited_for_is_the_stop() -> None:
    made = observer()
    for code, text in (('', 'put the cube back'), ('STALE', 'STALE: no joint_states')):
        made._on_status(diagnostic_array(Time(), [status(
            'policy_server', ERROR, text, code=code, phase='ASKING')]))
        assert (made.asking, made.stop) == ((text, '') if not code else ('', text))


def watched(made: RunObserver, *others: str) -> str:
    """Return why a conductor ends a run whose budget is done."""
    made.budget_done, made.heard_learner = True, time.monotonic()
    conductor: Any = SimpleNamespace(
        observer=made, _client=SimpleNamespace(spin=lambda _: None), stop_timeout=0.0,
        view=SimpleNamespace(update=lambda: None, state=made.state), names=['learner'],
        _watch=SimpleNamespace(complaint=''), _looked=0.0, _revive_learner=lambda: None,
        _losses=LossWatch(['learner', *others], lambda _: UNKNOWN))
    return Conductor.watch(conductor)


def test_a_learner_that_stopped_learning_fails_the_run_with_its_reason() -> None:
    """It owes nothing any more, which is not the same as being done."""
    made = observer()
    made._on_progress(progress(received=7))
    assert watched(made) == 'budget done'
    made._on_progress(progress(received=7, fault=1))
    made._on_diagnostics(diagnostic_array(Time(), [
        status('learner', ERROR, 'learning stopped: bc_loss is nan')]))
    with pytest.raises(ConductorError, match='learner: learning stopped: bc_loss is nan'):
        watched(made)


def test_diagnostics_of_another_namespace_are_none_of_this_run() -> None:
    """/diagnostics is one for all robots: the stop of one was told on the other's terminal."""
    left = observer('/left')
    left._on_progress(progress(received=7, fault=1))
    for name in ('right/learner', 'learner', 'learner: right', 'right/cost_monitor: constraints'):
        left._on_diagnostics(diagnostic_array(Time(), [status(name, ERROR, 'of the other')]))
    assert set(left.heard) == {'learner'} and left.learner_words == left.state.message == ''
    left._on_diagnostics(diagnostic_array(Time(), [
        status(full_name('/left', 'cost_monitor: constraints'), ERROR, 'cost 9 above 5'),
        status('learner: left', ERROR, 'of the fleet')]))
    assert left.state.message == 'learner: left: of the fleet'
    assert left.learner_words == 'of the fleet' and 'cost_monitor' in left.heard
    alone = observer()
    alone._on_progress(progress(received=7, fault=1))
    alone._on_diagnostics(diagnostic_array(Time(), [
        status('left/learner', ERROR, 'of another'), status('learner', ERROR, 'mine')]))
    assert alone.learner_words == 'mine'


def test_a_run_whose_cost_monitor_was_lost_ends_as_failed() -> None:
    """Nobody held its limits, whatever the budget says."""
    made = observer()
    made._on_progress(progress(received=7))
    with pytest.raises(ConductorError, match='cost_monitor was lost'):
        watched(made, 'cost_monitor')


def test_a_node_is_lost_when_it_is_silent_and_not_active_for_long() -> None:
    """A paused simulation keeps its nodes silent, and a learner that died comes back."""
    states = {'cost_monitor': ACTIVE, 'learner': UNKNOWN}
    losses = LossWatch(['sim', *states], lambda name: states[name])
    heard = {'cost_monitor': 100.0, 'learner': 100.0}
    said = [losses.complaint(heard, 100.0 + second) for second in range(40)]
    assert not any(said)
    states['cost_monitor'] = INACTIVE
    said = [losses.complaint(heard, 140.0 + second) for second in range(20)]
    assert not any(said[:10]) and any('cost_monitor was lost (inactive)' in each for each in said)
    states['cost_monitor'] = ACTIVE
    said = [losses.complaint(heard, 160.0 + second) for second in range(10)]
    assert any('learner was lost (unknown)' in each for each in said)


def test_one_step_out_of_the_blue_does_not_make_a_run_wait_for_it() -> None:
    """The learner never gets the rest, and the run would never end."""
    made = observer()
    schema = StepSchema(observation=3, latent=2, action=2)
    codec = ArrayCodec(schema)
    for sequence in (0, 1, 2**40, 2, 3):
        made._on_step(codec.encode(schema.row(sequence=sequence, index=sequence % 2**40,
                                              stamp=0.1)))
    assert made.next_sequence == 4


def test_an_update_that_fails_is_reported_and_neither_saved_nor_pushed() -> None:
    """A resumed run must not go on from networks that are broken."""
    def broken() -> None:
        raise ValueError('critic_loss is nan')
    sent: list[Any] = []
    member: Any = SimpleNamespace(
        sequencer=SimpleNamespace(next=3), recorder=SimpleNamespace(count=3), last_stamp=1.0,
        _publishers={'learner/progress': SimpleNamespace(publish=sent.append)},
        _progress_codec=ArrayCodec(dict.fromkeys(PROGRESS, 1)))
    member.publish_progress = partial(Member.publish_progress, member)
    learner: Any = SimpleNamespace(
        is_active=True, _fault='', _arrived=False, _members=[member],
        _pause=SimpleNamespace(now=False),
        _tuner=SimpleNamespace(updates_owed=1, update=broken, progress=lambda: {'margin': np.nan}),
        get_logger=lambda: SimpleNamespace(fatal=lambda _: None))
    learner._report = lambda: LearnerNode._report(learner)
    LearnerNode._work(learner)
    assert learner._fault == 'learning stopped: critic_loss is nan'
    made = observer()
    made._on_progress(sent[-1])
    assert made.learner_fault
    assert LearnerNode._save(learner) is False


@pytest.mark.parametrize('arguments', [
    ['--seed', '3'], ['--seed', '0'], ['--mode', 'latent-only'], ['--set', 'utd=1'],
    ['--robot', 'panda'], ['--bundle', 'a.spaars'], ['--real-time-factor', '1'], ['--no-sim'],
    ['--evaluation-episodes', '3'], ['--command', '/arm/command']], ids=' '.join)
def test_an_option_that_a_resumed_run_would_ignore_is_refused(
        tmp_path: Path, arguments: list[str]) -> None:
    """In one line that names it; also when it is the default's value."""
    result = CliRunner().invoke(app, ['finetune', '--resume', '--out', str(tmp_path), *arguments])
    assert result.exit_code == 1
    assert result.output.startswith(f'error: --resume takes {arguments[0].replace("no-", "")} ')
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize('sim', [True, False])
def test_a_resumed_run_on_a_robot_is_not_confined_to_this_machine(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sim: bool) -> None:
    """What decides is the run's own option, which is not given again."""
    made_run(tmp_path, sim=sim)
    confined: list[bool] = []
    monkeypatch.setattr('spaars_ros.run.domain.stay_on_this_machine',
                        lambda: confined.append(True))

    def start(*_: Any, **__: Any) -> None:
        raise RuntimeError('reached')
    monkeypatch.setattr(job, 'finetune', start)
    monkeypatch.setattr('spaars_ros.commissioning.ready.make_ready', lambda *_, **__: None)
    result = CliRunner().invoke(app, ['finetune', '--resume', '--out', str(tmp_path)])
    assert 'error: reached' in result.output
    assert confined == ([True] if sim else [])


@pytest.mark.parametrize('distribution', ['humble', 'jazzy', ''])
def test_the_simulated_job_stays_on_this_machine(
        monkeypatch: pytest.MonkeyPatch, distribution: str) -> None:
    for name in ('ROS_DOMAIN_ID', 'ROS_LOCALHOST_ONLY', 'ROS_AUTOMATIC_DISCOVERY_RANGE'):
        monkeypatch.setenv(name, '')  # what is put there ends with the test
        monkeypatch.delenv(name)
    monkeypatch.setenv('ROS_DISTRO', distribution)
    stay_on_this_machine()
    assert 1 <= int(os.environ['ROS_DOMAIN_ID']) <= 100
    assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    # Humble has no discovery range.
    assert ('ROS_LOCALHOST_ONLY' in os.environ) == (distribution == 'humble')
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    stay_on_this_machine()
    assert os.environ['ROS_DOMAIN_ID'] == '42'


def test_the_robots_topics_reach_the_nodes_that_are_at_them(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As remappings on the command line of the process, and of no other node's."""
    commands: list[list[str]] = []
    monkeypatch.setattr('spaars_ros.run.bringup.subprocess.Popen',
                        lambda command, **_: commands.append(command))
    settings = RunSettings(out=str(tmp_path), joint_states='/arm/joint_states',
                           command='/controller/commands')
    graph = describe(settings)
    Processes(settings, graph).start()
    for node, command in zip(graph, commands, strict=True):
        remapped = {'joint_states:=/arm/joint_states', 'command:=/controller/commands'}
        assert (remapped & set(command)) == (
            remapped if node.name in ('sim', 'policy_server') else set()), node.name
    kept = made_run(tmp_path / 'run', command='/controller/commands')
    assert continuation.continue_run(RunSettings(), kept).remappings == (
        ('command', '/controller/commands'),)


def launched_again(**arguments: str) -> RunFolder:
    return continuation.launched_again(read_launch('finetune.launch', arguments))


def test_a_run_that_is_launched_again_keeps_its_own_settings(tmp_path: Path) -> None:
    """Not the launch file's defaults; nor does it begin again at its first stamp and bundle."""
    made_run(tmp_path, seed=5, episodes=300, sim=False, joint_states='/arm/joint_states')
    newest = tmp_path / 'checkpoints' / 'step_000030.spaars'
    newest.parent.mkdir()
    newest.write_bytes(untrained())
    folder = launched_again(out=str(tmp_path), seed='5')
    settings = continuation.continue_run(RunSettings(namespace='left'), folder)
    assert (settings.seed, settings.episodes, settings.sim) == (5, 300, False)
    assert (settings.joint_states, settings.namespace) == ('/arm/joint_states', 'left')
    assert settings.start_stamp == pytest.approx(1.0 + 0.05 * (STEPS - 1) + 1.0)
    assert settings.first_reset == 3
    graph = describe(settings)
    continuation.from_newest_bundle(graph, folder)
    bundles = {node.name: node.parameters.get('bundle') for node in graph}
    assert bundles['policy_server'] == str(newest)
    assert bundles['learner'] == str(tmp_path / 'initial.spaars')
    # What acted last was on trial; the newest checkpoint may descend from what was taken back.
    acting = tmp_path / 'acting.spaars'
    acting.write_bytes(untrained())
    continuation.from_newest_bundle(graph, folder)
    bundles = {node.name: node.parameters.get('bundle') for node in graph}
    assert bundles['policy_server'] == str(acting)
    assert bundles['learner'] == str(tmp_path / 'initial.spaars')
    more = launched_again(out=str(tmp_path), episodes='400')
    assert more.options.episodes == 400


@pytest.mark.parametrize(('given', 'message'), [
    ({'seed': '7'}, 'takes seed from the run, where it is 5'), ({'out': ''}, 'needs out:=')])
def test_a_launch_argument_that_contradicts_the_resumed_run_is_named(
        tmp_path: Path, given: dict[str, str], message: str) -> None:
    """Silently ignored, it would look as if it had been taken."""
    made_run(tmp_path, seed=5)
    with pytest.raises(RunError, match=message):
        launched_again(**{'out': str(tmp_path), **given})


def test_a_resumed_run_keeps_what_its_controller_takes_and_its_parameter_file(tmp_path: Path
                                                                              ) -> None:
    """Velocities for a position controller, or no stop_cost and no key, would move an arm."""
    made_run(tmp_path, command_interface='forward_position', params_file='/x/safe.yaml',
             namespace='left')
    folder = launched_again(out=str(tmp_path))
    settings = continuation.continue_run(RunSettings(), folder)
    assert (settings.command_interface, settings.params_file, settings.namespace) == (
        'forward_position', '/x/safe.yaml', 'left')
    server = {node.name: node for node in describe(settings)}['policy_server']
    assert server.parameters['command_interface'] == 'forward_position'
    older = RunFolder(RunConfig(out=str(tmp_path)))  # of before it was kept
    assert continuation.continue_run(RunSettings(command_interface='forward_position'),
                                  older).command_interface == 'forward_position'
    other = continuation.continue_run(
        RunSettings(params_file='/x/other.yaml', namespace='right'), folder)
    assert (other.params_file, other.namespace) == ('/x/other.yaml', 'right')
    with pytest.raises(RunError, match='takes command_interface from the run'):
        launched_again(out=str(tmp_path), command_interface='forward_velocity')


def test_a_graph_without_a_learner_takes_no_bundles() -> None:
    def accepts(learner: bool) -> bool:
        graph = {node.name: node for node in describe(RunSettings(), learner=learner)}
        return bool(graph['policy_server'].parameters['accept_bundles'])
    assert accepts(True) and not accepts(False)


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM])
def test_a_node_whose_terminal_is_closed_ends_in_order(number: int) -> None:
    """Unhandled, the last command would stay on the wire."""
    # A shell's background job is born with SIGQUIT ignored, and so are its children.
    code = ('import signal\nfrom spaars_ros.interrupts import ending_signals\n'
            f'signal.signal({int(number)}, signal.SIG_DFL)\n'
            'for number in ending_signals():\n'
            '    signal.signal(number, lambda *_: exit(7))\n'
            "print('ready', flush=True)\nsignal.pause()\n")
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b'ready\n'
        process.send_signal(number)
        try:
            assert process.wait(20.0) == 7
        finally:
            process.kill()


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in ending_signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert signal.SIGHUP in ending_signals()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_bundle_pretrained_by_other_code_is_not_taken(tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(RunConfig(out=str(tmp_path)))
    before = folder.cached_bundle()
    assert folder.cached_bundle() == before
    monkeypatch.setattr('spaars_ros.run.folder.source_digest', lambda: 'other code')
    assert folder.cached_bundle() != before


def test_comments_and_docstrings_make_no_other_code() -> None:
    code = 'def f(x):\n    """Double."""\n    return 2 * x  # twice\n'
    assert code_of(code) == code_of('def f(x):\n    return 2 * x\n')
    assert code_of(code) != code_of('def f(x):\n    return 3 * x\n')


@pytest.mark.parametrize(('hang', 'code'), [
    ('lock = threading.Lock(); lock.acquire(); lock.acquire()', 1),
    ('while True: threading.Event().wait(0.1)', 1),
    # PyDLL keeps the interpreter's lock, as rclpy's publish does: SIGALRM after 29 s.
    ('mutex = ctypes.create_string_buffer(64); lock = ctypes.PyDLL(None).pthread_mutex_lock\n'
     'lock(mutex); lock(mutex)', -signal.SIGALRM)])
def test_a_process_that_hangs_after_its_signal_ends(hang: str, code: int) -> None:
    with subprocess.Popen([sys.executable, '-c', HANGING.format(hang=hang)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'ready\n'
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)  # only once it is told to
        process.send_signal(signal.SIGTERM)
        _, text = process.communicate(timeout=45.0)
    assert process.returncode == code
    if code == 1:  # and says where it stood
        assert 'Timeout (' in text and 'line' in text


def test_the_last_words_of_a_stop_say_how_to_go_on_from_any_terminal(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', '37')
    assert reset_command('/left') == 'continue with: spaars reset --domain 37 --namespace left'
    assert reset_command('/') == 'continue with: spaars reset --domain 37'


@pytest.mark.parametrize(('given', 'words'), [
    (['--namespace', '1left'], '--namespace 1left'), (['--json', '/'], '/ is a folder'),
    (['--log-level', 'loud'], 'loud')], ids=lambda given: str(given))
def test_an_option_that_cannot_be_is_refused_before_work_begins(
        tmp_path: Path, given: list[str], words: str) -> None:
    out = tmp_path / 'run'
    result = CliRunner().invoke(app, ['finetune', '--out', str(out), *given])
    assert result.exit_code != 0
    assert words in result.output
    assert not out.exists()


def test_a_reader_that_goes_away_does_not_end_the_run() -> None:
    """`finetune --plain | head -4`: the robot goes on."""
    code = ('from spaars_ros.run.liveview import LiveState, LiveView\n'
            'view = LiveView(LiveState(), plain=True)\n'
            'for number in range(100000):\n    view.say(f"line {number}")\n'
            'open("done", "w").close()\n')
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ['bash', '-c', f'{sys.executable} -c "$0" | head -1; exit ${{PIPESTATUS[0]}}', code],
            cwd=folder, capture_output=True, text=True, timeout=50.0)
        assert (done.returncode, done.stdout, done.stderr) == (0, 'line 0\n', '')
        assert (Path(folder) / 'done').exists()


def test_news_with_other_numbers_is_said_once() -> None:
    """A cost above its limit, in each of a run's episodes."""
    console = Console(file=io.StringIO(), width=100)
    view = LiveView(LiveState(), console, plain=True)
    for text in ('cost 58 above 5', '', 'cost 61.5 above 5', '', 'robot stopped: ESTOP', '',
                 'robot stopped: ESTOP'):
        view.state.message = text
        view.update()
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        'cost 58 above 5', 'robot stopped: ESTOP', 'robot stopped: ESTOP']


def test_a_resume_says_which_checkpoint_is_damaged(tmp_path: Path) -> None:
    """Only the learner's log did, where a bundle that had acted was whole."""
    folder = made_run(tmp_path)
    folder.path.joinpath('checkpoints').mkdir()
    for number, size in ((20, None), (30, 1000)):
        (tmp_path / 'checkpoints' / f'step_{number:06d}.spaars').write_bytes(untrained()[:size])
    (tmp_path / 'acting.spaars').write_bytes(untrained())
    console = Console(file=io.StringIO())
    prepare(RunFolder.resume(str(tmp_path)), LiveView(LiveState(), console, plain=True), True)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert 'step_000030.spaars' in said and 'step_000020.spaars' not in said


def test_a_resumed_run_shows_no_line_of_an_episode_before_it() -> None:
    """It stood there with the multiplier, bundle and latency of a run that had not begun."""
    console = Console(file=io.StringIO())
    before = {'episode': 3, 'steps': 100}
    with LiveView(LiveState(episodes=[before]), console, plain=True) as view:
        view.update()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text == 'continues after episode 4\n'


def test_an_occupied_domain_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('', 0))
        monkeypatch.setattr(domain, 'FIRST_PORT', taken.getsockname()[1])
        monkeypatch.setattr(domain, 'PORTS_A_DOMAIN', 0)
        with pytest.raises(RuntimeError, match='ROS_DOMAIN_ID is not set.*or set ROS_DOMAIN_ID'):
            domain.free_domain()


def test_a_cache_that_cannot_be_written_is_said_before_pretraining(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('spaars_ros.run.domain.stay_on_this_machine', lambda: None)
    (tmp_path / 'file').write_text('')
    result = CliRunner().invoke(app, [
        'finetune', '--training', 'smoke', '--episodes', '1', '--no-page', '--out',
        str(tmp_path / 'run'), '--cache', str(tmp_path / 'file' / 'cache')])
    assert result.exit_code == 1
    assert 'file/cache: Not a directory; ' in result.stderr and '--cache' in result.stderr
    assert 'pretraining' not in result.stdout
