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

"""What protects the graph and the run folder: domain, enclaves, permissions, nothing unpickled."""

import ast
from collections.abc import Iterator
import os
from pathlib import Path
import re
import signal
import stat
import subprocess
import sys
import time
from typing import Any
from xml.etree import ElementTree

from domains import DOMAINS
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from small_run import prepare
from small_run import until
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.ros.security import ENCLAVES
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.run_config import RunConfig

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).resolve().parent.parent
POLICY = ROOT / 'config' / 'security' / 'policy.xml'
NODES = ('policy_server', 'cost_monitor', 'learner', 'sim', 'conductor')
KINDS = {'publish': 'publisher', 'subscribe': 'subscriber', 'reply': 'service',
         'request': 'client'}
Permissions = dict[str, dict[str, set[str]]]


def policy() -> Permissions:
    """Return node -> publish, subscribe, reply, request -> full names that the file allows."""
    allowed: Permissions = {}
    for enclave in ElementTree.parse(POLICY).getroot().iter('enclave'):
        (profile,) = enclave.iter('profile')
        name = profile.get('node') or ''
        assert enclave.get('path') == f'{ENCLAVES}/{name}'
        assert profile.get('ns') == '/'
        allowed[name] = {kind: set() for kind in KINDS}
        for rule in profile:
            for kind, qualifier in rule.attrib.items():
                assert qualifier == 'ALLOW'
                names = [item.text or '' for item in rule]
                assert len(set(names)) == len(names)
                allowed[name][kind] |= {f'/{text.lstrip("/")}' for text in names}
    return allowed


def environment(pid: int) -> dict[str, str]:
    """Return a process' environment."""
    pairs = Path(f'/proc/{pid}/environ').read_bytes().decode(errors='replace').split('\0')
    return dict(pair.split('=', 1) for pair in pairs if '=' in pair)


