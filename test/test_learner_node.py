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

"""The learner node, as a process, with the test in the policy server's place."""

from collections.abc import Iterator
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from small_run import prepare
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import Trigger
import yaml

from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import decode_bytes
from spaars_ros.ros.qos import QOS
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.run.lifecycle_client import LifecycleError
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small training, its demonstrations and its bundle."""
    return prepare(tmp_path_factory.mktemp('small'))


@pytest.fixture(scope='module')
def rows(small: Path) -> np.ndarray:
    """Return the step records of 8 simulated episodes."""
    robot = load_robot('panda')
    task = ReachTask(robot, load_task(str(small / 'task.yaml')))
    rollouts = Rollouts(PolicyRuntime(load_bundle(small / 'initial.spaars')), robot, task,
                        seed=0, explore=True)
    return np.concatenate([rollouts.episode() for _ in range(8)])


class Server:
    """A policy server in the test's hands, and the learner's process."""

    def __init__(self, small: Path, out: Path, schema: Any) -> None:
        self.out = out
        self.node = rclpy.create_node('server')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.codec = ArrayCodec(schema)
        self.progress: dict[str, float] = {}
        self.asked: list[tuple[int, float]] = []
        self.bundles: list[Bundle] = []
        self.diagnoses: list[Any] = []
        self.steps = None
        node = self.node
        node.create_subscription(Float64MultiArray, 'learner/progress', self._on_progress,
                                 QOS['learner/progress'])
        node.create_subscription(
            Float64MultiArray, 'learner/fetch',
            lambda msg: self.asked.append((int(msg.data[0]), msg.data[1])), QOS['learner/fetch'])
        node.create_subscription(
            UInt8MultiArray, 'learner/policy',
            lambda msg: self.bundles.append(Bundle.from_bytes(decode_bytes(msg))),
            QOS['learner/policy'])
        node.create_subscription(DiagnosticArray, '/diagnostics',
                                 lambda msg: self.diagnoses.extend(msg.status),
                                 QOS['/diagnostics'])
        self.settings = RunSettings(out=str(out), task=str(small / 'task.yaml'),
                                    bundle=str(small / 'initial.spaars'), sim=False)
        (out / 'training.yaml').write_text((small / 'training.yaml').read_text())
        self.lifecycle = LifecycleClient(node, self.executor)
        self.processes: Processes | None = None

    def start(self) -> None:
        """Start the learner's process and activate it."""
        graph = [each for each in describe(self.settings) if each.name == 'learner']
        self.processes = Processes(self.settings, graph)
        self.processes.start()
        self.lifecycle.bring_up('learner', 30.0)
        self.until(lambda: self.progress)

    def serve(self) -> None:
        """Begin to publish steps."""
        self.steps = self.node.create_publisher(Float64MultiArray, 'policy_server/step',
                                                QOS['policy_server/step'])
        self.until(lambda: self.steps.get_subscription_count() > 0)

    def _on_progress(self, msg: Float64MultiArray) -> None:
        self.progress = {name: float(value[0]) for name, value
                         in ArrayCodec.of_message(msg).decode(msg).items()}

    def send(self, rows: np.ndarray) -> None:
        """Publish step records, no faster than a queue takes them."""
        for row in rows:
            self.steps.publish(self.codec.encode(row))
            self.executor.spin_once(timeout_sec=0.001)

    def until(self, condition: Any, seconds: float = 20.0) -> None:
        """Handle callbacks until a condition holds; fails when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f'timed out; {self.progress} ' \
                f'{self.processes.last_words("learner") if self.processes else ""}'
            self.executor.spin_once(timeout_sec=0.01)

    def listen(self, seconds: float) -> None:
        """Handle callbacks for a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.01)

    def received(self, count: int) -> None:
        """Wait until the learner has so many steps."""
        self.until(lambda: self.progress.get('received') == count)

    def save(self) -> Any:
        """Call learner/save."""
        client = self.node.create_client(Trigger, 'learner/save')
        self.until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.until(future.done)
        return future.result()

    def diagnosis(self, part: str) -> None:
        """Wait for a diagnosis with a text in its message."""
        self.diagnoses.clear()
        self.until(lambda: any(part in each.message for each in self.diagnoses))

    def recorded(self) -> np.ndarray:
        """Return the sequence numbers in the recording, in file order."""
        schema, rows = read_steps(self.out / 'transitions.mcap')
        return schema.get(rows, 'sequence')


