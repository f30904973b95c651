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

"""The encoder node over real topics: vectors, refusals, and what its diagnostics say."""

from array import array
import time

from diagnostic_msgs.msg import DiagnosticArray
from domains import DOMAINS
from eyes import mean_encoder
from eyes import noise
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray
import yaml

from spaars_ros.nodes.encoder.node import EncoderNode
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.sources.features import ENCODER
from spaars_ros.ros.sources.features import label
from spaars_ros.ros.sources.features import REFUSED
from spaars_ros.ros.sources.features import stamp_of
from spaars_ros.ros.sources.source_set import SourceSet
from spaars_ros.tasks.registry import load_task
from spaars_ros.vision.encoder_file import digest_of
from spaars_ros.vision.frames import read_frames
from spaars_ros.vision.images import jpeg_of

pytestmark = pytest.mark.timeout(90)


def write_task(folder, **changes):
    mean_encoder(folder / 'mean.onnx')
    entry = {'name': 'eye', 'topic': 'cam', 'type': 'Image', 'camera': {'encoder': 'mean.onnx'}}
    entry['camera'].update(changes.pop('camera', {}))
    path = folder / 'task.yaml'
    path.write_text(yaml.safe_dump({'task': 'seen_task:SeenReach',
                                    'sources': [{**entry, **changes}]}))
    return path


class Rig:
    """A camera, the encoder, and ears."""

    def __init__(self, task, **parameters):
        rclpy.init(args=[], domain_id=next(DOMAINS))
        self.source = load_task(str(task)).sources[0]
        self.ears = rclpy.create_node('ears')
        self.node = EncoderNode(task=str(task), **parameters)
        self.executor = SingleThreadedExecutor()
        for each in (self.ears, self.node):
            self.executor.add_node(each)
        self.vectors, self.said = [], []
        self.ears.create_subscription(Float64MultiArray, 'cam/eye', self.vectors.append, 100)
        self.ears.create_subscription(
            DiagnosticArray, '/diagnostics',
            lambda msg: self.said.append(msg.status[0]), QOS['/diagnostics'])

    def start(self, kind=Image):
        self.camera = self.ears.create_publisher(kind, 'cam', 10)
        assert self.node.trigger_configure().name == 'SUCCESS'
        assert self.node.trigger_activate().name == 'SUCCESS'
        self.until(lambda: self.camera.get_subscription_count() > 0)
        return self

    def show(self, image, stamp_ns, encoding='rgb8'):
        msg = Image(height=image.shape[0], width=image.shape[1], step=image.shape[1] * 3,
                    encoding=encoding, data=array('B', image.tobytes()))
        self.send(msg, stamp_ns)

    def send(self, msg, stamp_ns):
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        before = len(self.vectors)
        self.camera.publish(msg)
        self.until(lambda: len(self.vectors) > before)

    def until(self, done, seconds=20.0):
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        assert done(), self.said[-1:]

    def close(self):
        self.executor.shutdown()
        for each in (self.node, self.ears):
            each.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def rig():
    made = []

    def make(task, **parameters):
        made.append(Rig(task, **parameters))
        return made[-1]
    yield make
    for each in made:
        each.close()


def test_each_image_becomes_a_vector_with_its_stamp_and_the_digest_or_a_named_refusal(
        rig, tmp_path):
    one = rig(write_task(tmp_path)).start()
    image = noise()
    one.show(image, 7_000_000_123)
    msg = one.vectors[-1]
    assert stamp_of(msg) == 7_000_000_123 and label(msg, ENCODER) == digest_of(one.source)
    np.testing.assert_allclose(msg.data, image.mean(axis=(0, 1)) / 255, atol=0.02)
    refused = []
    for number, (bad, encoding) in enumerate(((np.zeros_like(image), 'rgb8'),
                                              (noise(30, 30), 'rgb8'), (image, 'yuv422'))):
        one.show(bad, 8_000_000_000 + number, encoding)
        assert not len(one.vectors[-1].data)
        refused.append(label(one.vectors[-1], REFUSED).partition(':')[0])
    assert refused == ['BLANK', 'WRONG_SIZE', 'UNKNOWN_ENCODING']
    one.until(lambda: any('UNKNOWN_ENCODING' in said.message for said in one.said))
    one.show(image, 9_000_000_000)
    assert len(one.vectors[-1].data) == 3, 'it goes on with the next good one'