class Run:
    """A `spaars finetune` as it is started by default, and what its graph and files show."""

    def __init__(self, folder: Path) -> None:
        small = prepare(folder / 'small')
        self.out = folder / 'run'
        self.log = folder / 'log.txt'
        unset = ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE')
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                # The worst umask that there is.
                ['sh', '-c', 'umask 0; exec "$@"', 'sh', sys.executable, '-m', 'spaars_ros.cli',
                 'finetune', '--plain', '--out', str(self.out), '--training',
                 str(small / 'training.yaml'), '--task', str(small / 'task.yaml'), '--bundle',
                 str(small / 'initial.spaars'), '--evaluation-episodes', '1', '--episodes', '0'],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={key: value for key, value in os.environ.items() if key not in unset})
        until(lambda: 'episode 1' in self.log.read_text() or self.process.poll() is not None,
              60.0, self.log.read_text())
        assert self.process.poll() is None, self.log.read_text()
        self.environments = {name: environment(pid) for name, pid in self._nodes().items()}
        self.graph = self._graph(int(self.environments['sim']['ROS_DOMAIN_ID']))

    def _nodes(self) -> dict[str, int]:
        found = {}
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / 'cmdline').read_bytes().decode(errors='replace')
                except OSError:
                    continue
                name = re.search(r'__node:=(\w+)', command)
                if name and str(self.out / 'log') in command:
                    found[name[1]] = int(entry.name)
        return found

    def _graph(self, domain: int) -> Permissions:
        """Return what the nodes use, by the running graph."""
        context = rclpy.Context()
        rclpy.init(args=[], context=context, domain_id=domain)
        node = rclpy.create_node('looker', context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        used: Permissions = {name: {kind: set() for kind in KINDS} for name in NODES}
        try:
            # Discovery fills the graph bit by bit: until nothing new has come for a while.
            changed = began = time.monotonic()
            while time.monotonic() - changed < 5.0 and time.monotonic() - began < 40.0:
                executor.spin_once(timeout_sec=0.05)
                for name, kinds in used.items():
                    for kind, what in KINDS.items():
                        try:
                            now = getattr(node, f'get_{what}_names_and_types_by_node')(name, '/')
                        except rclpy.node.NodeNameNonExistentError:
                            changed = time.monotonic()
                            continue
                        if not {each for each, _ in now} <= kinds[kind]:
                            kinds[kind] |= {each for each, _ in now}
                            changed = time.monotonic()
        finally:
            executor.shutdown()
            node.destroy_node()
            rclpy.shutdown(context=context)
        return used

    def end(self) -> None:
        """End the run as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(40.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return a run that was looked at while it ran, and has ended."""
    made = Run(tmp_path_factory.mktemp('access'))
    made.end()
    yield made


@pytest.mark.parametrize('name', NODES)
def test_the_policy_allows_what_the_running_graph_uses_and_nothing_else(
        run: Run, name: str) -> None:
    """Too little and a node cannot work under enforcement; too much and it may be misused."""
    assert policy()[name] == run.graph[name]


def test_the_policy_of_a_task_with_sensors_and_a_gripper_has_their_topics(tmp_path: Path) -> None:
    """Under enforcement a policy without them would be a robot that never begins."""
    out = tmp_path / 'policy.xml'
    done = CliRunner().invoke(app, ['keys', 'policy', str(out), '--task', 'pick', '--namespace',
                                    '/arm', '--command', '/controller/commands'])
    assert done.exit_code == 0, done.output
    found: dict[str, dict[str, set[str]]] = {}
    for profile in ElementTree.parse(out).getroot().iter('profile'):
        assert profile.get('ns') == '/arm'
        found[profile.get('node') or ''] = {
            kind: {topic.text or '' for rule in profile.findall('topics') if rule.get(kind)
                   for topic in rule} for kind in ('publish', 'subscribe')}
    sources = {'cube/point', 'gripper/width'}
    assert sources <= found['policy_server']['subscribe'] and sources <= found['sim']['publish']
    assert 'gripper' in found['policy_server']['publish'] & found['sim']['subscribe']
    assert '/controller/commands' in found['policy_server']['publish']
    assert not sources & found['learner']['subscribe']


def test_only_the_server_may_command_and_only_the_learner_may_push_bundles() -> None:
    """What moves the arm has one source each."""
    allowed = policy()
    assert [name for name in NODES if '/command' in allowed[name]['publish']] == ['policy_server']
    assert [name for name in NODES if '/learner/policy' in allowed[name]['publish']] == ['learner']


def test_by_default_a_simulated_run_stays_on_this_machine_in_a_domain_of_its_own(
        run: Run) -> None:
    """It must never be heard by a robot that happens to be in domain 0 of the same network."""
    assert set(run.environments) == set(NODES) - {'conductor'}
    domains = {values['ROS_DOMAIN_ID'] for values in run.environments.values()}
    assert len(domains) == 1
    assert domains != {'0'}
    assert {values['ROS_AUTOMATIC_DISCOVERY_RANGE'] for values in run.environments.values()} \
        == {'LOCALHOST'}


def test_no_file_of_a_run_is_writable_by_others_even_under_umask_0(run: Run) -> None:
    """Whoever can change a policy bundle moves the arm."""
    files = [run.out, *run.out.rglob('*')]
    assert len(files) > 15
    writable = [str(path) for path in files if not path.is_symlink()
                and path.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP)]
    assert not writable
    assert run.out.stat().st_mode & stat.S_IRWXO == 0


def test_a_run_folder_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    """A bundle could be replaced between two runs."""
    out = tmp_path / 'run'
    out.mkdir()
    out.chmod(0o777)
    folder = RunFolder(RunConfig(out=str(out), training='smoke'))
    with pytest.raises(RunError, match='writable by everybody'):
        folder.claim(resume=False)
    assert not (out / 'config.json').exists()
    out.chmod(0o755)
    folder.claim(resume=False)
    folder.begin()
    assert (out / 'config.json').exists()


