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

"""A classifier of success that sees: rendered frames, the shipped encoder, ONNX Runtime."""

from collections.abc import Iterator
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from domains import DOMAINS
from eyes import graph_file
from eyes import mean_encoder
from eyes import THUMBNAIL
import mujoco
import numpy as np
from numpy.typing import NDArray
import onnx
from peer import peer_of
import pytest
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Float32
from std_msgs.msg import Float64MultiArray
from typer.testing import CliRunner
import yaml

from spaars_ros.cli import app
from spaars_ros.data.labels import write_labels
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.learning import judge as training
from spaars_ros.policy.judge import Judge
from spaars_ros.policy.judge import JudgeError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.sources.features import features_message
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.judging import Judging
from spaars_ros.run.run_config import RunConfig
from spaars_ros.sim.env import ArmEnv
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.tasks.sources import sources_of
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.encoder_file import digest_of
from spaars_ros.vision.encoder_file import EncoderError
from spaars_ros.vision.frames import FrameWriter
from spaars_ros.vision.images import Pixels

pytestmark = pytest.mark.timeout(120)
DOMAIN = next(DOMAINS)
EPISODES, LENGTH, PERIOD = 24, 14, 50_000_000
SETTINGS = load_task('pick_camera')


@dataclass
class Shown:
    """A run of `pick_camera` whose light barrier is not wired: only the camera sees success."""

    folder: Path
    schema: StepSchema
    rows: NDArray[np.float64]
    images: list[Pixels]
    """One per row."""

    def of(self, episode: int) -> NDArray[np.float64]:
        """Return the observations (T, n) of an episode."""
        return self.rows[self.schema.get(self.rows, 'episode') == episode][
            :, self.schema.fields['observation']]


@pytest.fixture(scope='module', autouse=True)
def few_steps() -> Iterator[None]:
    """Train for as long as these images need."""
    before, training.STEPS = training.STEPS, 300
    yield
    training.STEPS = before


@pytest.fixture(scope='module')
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Return a run whose cube is carried into the bin, or beside it; a person said which."""
    folder = tmp_path_factory.mktemp('run')
    made = RunFolder(RunConfig(out=str(folder / 'run'), robot=SETTINGS.robot,
                               task='pick_camera', training='smoke'))
    made.claim(resume=False).release()
    made.begin()
    env = ArmEnv(load_robot(SETTINGS.robot), SETTINGS)
    assert env.arm.sight is not None
    writer = FrameWriter(made.path, 10**8, wait=True)
    images: list[Pixels] = []

    def keep(name: str, stamp: int, image: Pixels) -> None:
        writer.put('camera/image_raw', stamp, image)
        images.append(image)
    schema = StepSchema(observation=env.task.observation_dim, latent=1, action=8)
    rng, rows = np.random.default_rng(0), []
    env.reset(seed=0)
    env.arm.sight.seen = keep
    blind = env.task.spec.slices['binned']
    for episode in range(EPISODES):
        start = rng.uniform(SETTINGS.cube_low, SETTINGS.cube_high)
        end = np.asarray(SETTINGS.bin) + rng.uniform(-0.03, 0.03, 2)
        if episode % 2:
            end = rng.uniform(SETTINGS.cube_low, SETTINGS.cube_high)
        for index in range(LENGTH):
            share = min(index / (LENGTH - 5), 1.0)
            env.arm.data.joint('cube').qpos[:2] = start + share * (end - start)
            env.arm.data.qpos[:7] += 0.01 * rng.normal(size=7)
            mujoco.mj_forward(env.arm.model, env.arm.data)
            env.arm.stamp_ns += PERIOD
            observation = env.task.observe(env._world(env.arm.state()), None)
            observation[blind] = 0.0
            rows.append(schema.row(
                sequence=len(rows), episode=episode, index=index, stamp=env.arm.stamp_ns * 1e-9,
                observation=observation,
                flag=Flag.TRUNCATED if index == LENGTH - 1 else Flag.RUNNING))
    writer.close()
    env.close()
    recorder = TransitionRecorder(made.path / 'transitions.mcap', schema)
    for row in rows:
        recorder.write_step(row)
    recorder.close()
    write_labels(made.path, {number: Outcome.FAILURE if number % 2 else Outcome.SUCCESS
                             for number in range(EPISODES)})
    return Shown(made.path, schema, np.asarray(rows), images)


def train(*words: object) -> Any:
    return CliRunner().invoke(app, ['judge', 'train', *map(str, words)])


def task_with(folder: Path, name: str = 'task.yaml', **camera: Any) -> str:
    """Write the task file with another encoder or crop; return its name."""
    content = SETTINGS.model_dump(mode='json')
    for source in content['sources']:
        if source['name'] == 'eye':
            source['camera'].update(camera)
    (folder / name).write_text(yaml.safe_dump(content))
    return str(folder / name)


@pytest.fixture(scope='module')
def judged(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a judge of the observations, and what was printed about it."""
    folder = tmp_path_factory.mktemp('judge')
    done = train(shown.folder, '--out', folder / 'judge.onnx', '--json', folder / 'said.json')
    assert done.exit_code == 0, done.output
    return folder / 'judge.onnx', json.loads((folder / 'said.json').read_text())


