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
"""Several robots, one learner: every robot's records, gaps and numbers are its own."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from small_run import prepare
from small_run import until
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.recording import read_steps
from spaars_ros.nodes.learner.node import robots_of
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import decode_bytes
from spaars_ros.ros.qos import QOS
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.fleet_file import load_fleet
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

pytestmark = pytest.mark.timeout(240)
ROBOTS = ('left', 'right')


class Robot:
    """What the learner hears of one robot, and what it says to it."""

    def __init__(self, name: str, node: Any, rows: np.ndarray, schema: Any) -> None:
        self.name, self.rows = name, rows
        self.codec = ArrayCodec(schema)
        self.progress: dict[str, float] = {}
        self.asked: list[list[float]] = []
        self.bundles: list[Bundle] = []
        self.steps = node.create_publisher(
            Float64MultiArray, f'/{name}/policy_server/step', QOS['policy_server/step'])
        node.create_subscription(Float64MultiArray, f'/{name}/learner/progress',
                                 self._on_progress, QOS['learner/progress'])
        node.create_subscription(Float64MultiArray, f'/{name}/learner/fetch',
                                 lambda msg: self.asked.append(list(msg.data)),
                                 QOS['learner/fetch'])
        node.create_subscription(
            UInt8MultiArray, f'/{name}/learner/policy',
            lambda msg: self.bundles.append(Bundle.from_bytes(decode_bytes(msg))),
            QOS['learner/policy'])

    def send(self, first: int, last: int) -> None:
        for row in self.rows[first:last]:
            self.steps.publish(self.codec.encode(row))

    def _on_progress(self, msg: Any) -> None:
        self.progress = {name: float(value[0]) for name, value
                         in ArrayCodec.of_message(msg).decode(msg).items()}


class Fleet:
    """Two robots in the test's hands, and the learner's process."""

    def __init__(self, small: Path, out: Path) -> None:
        self.out = out
        self.node = rclpy.create_node('fleet')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        robot = load_robot('panda')
        task = make_task(robot, load_task(str(small / 'task.yaml')))
        self.robots = {}
        for number, name in enumerate(ROBOTS):
            rollouts = Rollouts(PolicyRuntime(load_bundle(small / 'initial.spaars')), robot, task,
                                seed=number, explore=True)
            rows = np.concatenate([rollouts.episode() for _ in range(3)])
            self.robots[name] = Robot(name, self.node, rows, rollouts.schema)
        self.settings = RunSettings(out=str(out), task=str(small / 'task.yaml'), sim=False,
                                    bundle=str(small / 'initial.spaars'), robots=','.join(ROBOTS))
        (out / 'training.yaml').write_text((small / 'training.yaml').read_text())
        self.lifecycle = LifecycleClient(self.node, self.executor)
        self.processes: Processes | None = None

    def start(self) -> None:
        self.processes = Processes(self.settings, [
            each for each in describe(self.settings) if each.name == 'learner'])
        self.processes.start()
        self.lifecycle.bring_up('learner', 40.0)
        self.until(lambda: all(each.progress for each in self.robots.values()))

    def until(self, condition: Any, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.processes.last_words('learner')
            self.executor.spin_once(timeout_sec=0.01)

    def end(self) -> None:
        if self.processes is not None:
            self.processes.stop()
        self.processes = None


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
          ) -> Iterator[Fleet]:
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next(DOMAINS)))
    small = prepare(tmp_path_factory.mktemp('small'))
    rclpy.init()
    made = Fleet(small, tmp_path_factory.mktemp('out'))
    yield made
    made.end()
    made.node.destroy_node()
    rclpy.shutdown()


def test_each_robot_s_records_are_kept_apart_and_learned_from_by_one(fleet: Fleet) -> None:
    """A gap of one holds up nobody; a learner that was killed asks each for what it missed."""
    fleet.start()
    left, right = fleet.robots['left'], fleet.robots['right']
    count = len(left.rows)
    left.send(0, count)
    right.send(0, 10)
    right.send(12, count)
    fleet.until(lambda: left.progress.get('received') == count)
    fleet.until(lambda: [10.0, count - 1.0] in right.asked)
    assert right.progress['received'] == 10
    assert not [each for each in left.asked if each[0] not in (0.0, count)]
    fleet.until(lambda: left.progress['updates'] > 0 and left.bundles and right.bundles)
    assert left.bundles[-1].manifest.version == right.bundles[-1].manifest.version

    fleet.processes._signal(signal.SIGKILL)
    fleet.end()
    left.asked.clear()
    right.asked.clear()
    fleet.start()
    fleet.until(lambda: left.asked and right.asked)
    # Up to a second of what was received may be lost with a killed learner; never a hole.
    right.send(int(right.asked[0][0]), count)
    left.send(int(left.asked[0][0]), count)
    fleet.until(lambda: left.progress['received'] == right.progress['received'] == count)
    fleet.lifecycle.take_down('learner', 20.0)
    fleet.lifecycle.clean_up('learner', 20.0)
    for robot in (left, right):
        schema, rows = read_steps(fleet.out / robot.name / 'transitions.mcap')
        np.testing.assert_array_equal(rows, robot.rows)


def test_a_robot_that_fails_stops_no_other_and_is_named(tmp_path: Path) -> None:
    small = prepare(tmp_path / 'small')
    out = tmp_path / 'fleet'
    fleet = subprocess.Popen(
        [sys.executable, '-m', 'spaars_ros.cli', 'finetune', '--robots', '2', '--episodes', '3',
         '--task', str(small / 'task.yaml'), '--training', str(small / 'training.yaml'),
         '--bundle', str(small / 'initial.spaars'), '--evaluation-episodes', '1',
         '--out', str(out)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'ROS_DOMAIN_ID': str(next(DOMAINS))})
    spool = out / 'members' / 'robot_2' / 'spool' / 'steps.f64'
    try:
        until(lambda: spool.exists() and spool.stat().st_size or fleet.poll() is not None, 90.0)
        log = (out / 'members' / 'robot_2' / 'log')
        until(lambda: server_of(out / 'members' / 'robot_2') or fleet.poll() is not None, 30.0)
        os.kill(server_of(out / 'members' / 'robot_2'), signal.SIGKILL)
        text, _ = fleet.communicate(timeout=100)
    finally:
        fleet.kill()
    assert fleet.returncode == 1 and log.exists()
    assert 'error: robot_2 failed' in text and 'robot_1: ended: budget done' in text
    _, rows = read_steps(out / 'members' / 'robot_1' / 'transitions.mcap')
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(rows)))
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['robots']['robot_1']['episodes'] == 3 and summary['ended'] == 'failed'


def server_of(folder: Path) -> int:
    """Return the process id of the policy server whose parameters are in a run folder, or 0."""
    wanted = str(folder / 'log' / 'policy_server.parameters.yaml').encode()
    for entry in Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / 'cmdline').read_bytes().split(b'\0'):
                return int(entry.name)
        except OSError:
            continue
    return 0


@pytest.mark.parametrize('arguments, message', [
    (['--robots', '2', '--namespace', 'a'], '--robots 2: simulated arms'),
    (['--robots', '2', '--no-sim'], '--robots 2: simulated arms'),
    (['--shared-learner', '--namespace', 'a'], '--shared-learner needs --bundle'),
    (['--shared-learner', '--bundle', 'a.spaars'], '--shared-learner needs --namespace')])
def test_options_of_a_fleet_that_contradict_each_other_are_refused(
        arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ['finetune', '--out', str(tmp_path / 'x'), *arguments])
    assert result.exit_code == 1 and message in result.output
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize('text, message', [
    ('robots: []', 'robots'), ('robots: [{name: a}, {name: a}]', "'a' is there twice"),
    ('robots: [{name: a, robto: panda}]', 'robto'), ('robots: [{name: ../a}]', 'name')])
def test_a_fleet_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / 'fleet.yaml').write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_fleet(str(tmp_path / 'fleet.yaml'))


@pytest.mark.parametrize('text, message', [
    ('left,left', "'left' is there twice"), ('left,', "'' is no namespace"),
    ('left,../right', "'../right' is no namespace"), ('1a', "'1a' is no namespace")])
def test_a_robot_that_is_no_namespace_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        robots_of(text)


def test_one_robot_needs_no_name() -> None:
    assert robots_of('') == [''] and robots_of('/left/, right/arm') == ['left', 'right/arm']