@pytest.fixture
def server(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return a server beside an active learner."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next(DOMAINS)))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    rclpy.init()
    manifest = load_bundle(small / 'initial.spaars').manifest
    made = Server(small, tmp_path, StepSchema(
        observation=manifest.observation_dim, latent=manifest.latent_dim,
        action=manifest.action_dim))
    yield made
    if made.processes:
        made.processes.stop()
    made.executor.shutdown()
    made.node.destroy_node()
    rclpy.shutdown()


def test_a_sequencer_releases_each_record_once_and_in_order() -> None:
    """Whatever the order of arrival."""
    rng = np.random.default_rng(0)
    numbers = np.concatenate([rng.permutation(200), rng.integers(0, 200, 100)])
    sequencer = Sequencer()
    released = [row[0] for number in numbers
                for row in sequencer.put(int(number), np.array([number]))]
    assert released == list(range(200))
    assert sequencer.duplicates == 100
    assert sequencer.gap is None
    sequencer.put(205, np.zeros(1))
    assert sequencer.gap == (200, 204)


def test_missing_steps_are_asked_for_and_repeated_ones_dropped(
        server: Server, rows: np.ndarray) -> None:
    """A gap is filled before anything after it is stored or learned from."""
    server.start()
    server.serve()
    server.send(rows[:10])
    server.received(10)
    server.send(rows[15:30])
    server.until(lambda: (10, 29) in server.asked)
    assert server.progress['received'] == 10
    server.send(rows[5:20])  # what was asked for, and more than that
    server.received(30)
    assert server.lifecycle.take_down('learner', 20.0) is None
    np.testing.assert_array_equal(server.recorded(), np.arange(30))


def test_a_gap_that_is_filled_record_by_record_is_asked_for_once(
        server: Server, rows: np.ndarray) -> None:
    """A request for each of them would have the server replay the rest every time."""
    server.start()
    server.serve()
    server.send(rows[:10])
    server.received(10)
    server.send(rows[60:61])
    server.until(lambda: (10, 60) in server.asked)
    for row in rows[10:60]:
        server.send(np.stack([row]))
        server.executor.spin_once(timeout_sec=0.005)
    server.received(61)
    assert [last for first, last in server.asked if 10 <= first < 60] == [60.0]


def test_the_last_steps_are_asked_for_when_nothing_follows(
        server: Server, rows: np.ndarray) -> None:
    """No later step would show that they are missing."""
    server.start()
    server.serve()
    server.send(rows[:10])
    server.received(10)
    server.asked.clear()
    server.until(lambda: any(first == 10 and last > 1e9 for first, last in server.asked))


def test_nothing_is_asked_for_while_steps_arrive(server: Server, rows: np.ndarray) -> None:
    """A server that replays what is on its way already would double the traffic."""
    server.start()
    server.serve()
    server.send(rows[:1])
    server.received(1)
    server.asked.clear()
    for row in rows[1:41]:
        server.send(np.stack([row]))
        server.listen(0.06)
    server.received(41)
    assert not server.asked


@pytest.mark.timeout(240)
def test_a_killed_learner_recovers_and_asks_for_what_it_missed(
        server: Server, rows: np.ndarray) -> None:
    """Every step once in the recording; versions go on from where the server is."""
    # More updates than the other tests have, so that there is much to redo.
    training = yaml.safe_load((server.out / 'training.yaml').read_text())
    (server.out / 'training.yaml').write_text(yaml.safe_dump({**training, 'utd': 3.0}))
    server.start()
    server.serve()
    half = len(rows) // 2
    server.send(rows[:half])
    server.received(half)
    server.until(lambda: server.bundles and server.progress['owed'] == 0, 60.0)
    server.listen(1.5)  # so that part of it is on disk
    os.kill(server.processes.pid('learner'), signal.SIGKILL)
    server.processes.stop()
    server.listen(0.5)  # its last words must not be taken for the next one's
    version = server.bundles[-1].manifest.version
    server.asked.clear()
    server.bundles.clear()
    server.progress.clear()
    moved = rows.copy()
    moved[half:, server.codec.fields['bundle_version']] = version + 5
    server.start()
    owed = server.progress['owed']
    redone = server.progress['updates'] + owed
    # What it pushed before it had redone its updates would be older than what acts. They are many,
    # so that it is seen in a report that is as old as the last beat.
    assert owed > 0 and not server.bundles
    server.until(lambda: server.bundles, 60.0)
    assert server.progress['owed'] < owed / 2
    server.until(lambda: server.asked)
    first = server.asked[0][0]
    assert 0 < first <= half
    server.until(lambda: server.steps.get_subscription_count() > 0)
    server.send(moved[first:])
    server.received(len(rows))
    server.until(lambda: server.progress['owed'] == 0, 60.0)
    server.until(lambda: len(server.bundles) > 1)
    assert server.bundles[-1].manifest.version > server.bundles[0].manifest.version > version
    assert server.progress['updates'] >= redone
    server.lifecycle.take_down('learner', 20.0)
    np.testing.assert_array_equal(server.recorded(), np.arange(len(rows)))


def spaars(server: Server, *words: str) -> str:
    """Return what a `spaars` command printed, which has to succeed."""
    process = subprocess.Popen([sys.executable, '-m', 'spaars_ros.cli', *words], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    server.until(lambda: process.poll() is not None, 30.0)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    return text


def test_a_paused_learner_records_and_learns_nothing_also_after_it_was_killed(
        server: Server, rows: np.ndarray) -> None:
    """One that came back after a crash would learn on without a word."""
    half = len(rows) // 2
    server.start()
    server.serve()
    server.send(rows[:10])
    server.received(10)
    assert 'spaars resume' in spaars(server, 'pause')
    server.send(rows[10:half])
    server.received(half)
    server.listen(1.5)  # so that it is on disk
    assert server.progress['paused'] and not server.progress['updates']
    assert not server.progress['owed'], 'a simulated arm would wait for it'
    os.kill(server.processes.pid('learner'), signal.SIGKILL)
    server.processes.stop()
    server.progress.clear()
    server.start()
    server.until(lambda: server.progress.get('received') == half)
    assert server.progress['paused']
    server.until(lambda: server.steps.get_subscription_count() > 0)
    server.send(rows[half:])
    server.received(len(rows))
    server.listen(1.0)
    assert not server.progress['updates'] and not server.bundles
    assert 'continues' in spaars(server, 'resume')
    server.until(lambda: server.progress['updates'] > 0 and not server.progress['owed'], 60.0)
    server.until(lambda: server.bundles)
    server.lifecycle.take_down('learner', 20.0)
    np.testing.assert_array_equal(server.recorded(), np.arange(len(rows)))
    assert not (server.out / 'learning_paused').exists()


def test_a_full_disk_delays_the_recording_and_loses_nothing(
        server: Server, rows: np.ndarray) -> None:
    """Diagnostics say so; with room again everything is written, in order."""
    server.start()
    server.serve()
    server.send(rows[:50])
    server.received(50)
    pid = server.processes.pid('learner')
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    server.send(rows[50:])
    server.received(len(rows))
    server.diagnosis('transitions.mcap: File too large')
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    server.diagnosis('learning')
    server.lifecycle.take_down('learner', 20.0)
    np.testing.assert_array_equal(server.recorded(), np.arange(len(rows)))


def test_a_checkpoint_that_cannot_be_written_is_reported_and_tried_again(
        server: Server, rows: np.ndarray) -> None:
    """The service says why; learning goes on."""
    blocker = server.out / 'checkpoints'
    blocker.write_text('in the way')
    server.start()
    server.serve()
    answer = server.save()
    assert not answer.success
    assert str(blocker) in answer.message
    server.diagnosis('checkpoints')
    blocker.unlink()
    server.until(lambda: list(server.out.glob('checkpoints/step_*.spaars')))
    answer = server.save()
    assert answer.success
    assert load_bundle(Path(answer.message)).manifest.robot == 'panda'


def test_only_the_newest_checkpoints_are_kept(server: Server, rows: np.ndarray) -> None:
    """Three, and the last of them is that of the end."""
    server.start()
    server.serve()
    for end in range(41, len(rows) + 1, 41):
        server.send(rows[end - 41:end])
        server.received(end)
        server.until(lambda: server.progress['owed'] == 0)
    server.lifecycle.take_down('learner', 20.0)
    names = [path.name for path in sorted((server.out / 'checkpoints').iterdir())]
    assert len(names) == 3
    assert names[-1] == 'step_000320.spaars'


def test_a_malformed_step_is_named_and_ignored(server: Server, rows: np.ndarray) -> None:
    """Wrong labels or a NaN never reach the store."""
    server.start()
    server.serve()
    server.send(rows[:5])
    server.received(5)
    broken = rows[5].copy()
    broken[server.codec.fields['observation']] = np.nan
    server.send(np.stack([broken]))
    server.diagnosis('NON_FINITE: observation')
    server.steps.publish(Float64MultiArray(data=[1.0, 2.0]))
    server.diagnosis('WRONG_LABELS')
    for field, value in (('flag', 7.0), ('observation', 1e308), ('sequence', 2.0**53),
                         ('episode', 0.5), ('mode', -1.0)):
        broken = rows[5].copy()
        broken[server.codec.fields[field]] = value
        server.send(np.stack([broken]))
        server.diagnosis(f'OUT_OF_RANGE: {field}')
    broken = rows[5].copy()
    broken[0] = 2.0**40
    server.send(np.stack([broken]))
    server.diagnosis('5 is the next one')
    server.send(rows[5:8])
    server.received(8)


def test_a_forged_record_is_replaced_by_what_the_server_answers(server: Server, rows: np.ndarray
                                                               ) -> None:
    """Whichever came first: learned from or not, the server's own one is recorded."""
    server.start()
    server.serve()
    effort = server.codec.fields['effort']
    schema = StepSchema.of_fields(server.codec.widths)
    ends = np.flatnonzero(schema.get(rows, 'flag'))
    running, learned = int(ends[1]) - 1, int(ends[2]) - 2
    server.send(rows[:running])
    for place, after in ((running, running + 1), (learned, int(ends[2]) + 3)):
        forged = rows[place].copy()
        forged[effort] = 3.0
        server.send(np.stack([forged]))
        server.send(rows[place + 1:after])
        server.received(after)
        server.asked.clear()
        server.send(rows[place:place + 1])
        server.until(lambda place=place: (place, float(place)) in server.asked)
        server.send(rows[place:place + 1])  # as the server answers
        server.diagnosis("the policy server's counts")
        server.send(rows[after:int(ends[2]) - 2] if place == running else rows[after:])
    server.received(len(rows))
    assert server.lifecycle.take_down('learner', 20.0) is None
    np.testing.assert_array_equal(read_steps(server.out / 'transitions.mcap')[1], rows)


def test_a_learner_without_a_server_says_so(server: Server) -> None:
    """An operator sees why nothing is learned."""
    server.start()
    server.diagnosis('no policy server on policy_server/step')


def test_steps_of_another_run_are_not_mixed_in(server: Server, rows: np.ndarray) -> None:
    """A server that counts from 0 again in the folder of an older run is an error."""
    server.start()
    server.serve()
    server.send(rows[:20])
    server.received(20)
    strange = rows[:3].copy()
    strange[:, server.codec.fields['stamp']] += 1000.0
    server.send(strange)
    server.diagnosis('this run folder belongs to another run')
    assert server.progress['received'] == 20


def test_a_bundle_without_learner_tensors_refuses_to_configure(
        server: Server, small: Path, tmp_path: Path) -> None:
    """It can be run, not fine-tuned; the log says so."""
    bundle = load_bundle(small / 'initial.spaars')
    frozen = tmp_path / 'frozen.spaars'
    frozen.write_bytes(Bundle(bundle.manifest, bundle.graphs, bundle.golden_outputs).to_bytes())
    server.settings = RunSettings(**{**vars(server.settings), 'bundle': str(frozen)})
    with pytest.raises(LifecycleError, match='refused to configure'):
        server.start()
    assert 'can be run but not fine-tuned' in server.processes.last_words('learner')
