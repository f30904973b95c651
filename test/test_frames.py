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

"""Frames on disk: kept up to a bound, read again, encoded by another encoder."""

from array import array
import json

from eyes import mean_encoder
from eyes import noise
from mcap_ros2.decoder import DecoderFactory
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from test_encoder import task_file
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.recording import read_messages
from spaars_ros.data.spool import Spool
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.run_config import RunConfig
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training
from spaars_ros.vision.frames import frame_files
from spaars_ros.vision.frames import FramesError
from spaars_ros.vision.frames import FrameWriter
from spaars_ros.vision.frames import read_frames
from spaars_ros.vision.image_messages import frame_of
from spaars_ros.vision.image_messages import IMAGE
from spaars_ros.vision.images import decompress
from spaars_ros.vision.images import fit_image
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import jpeg_of


def smooth(seed=0):
    return fit_image(noise(6, 8, seed), (0, 0, 1, 1), (80, 60))


def test_frames_are_compressed_images_that_every_reader_of_mcap_knows(tmp_path):
    writer = FrameWriter(tmp_path, 10_000_000)
    jpeg = jpeg_of(smooth(1))
    writer.put('cam/image', 5_000_000_007, smooth(0))
    writer.put('cam/jpeg', 6_000_000_000, jpeg)
    writer.close()
    assert writer.kept == 2 and not writer.error and not writer.lost
    found = []
    for schema, channel, message in read_messages(writer.path):
        decoded = DecoderFactory().decoder_for('cdr', schema)(message.data)
        found.append((channel.topic, decoded.header.stamp.sec, decoded.header.stamp.nanosec,
                      decoded.format, bytes(decoded.data)))
    assert found[0][:4] == ('/cam/image/compressed', 5, 7, 'jpeg')
    assert found[1] == ('/cam/jpeg', 6, 0, 'jpeg', jpeg)
    first, second = read_frames(tmp_path)
    assert np.abs(first.pixels().astype(int) - smooth(0)).mean() < 5
    np.testing.assert_array_equal(second.pixels(), decompress(jpeg))
    assert [frame.stamp_ns for frame in read_frames(tmp_path, 'cam/image')] == [5_000_000_007]


def test_the_bound_on_disk_holds_over_restarts_and_is_said(tmp_path):
    first = FrameWriter(tmp_path, 60_000, wait=True)
    for stamp in range(100):
        first.put('cam', stamp, noise(seed=stamp))
    first.close()
    assert 'bound' in first.error and 0 < first.kept < 30
    second = FrameWriter(tmp_path, 60_000)
    second.put('cam', 1, noise())
    second.close()
    assert second.error and second.kept <= 1
    assert len(frame_files(tmp_path)) == 2, 'nothing that was kept is written over'
    assert sum(path.stat().st_size for path in frame_files(tmp_path)) < 80_000


def test_frames_of_a_writer_that_was_killed_are_read_up_to_the_last_whole_chunk(tmp_path):
    writer = FrameWriter(tmp_path, 10**8, wait=True)
    for stamp in range(300):
        writer.put('cam', stamp, noise(seed=stamp))
    writer.close()
    data = writer.path.read_bytes()
    writer.path.write_bytes(data[:len(data) * 2 // 3])
    assert 50 < len(list(read_frames(tmp_path))) < 250


def test_images_of_ros_are_read_from_their_bytes():
    image = noise()
    msg = Image(height=60, width=80, step=240, encoding='bgr8', data=array('B', image.tobytes()))
    msg.header.stamp.sec, msg.header.frame_id = 3, 'lens'
    data = bytes(serialize_message(msg))
    frame = frame_of('cam', IMAGE, data)
    assert frame.stamp_ns == 3_000_000_000
    np.testing.assert_array_equal(frame.pixels(), image[..., ::-1])
    for cut in (2, 10, 60, 500):
        with pytest.raises(ImageError):
            frame_of('cam', IMAGE, data[:cut]).pixels()


def test_no_frames_say_where_they_come_from(tmp_path):
    with pytest.raises(FramesError, match='no such file'):
        list(read_frames(tmp_path / 'none'))
    FrameWriter(tmp_path, 10**6).close()
    with pytest.raises(FramesError, match='no image on other in it: frames are kept by'):
        list(read_frames(tmp_path, 'other'))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return the folder of a run that saw: its config, its spool and its frames."""
    folder = tmp_path_factory.mktemp('seen')
    robot, name = load_robot(), task_file(folder, size=[64, 64])
    options = RunConfig(out=str(folder / 'run'), task=name, training='smoke')
    made = RunFolder(options)
    made.claim(resume=False).release()
    made.begin()
    task = make_task(robot, load_task(name))
    bundle = untrained_bundle(robot, task, load_training())
    rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=0, explore=False)
    writer = FrameWriter(made.path, 10**8, wait=True)
    rollouts.arm.sight.seen = lambda name, stamp, image: writer.put('cam', stamp, image)
    rows = np.concatenate([rollouts.episode() for _ in range(2)])
    writer.close()
    spool = Spool(made.path / 'spool', rollouts.schema)
    for row in rows:
        spool.append(row)
    spool.close()
    return made.path, rows, rollouts.schema, task


def invoke(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_another_encoder_makes_the_features_of_a_run_again_and_keeps_the_rest(run, tmp_path):
    folder, rows, schema, task = run
    mean_encoder(tmp_path / 'mean.onnx')
    out = tmp_path / 'demos.h5'
    done = invoke('data', 'encode', folder, out, '--encoder', tmp_path / 'mean.onnx')
    assert done.exit_code == 0, done.output
    data = load_dataset(out)
    assert json.loads(data.attributes['encoders'])['eye']['sources.eye.camera.input'] == '8 8'
    width = task.observation_dim - 64
    old = rows[:, schema.fields['observation']]
    first = data.episode == 0
    np.testing.assert_allclose(data.observations[first, :width], old[:first.sum(), :width],
                               atol=1e-5)
    # The thumbnail's grey values are weighted means of the same pixels.
    grey = data.observations[first, width:] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, old[:first.sum(), width:].mean(axis=1), atol=0.02)
    assert grey.std() > 0
    changed = task_file(tmp_path, 'mean.onnx', size=[64, 64])
    assert load_dataset(out, load_robot(), make_task(load_robot(), load_task(changed)))


def test_what_cannot_be_encoded_again_is_named(run, tmp_path):
    folder = run[0]
    for words, said in (((), 'name the encoder'), (('--encoder', tmp_path / 'no.onnx'), 'no such'),
                        (('--encoder', 'x.onnx', '--source', 'ear'), 'which one of eye'),
                        (('--task', 'pick'), "task 'pick'")):
        done = invoke('data', 'encode', folder, tmp_path / 'a.h5', *words)
        assert done.exit_code == 1 and said in done.output, done.output
        assert len(done.output.strip().splitlines()) == 1