def test_success_is_seen_in_the_values_of_the_camera_alone(shown: Shown, judged: Any) -> None:
    file, said = judged
    assert said['found'] >= 2 and said['successes'] == 3
    assert not said['alarms'] and not said['early']
    judge = Judge(file)
    ends = np.array([judge(shown.of(number)[-1]) > 0.9 for number in range(EPISODES)])
    assert ends[::2].sum() >= EPISODES // 2 - 1 and not ends[1::2].any()
    assert max(judge(shown.of(number)[0]) for number in range(EPISODES)) < 0.5


def test_the_judge_holds_what_its_encoder_was_and_refuses_another_by_name(
        judged: Any, tmp_path: Path) -> None:
    judge = Judge(judged[0])
    robot = load_robot(SETTINGS.robot)
    judge.check(make_task(robot, SETTINGS).spec.encoders)
    for changed, said in (
            ({'encoder': THUMBNAIL}, r'sources\.eye\.camera\.encoder was \w{16}, here'),
            ({'crop': [0, 0, 0.5, 1]}, r'camera\.crop was 0 0 1 1, here it is 0 0 0\.5')):
        other = make_task(robot, load_task(task_with(tmp_path, **changed)))
        with pytest.raises(JudgeError, match='made for another encoder: .*' + said):
            judge.check(other.spec.encoders)
    with pytest.raises(JudgeError, match='eye.camera.encoder was .*, here it is none'):
        judge.check(make_task(load_robot(), load_task('reach')).spec.encoders)


def test_the_command_refuses_the_task_of_another_encoder_in_one_line(
        judged: Any, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ['judge', 'run', str(judged[0]), '--task',
                                    task_with(tmp_path, encoder=THUMBNAIL)])
    assert done.exit_code == 1
    line, = done.output.strip().splitlines()
    assert 'sources.eye.camera.encoder was' in line and 'train the judge again' in line


def test_runs_that_saw_with_two_encoders_are_no_set_unless_encoded_again(
        shown: Shown, tmp_path: Path) -> None:
    other = RunFolder(RunConfig(
        out=str(tmp_path / 'other'), training='smoke', robot=SETTINGS.robot,
        task=task_with(tmp_path, encoder=THUMBNAIL)))
    other.claim(resume=False).release()
    other.begin()
    recorder = TransitionRecorder(other.path / 'transitions.mcap', shown.schema)
    for row in shown.rows[:40]:
        recorder.write_step(row)
    recorder.close()
    done = train(shown.folder, other.path, '--out', tmp_path / 'judge.onnx')
    assert done.exit_code == 1 and 'saw with another encoder' in done.output
    assert 'sources.eye.camera.encoder' in done.output and '--task' in done.output


def test_labels_teach_a_judge_of_another_encoder(shown: Shown, tmp_path: Path) -> None:
    """By the kept frames, so that a person labels once."""
    task, file = task_with(tmp_path, encoder=THUMBNAIL), tmp_path / 'judge.onnx'
    done = train(shown.folder, '--task', task, '--out', file, '--json', tmp_path / 'said.json')
    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / 'said.json').read_text())
    assert said['found'] >= 2 and said['alarms'] <= 1
    made = make_task(load_robot(SETTINGS.robot), load_task(task))
    Judge(file).check(made.spec.encoders)
    assert Judge(file).width == made.observation_dim != shown.of(0).shape[1]


