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

"""A classifier of success: trained from labels, tried on others, and heard by a run."""

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from domains import DOMAINS
import numpy as np
import onnx
from onnx import helper
from onnx import TensorProto
from peer import peer_of
import pytest
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Float32
from std_msgs.msg import Float64MultiArray
import torch
import yaml

from spaars_ros.control.given import Given
from spaars_ros.data.labels import write_labels
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.learning import judge as training
from spaars_ros.policy.judge import Judge
from spaars_ros.policy.judge import JudgeError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.qos import QOS
from spaars_ros.run.judge_training import labelled_runs
from spaars_ros.run.judging import Judging
from spaars_ros.tasks.base import GivenSuccess
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task

pytestmark = pytest.mark.timeout(120)
DOMAIN = next(DOMAINS)
SCHEMA = StepSchema(observation=3, latent=1, action=1)
RULE = GivenSuccess(source='judge', above=0.9, below=0.5, hold=3)


def episode(number: int, success: bool, rng: np.random.Generator, length: int = 30) -> Any:
    """Return records of an approach that comes to 0 or stays away; the third value is noise."""
    way = np.linspace(1.0, 0.0 if success else 0.3, length) + 0.02 * rng.normal(size=length)
    way[-3:] = (0.0 if success else 0.3) + 0.01 * rng.normal(size=3)
    return np.stack([SCHEMA.row(
        sequence=number * length + index, episode=number, index=index, stamp=0.05 * index,
        observation=[way[index], way[index] ** 2, rng.normal()], action=0.1, mode=Mode.LATENT,
        flag=Flag.TRUNCATED if index == length - 1 else 0) for index in range(length)])


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder whose episodes were labelled after their end."""
    folder = tmp_path_factory.mktemp('run')
    rng = np.random.default_rng(0)
    recorder = TransitionRecorder(folder / 'transitions.mcap', SCHEMA)
    for number in range(26):
        for row in episode(number, number % 2 == 0, rng):
            recorder.write_step(row)
    recorder.close()
    labels = {number: Outcome.SUCCESS if number % 2 == 0 else Outcome.FAILURE
              for number in range(24)}
    write_labels(folder, {**labels, 24: Outcome.DISCARDED})
    return folder


@pytest.fixture(scope='module')
def trained(run: Path) -> tuple[training.Classifier, list[training.Labelled]]:
    episodes, left, made_for = labelled_runs([run])
    assert len(episodes) == 24 and left == 2, 'one was discarded, one has no label'
    assert made_for is None, 'the folder does not say'
    return training.train_judge(episodes)


def test_success_is_found_at_the_end_and_no_failure_is_taken_for_one(trained: Any) -> None:
    model, kept = trained
    seen = training.tried(model, kept, RULE)
    assert seen.successes == seen.found == 3 and not seen.early
    assert seen.failures == 3 and not seen.alarms


def test_the_graph_says_what_was_trained(trained: Any, tmp_path: Path) -> None:
    model, kept = trained
    (tmp_path / 'judge.onnx').write_bytes(training.to_onnx(model))
    judge = Judge(tmp_path / 'judge.onnx')
    states = np.concatenate([each.observations for each in kept] + [np.full((1, 3), 1e6)])
    with torch.no_grad():
        wanted = torch.sigmoid(model(torch.tensor(states, dtype=torch.float32))).numpy()
    assert [judge(state) for state in states] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_the_rule_that_is_tried_is_the_one_of_the_run() -> None:
    """Two codes of one rule: training must not promise what the policy server does not do."""
    settings = load_task('reach').model_copy(update={'success': RULE})
    given = Given(ReachTask(load_robot(), settings))
    rng = np.random.default_rng(1)
    for _ in range(300):
        values = np.repeat(rng.uniform(0.3, 1.0, 12), rng.integers(1, 5, 12)).tolist()
        given.restart()
        outcomes = [given.outcome(Outcome.RUNNING, {'judge': Sample(np.array([value]), 0.0)})
                    for value in values]
        said = outcomes.index(Outcome.SUCCESS) if Outcome.SUCCESS in outcomes else None
        assert training.first_said(values, RULE) == said


def test_too_few_labels_are_refused_with_what_to_do(run: Path) -> None:
    episodes, _, _ = labelled_runs([run])
    wins = [each for each in episodes if each.success]
    with pytest.raises(ValueError, match='0 labelled episodes that failed, at least 4.*label'):
        training.train_judge(wins)


def test_runs_of_two_tasks_are_refused_by_name(run: Path, tmp_path: Path) -> None:
    other = StepSchema(observation=5, latent=1, action=1)
    recorder = TransitionRecorder(tmp_path / 'transitions.mcap', other)
    recorder.write_step(other.row(sequence=0, observation=np.zeros(5)))
    recorder.close()
    with pytest.raises(ValueError, match='5 values, the runs before have 3'):
        labelled_runs([run, tmp_path])


def graph(shape: list[Any], kind: str = 'Sigmoid', outputs: int = 1) -> bytes:
    """Return an ONNX graph of one node."""
    names = [f'out{number}' for number in range(outputs)]
    made = helper.make_model(helper.make_graph(
        [helper.make_node(kind, ['in'], [name]) for name in names], 'g',
        [helper.make_tensor_value_info('in', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]),
        opset_imports=[helper.make_opsetid('', 17)])
    made.ir_version = 9
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(('content', 'said'), [
    (b'not a graph', 'not ONNX'),
    (b'', 'judge.onnx'),
    (graph(['batch', 3], 'NonZero'), 'operator :NonZero'),
    (graph(['batch', 3], outputs=2), '2 outputs'),
    (graph(['batch', 3, 2]), r'one input \(batch, n\)'),
    (graph(['batch', 3]), 'answers 3 values')])
def test_a_file_that_is_no_classifier_is_refused(tmp_path: Path, content: bytes,
                                                 said: str) -> None:
    (tmp_path / 'judge.onnx').write_bytes(content)
    with pytest.raises(JudgeError, match=said):
        Judge(tmp_path / 'judge.onnx')
    with pytest.raises(JudgeError, match='No such file'):
        Judge(tmp_path / 'none.onnx')


def test_any_graph_of_one_value_judges_and_another_width_is_named(tmp_path: Path) -> None:
    (tmp_path / 'judge.onnx').write_bytes(graph(['batch', 1]))
    judge = Judge(tmp_path / 'judge.onnx')
    assert judge(np.zeros(1)) == 0.5
    with pytest.raises(JudgeError, match='a classifier of 1 values, the task observes 3'):
        judge(np.zeros(3))


def test_an_episode_that_begins_does_not_find_the_success_of_the_one_before(
        tmp_path: Path) -> None:
    (tmp_path / 'judge.onnx').write_bytes(graph(['batch', 1]))
    now = 10.0
    judging = Judging(Judge(tmp_path / 'judge.onnx'), clock=lambda: now)
    schema = StepSchema(observation=1, latent=1, action=1)
    codec = ArrayCodec(schema)

    def heard(sequence: int, **fields: Any) -> float | None:
        return judging.hear(codec.encode(schema.row(sequence=sequence, observation=3.0,
                                                    **fields)))
    assert judging.value() == 0.0, 'nothing was seen yet'
    assert heard(0) == pytest.approx(0.953, abs=1e-3) == judging.value()
    assert heard(1, flag=Flag.TERMINATED) == 0.0 == judging.value()
    assert heard(2) == pytest.approx(0.953, abs=1e-3)
    assert heard(1) is None, 'sent again for a learner'
    now += 5.0
    assert judging.value() == 0.0, 'a server that fell silent says nothing of now'


@pytest.fixture
def peer() -> Iterator[tuple[Any, SingleThreadedExecutor]]:
    with peer_of('server', DOMAIN) as made:
        yield made


def test_the_commands_train_and_judge(run: Path, tmp_path: Path,
                                      peer: tuple[Any, SingleThreadedExecutor]) -> None:
    node, executor = peer
    file = tmp_path / 'judge.onnx'
    spaars = [sys.executable, '-m', 'spaars_ros.cli', 'judge']
    done = subprocess.run([*spaars, 'train', str(run), '--out', str(file)], capture_output=True,
                          text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    snippet = yaml.safe_load(done.stdout.partition('):\n')[2])
    assert snippet['success']['source'] == snippet['sources'][0]['name'] == 'judge'
    load_task('reach').model_validate({**load_task('reach').model_dump(), **snippet})
    onnx.checker.check_model(onnx.load(str(file)))
    process = subprocess.Popen([*spaars, 'run', str(file)], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT,
                               env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)})
    heard: list[float] = []
    node.create_subscription(Float32, 'judge/success', lambda msg: heard.append(msg.data),
                             QOS['judge/success'])
    steps = node.create_publisher(Float64MultiArray, 'policy_server/step',
                                  QOS['policy_server/step'])

    def until(condition: Any) -> None:
        end = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < end and process.poll() is None, heard[-5:]
            executor.spin_once(timeout_sec=0.02)
    try:
        until(lambda: heard and steps.get_subscription_count())
        assert not any(heard), 'it says that it is there, and no success'
        codec = ArrayCodec(SCHEMA)
        rows = episode(0, True, np.random.default_rng(7))
        for row in rows[:-1]:
            steps.publish(codec.encode(row))
            executor.spin_once(timeout_sec=0.02)
        until(lambda: heard[-1] > 0.9)
        steps.publish(codec.encode(rows[-1]))
        until(lambda: heard[-1] == 0.0)
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
    assert process.returncode == 0, said