def test_what_was_refused_stops_the_robot_by_name_and_a_good_image_goes_on(rig, tmp_path):
    one = rig(write_task(tmp_path)).start()
    robot = load_robot()
    sources = SourceSet(one.ears, [one.source], kinematics=Kinematics(robot), tip=robot.tip,
                        position=lambda: None, simulated=True, now=lambda: 0)
    one.show(noise(), 1_000_000_000)
    one.until(lambda: sources.complete)
    sources.samples(1_000_000_000)
    assert sources.cause() is None
    one.show(np.zeros((60, 80, 3), np.uint8), 2_000_000_000)
    one.until(lambda: sources.cause() is not None)
    assert sources.cause().code == 'SOURCE_BLANK'
    one.show(noise(), 3_000_000_000)
    one.until(lambda: sources.cause() is None)
    sources.samples(4_000_000_000)
    stop = sources.cause()
    assert stop.code == 'SOURCE_SILENT'
    assert 'the images on /cam' in stop.text and 'sends nothing' in stop.text


def test_compressed_images_are_encoded_at_most_at_their_rate(rig, tmp_path):
    one = rig(write_task(tmp_path, type='CompressedImage', camera={'rate': 10})).start(
        CompressedImage)
    data = array('B', jpeg_of(noise()))
    for stamp in (1_000_000_000, 1_100_000_000):
        one.send(CompressedImage(format='jpeg', data=data), stamp)
    early = CompressedImage(format='jpeg', data=data)
    early.header.stamp.sec, early.header.stamp.nanosec = 1, 150_000_000
    one.camera.publish(early)
    one.send(CompressedImage(format='jpeg', data=data), 1_200_000_000)
    assert [stamp_of(msg) for msg in one.vectors] == [1_000_000_000, 1_100_000_000, 1_200_000_000]


def test_a_camera_without_a_publisher_is_named_in_the_diagnostics(rig, tmp_path):
    one = rig(write_task(tmp_path))
    assert one.node.trigger_configure().name == one.node.trigger_activate().name == 'SUCCESS'
    one.until(lambda: any('no image on /cam for' in said.message
                          and 'nobody publishes it' in said.message for said in one.said))


@pytest.mark.parametrize('change, words', [
    ({'camera': {'encoder': 'none.onnx'}}, 'no such file'),
    ({'camera': {'encoder': 'task.yaml'}}, 'no ONNX file')])
def test_an_encoder_file_that_cannot_be_used_refuses_to_begin_in_one_line(
        rig, tmp_path, capfd, change, words):
    one = rig(write_task(tmp_path, **change))
    assert one.node.trigger_configure().name != 'SUCCESS'
    said = capfd.readouterr().err
    assert words in said and 'Traceback' not in said


def test_a_task_without_a_camera_and_a_gpu_that_is_not_there_are_refused_by_name(
        tmp_path, rig, capfd):
    one = rig(write_task(tmp_path), provider='cuda')
    assert one.node.trigger_configure().name != 'SUCCESS'
    assert 'install onnxruntime-gpu' in capfd.readouterr().err
    blind = EncoderNode(task='reach')
    assert blind.trigger_configure().name != 'SUCCESS'
    blind.destroy_node()
    assert "task 'reach' has no camera" in capfd.readouterr().err


def test_a_node_that_is_taken_down_and_up_again_goes_on_with_nothing_left_over(rig, tmp_path):
    run = tmp_path / 'run'
    one = rig(write_task(tmp_path), run_dir=str(run)).start()
    before = len(list(one.node.publishers)), len(list(one.node.subscriptions))
    one.show(noise(), 1_000_000_000)
    for step in ('deactivate', 'cleanup'):
        assert getattr(one.node, f'trigger_{step}')().name == 'SUCCESS'
    assert len(list(one.node.subscriptions)) < before[1]
    assert [frame.stamp_ns for frame in read_frames(run)] == [1_000_000_000]
    assert one.node.trigger_configure().name == one.node.trigger_activate().name == 'SUCCESS'
    assert (len(list(one.node.publishers)), len(list(one.node.subscriptions))) == before
    one.until(lambda: one.camera.get_subscription_count() == 1)
    one.show(noise(), 2_000_000_000)
    assert len(one.vectors[-1].data) == 3