@pytest.mark.parametrize('strategy', ['Enforce', 'Permissive'])
def test_security_that_is_asked_for_and_cannot_be_had_is_an_error(
        tmp_path: Path, strategy: str) -> None:
    """Never a graph that believes itself protected; with security, sros2 has made the keys."""
    keys = tmp_path / 'enclaves' / 'spaars_ros' / 'sim'
    keys.mkdir(parents=True)
    for name in ('identity_ca.cert.pem', 'cert.pem', 'key.pem', 'permissions_ca.cert.pem',
                 'governance.p7s', 'permissions.p7s'):
        (keys / name).write_text('not a key')
    done = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.nodes.sim.node', '--ros-args', '--enclave',
         f'{ENCLAVES}/sim'], capture_output=True, text=True, timeout=60,
        env={**os.environ, 'ROS_DOMAIN_ID': str(next(DOMAINS)), 'ROS_SECURITY_ENABLE': 'true',
             'ROS_SECURITY_STRATEGY': strategy, 'ROS_SECURITY_KEYSTORE': str(tmp_path)})
    assert done.returncode != 0
    assert 'error creating node' in done.stderr


def test_every_process_gets_its_enclave_when_security_is_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its enclave a node would look for the keys of the root enclave."""
    from spaars_ros.run.bringup import describe
    from spaars_ros.run.bringup import Processes
    from spaars_ros.run.bringup import RunSettings
    started: list[list[str]] = []

    class Recorded:
        """Takes the place of a process: only its command line is asked for."""

        def __init__(self, command: list[str], **more: Any) -> None:
            started.append(command)

    monkeypatch.setattr('spaars_ros.run.bringup.subprocess.Popen', Recorded)
    settings = RunSettings(out=str(tmp_path))
    for enabled, count in (('false', 0), ('true', 1)):
        started.clear()
        monkeypatch.setenv('ROS_SECURITY_ENABLE', enabled)
        Processes(settings, describe(settings)).start()
        assert len(started) == 4
        for command in started:
            assert command.count('--enclave') == count
            if count:
                node = re.search(r'__node:=(\w+)', ' '.join(command))
                assert node
                assert command[command.index('--enclave') + 1] == f'{ENCLAVES}/{node[1]}'


def dangers(source: str) -> list[str]:
    """Return calls in a source that could run what a file or a message says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] \
                if isinstance(node, ast.Import) else [node.module or '']
            found += [name for name in modules if name.split('.')[0] in (
                'pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'joblib', 'shelve',
                'marshal')]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {item.arg: ast.unparse(item.value) for item in node.keywords}
        if name in ('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen',
                    'yaml.load', 'yaml.load_all', 'yaml.full_load', 'yaml.unsafe_load',
                    'torch.jit.load', 'pandas.read_pickle', 'np.fromregex'):
            found.append(name)
        if name == 'torch.load' and given.get('weights_only') != 'True':
            found.append(name)
        if given.get('allow_pickle', 'False') != 'False' or given.get('shell', 'False') != 'False':
            found.append(f'{name} with allow_pickle or shell')
    return found


@pytest.mark.parametrize('source', [
    'import pickle', 'from cloudpickle import loads', 'eval(text)', 'exec(text)',
    'yaml.load(text)', 'yaml.unsafe_load(text)', 'torch.load(file)', 'torch.jit.load(file)',
    'torch.load(file, weights_only=False)', 'np.load(file, allow_pickle=True)',
    'np.load(file, allow_pickle=chosen)', 'subprocess.run(text, shell=True)', 'os.system(text)'])
def test_what_could_run_a_files_content_is_found(source: str) -> None:
    assert dangers(source)


def test_nothing_is_unpickled_or_evaluated() -> None:
    """Bundles, data sets, checkpoints and settings are parsed, never run."""
    sources = [*(ROOT / 'spaars_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]
    assert len(sources) > 50
    assert dangers('torch.load(file, weights_only=True)\nnp.load(file)\nyaml.safe_load(t)') == []
    found = {str(path.relative_to(ROOT)): dangers(path.read_text()) for path in sources}
    assert not {path: calls for path, calls in found.items() if calls}