@pytest.fixture(scope='module')
def seeing(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a judge of images, and what was printed."""
    file = tmp_path_factory.mktemp('image') / 'done.onnx'
    done = train(shown.folder, '--camera', 'eye', '--out', file)
    assert done.exit_code == 0, done.output
    return file, done.output


def test_a_judge_of_images_is_an_encoder_of_one_value(shown: Shown, seeing: Any,
                                                      tmp_path: Path) -> None:
    """What is printed goes into the task file, and finds success in images."""
    file, said = seeing
    printed = yaml.safe_load(said.partition('in the task file:\n')[2])
    content = SETTINGS.model_dump(mode='json')
    task = {**content, **printed, 'sources': [*content['sources'], *printed['sources']]}
    (tmp_path / 'task.yaml').write_text(yaml.safe_dump(task))
    made = make_task(load_robot(SETTINGS.robot), load_task(str(tmp_path / 'task.yaml')))
    assert 'done' in {each.name for each in sources_of(made)}
    source = {each.name: each for each in cameras_of(made)}['done']
    onnx.checker.check_model(onnx.load(str(file)))
    encoder = Encoder(source)
    assert encoder.file.features == 1
    for number in range(EPISODES):
        begin, end = (encoder.encode(shown.images[LENGTH * number + place])[0]
                      for place in (0, LENGTH - 1))
        assert begin < 0.5 and (end > 0.9) == (number % 2 == 0)


def test_an_episode_ends_by_what_the_camera_sees(seeing: Any, tmp_path: Path) -> None:
    """Also in the simulation, which renders and judges in process."""
    printed = yaml.safe_load(seeing[1].partition('in the task file:\n')[2])
    content = SETTINGS.model_dump(mode='json')
    task = {**content, **printed, 'sources': [*content['sources'], *printed['sources']]}
    (tmp_path / 'task.yaml').write_text(yaml.safe_dump(task))
    env = ArmEnv(load_robot(SETTINGS.robot), load_task(str(tmp_path / 'task.yaml')))
    env.reset(seed=3)
    still = np.zeros(env.task.action_dim)
    assert not any(env.step(still)[2] for _ in range(6))
    env.arm.data.joint('cube').qpos[:2] = SETTINGS.bin
    ended = [env.step(still)[2] for _ in range(6)]
    env.close()
    assert ended.index(True) in (2, 3), 'three ticks in a row'


def test_a_judge_of_images_is_refused_with_another_part_of_the_image(
        seeing: Any, tmp_path: Path) -> None:
    content = yaml.safe_load(seeing[1].partition('in the task file:\n')[2])
    content['sources'][0]['camera']['crop'] = [0.0, 0.0, 0.5, 1.0]
    settings = SETTINGS.model_copy(update={
        'sources': [*SETTINGS.sources, type(SETTINGS.sources[0])(**content['sources'][0])]})
    with pytest.raises(EncoderError, match='camera.crop is 0 0 0.5 1, .* trained with 0 0 1 1'):
        digest_of(settings.sources[-1])


@pytest.mark.parametrize('words, said', [
    (('--camera', 'ear'), "--camera ear: task 'pick_camera' has the cameras eye"),
    (('--camera', 'eye', '--task', 'pick'), "--camera eye: task 'pick' has no camera"),
    (('--task', 'insert'), "no term 'error'")])
def test_what_no_judge_can_see_is_named(shown: Shown, tmp_path: Path, words: tuple[str, ...],
                                        said: str) -> None:
    done = train(shown.folder, *words, '--out', tmp_path / 'judge.onnx')
    assert done.exit_code == 1 and said in done.output, done.output
    assert len(done.output.strip().splitlines()) == 1


def test_labels_that_are_missing_are_counted_before_a_frame_is_read(
        shown: Shown, tmp_path: Path) -> None:
    (tmp_path / 'transitions.mcap').write_bytes(
        (shown.folder / 'transitions.mcap').read_bytes())
    write_labels(tmp_path, {number: Outcome.SUCCESS for number in range(5)})
    done = train(tmp_path, '--camera', 'eye', '--out', tmp_path / 'judge.onnx')
    assert done.exit_code == 1, done.output
    assert '0 labelled episodes that failed, at least 4' in done.output
    assert '19 have no label' in done.output


def test_an_encoder_of_an_old_opset_is_refused_for_a_judge_of_images(
        shown: Shown, tmp_path: Path) -> None:
    file = mean_encoder(tmp_path / 'old.onnx')
    model = onnx.load(str(file))
    model.opset_import[0].version = 9
    file.write_bytes(model.SerializeToString())
    done = train(shown.folder, '--camera', 'eye', '--task', task_with(
        tmp_path, encoder=str(file), contrast=0.0), '--out', tmp_path / 'judge.onnx')
    assert done.exit_code == 1 and 'opset 9' in done.output, done.output


def test_a_judge_with_metadata_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ('{', '[]', '{"encoders": {"eye": 3}, "eyes": {}}',
                 '{"encoders": {}, "eyes": {"eye": {"topic": "x"}}}'):
        file = graph_file(tmp_path / 'judge.onnx', [('Sigmoid', ['image'], ['features'], {})],
                          shape=(1, 1), out=(1, 1))
        model = onnx.load(str(file))
        onnx.helper.set_model_props(model, {'spaars_ros.made_for': text})
        file.write_bytes(model.SerializeToString())
        with pytest.raises(JudgeError, match='metadata spaars_ros.made_for'):
            Judge(file)


def test_a_judge_says_nothing_before_it_knows_the_encoder(shown: Shown, judged: Any) -> None:
    now = 10.0
    digest = digest_of(cameras_of(make_task(load_robot(SETTINGS.robot), SETTINGS))[0])

    def judging(seen: str | None) -> tuple[Judging, list[float | None]]:
        made = Judging(Judge(judged[0]), clock=lambda: now)
        if seen is not None:
            made.see('eye', seen)
        codec = ArrayCodec(shown.schema)
        row = shown.rows[LENGTH - 1].copy()
        row[shown.schema.fields['flag']] = Flag.RUNNING
        return made, [made.hear(codec.encode(row))]
    known, said = judging(digest)
    assert said[0] is not None and said[0] > 0.9 and not known.failure
    other, said = judging('f' * 64)
    assert 'made for encoder' in other.failure and 'this run has ffffffffffffffff' in other.failure
    unknown, said = judging(None)
    assert said == [0.0] and not unknown.failure
    now += 6.0
    row = shown.rows[LENGTH - 1].copy()
    row[shown.schema.fields['sequence']] += 1
    unknown.hear(ArrayCodec(shown.schema).encode(row))
    assert 'no vector on camera/image_raw/eye' in unknown.failure and '--task' in unknown.failure


@pytest.fixture
def peer() -> Iterator[tuple[Any, SingleThreadedExecutor]]:
    with peer_of('server', DOMAIN) as made:
        yield made


def test_the_command_judges_a_run_that_sees_and_ends_at_the_vector_of_another_encoder(
        shown: Shown, judged: Any, peer: tuple[Any, SingleThreadedExecutor]) -> None:
    node, executor = peer
    process = subprocess.Popen(
        [sys.executable, '-m', 'spaars_ros.cli', 'judge', 'run', str(judged[0])], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)})
    heard: list[float] = []
    node.create_subscription(Float32, 'judge/success', lambda msg: heard.append(msg.data),
                             QOS['judge/success'])
    steps = node.create_publisher(Float64MultiArray, 'policy_server/step',
                                  QOS['policy_server/step'])
    vectors = node.create_publisher(Float64MultiArray, 'camera/image_raw/eye', 10)
    digest = digest_of(cameras_of(make_task(load_robot(SETTINGS.robot), SETTINGS))[0])
    eye = make_task(load_robot(SETTINGS.robot), SETTINGS).spec.slices['eye']

    def until(condition: Any) -> None:
        end = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < end, heard[-5:]
            executor.spin_once(timeout_sec=0.02)
    try:
        until(lambda: heard and steps.get_subscription_count()
              and vectors.get_subscription_count())
        codec, row = ArrayCodec(shown.schema), shown.rows[LENGTH - 1].copy()
        row[shown.schema.fields['flag']] = Flag.RUNNING
        seen = row[shown.schema.fields['observation']][eye]
        sequence = iter(range(1, 10_000))

        def tick(made_by: str) -> None:
            vectors.publish(features_message(seen, 5, made_by))
            row[shown.schema.fields['sequence']] = next(sequence)
            steps.publish(codec.encode(row))
        until(lambda: tick(digest) or heard[-1] > 0.9)
        until(lambda: tick('f' * 64) or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
    assert process.returncode == 1, said
    assert 'error:' in said.splitlines()[-1] and 'made for encoder' in said.splitlines()[-1]
