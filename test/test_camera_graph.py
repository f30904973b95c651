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

"""Simulated cameras, the encoder and the policy server as one graph in lockstep."""

from pathlib import Path
import time

from domains import DOMAINS
from eyes import mean_encoder
import mujoco
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from test_encoder import task_file
from test_source_server import Rig
import yaml

from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.encoder.node import EncoderNode
from spaars_ros.nodes.sim.node import SimNode
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.cameras import Cameras
from spaars_ros.sim.cameras import place
from spaars_ros.sim.env import ArmEnv
from spaars_ros.tasks.protocols import scene_of
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.tasks.sources import sources_of
from spaars_ros.training_file import load_training
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.images import decompress

pytestmark = pytest.mark.timeout(120)

ROBOT = load_robot()


class SeeingRig(Rig):
    """The same with an encoder between the simulation and the server."""

    def __init__(self, file, bundle, folder, **parameters):
        super().__init__('seen', bundle, folder, file=file, robot='panda', **parameters)
        self.encoder = EncoderNode(robot='panda', task=file, run_dir=str(folder / 'run'))
        self.nodes.insert(1, self.encoder)
        self.executor.add_node(self.encoder)


@pytest.fixture
def rig(tmp_path):
    made = []

    def make(**camera):
        file = task_file(tmp_path, **{'size': [64, 64], **camera})
        task = make_task(ROBOT, load_task(file))
        save_bundle(untrained_bundle(ROBOT, task, load_training()), tmp_path / 'a.spaars')
        made.append(SeeingRig(file, tmp_path / 'a.spaars', tmp_path))
        return made[-1].start(), task
    yield make
    for each in made:
        each.close()


def test_a_tick_acts_on_the_vector_of_its_own_image_and_faults_stop_by_name(rig):
    """Also ArmEnv sees the same: the same drawing, the same encoder."""
    one, task = rig()
    one.until(lambda: len(one.steps) > 25)
    assert all(step['ages'] == 0.0 for step in one.steps), 'not the image of a tick before'
    arm = Arm(ROBOT, scene_of(task))
    cameras, encoder = (made(arm.model, cameras_of(task)) if made is Cameras else
                        made(cameras_of(task)[0]) for made in (Cameras, Encoder))
    for step in one.steps[5:25:5]:
        observation = step['observation']
        arm.data.qpos[:] = observation[task.spec.slices['position']]
        place(arm.model, arm.data)
        wanted = encoder.encode(cameras.image('eye', arm.data))
        seen = observation[task.spec.slices['eye']]
        assert np.abs(seen - wanted).max() < 0.02 < np.ptp(wanted)
    cameras.close()
    frames = one.encoder._frames
    assert frames.kept > 20 and not frames.lost and not frames.error
    for fault, code in (({'camera_black': 1.0}, 'SOURCE_BLANK'),
                        ({'camera_size': 1.0}, 'SOURCE_WRONG_SIZE'),
                        ({'camera_encoding': 1.0}, 'SOURCE_UNKNOWN_ENCODING'),
                        ({'camera_drop': 1.0}, 'SOURCE_SILENT'),
                        ({'camera_delay': 1.0}, 'SOURCE_SILENT')):
        one.stops_and_goes_on(fault, code)


def test_a_slow_camera_gives_every_tick_its_last_image_with_its_age(rig):
    one, _ = rig(rate=5)
    one.until(lambda: len(one.steps) > 40)
    ages = np.array([float(step['ages']) for step in one.steps[4:]])
    np.testing.assert_allclose(sorted(set(ages.round(3))), [0.0, 0.05, 0.1, 0.15])


def test_two_encoders_see_through_one_camera_that_is_drawn_and_kept_once(tmp_path):
    """One for the policy, the other judges; it never sees as much red as success takes."""
    file = tmp_path / 'task.yaml'
    content = yaml.safe_load(Path(task_file(tmp_path, size=[64, 64])).read_text())
    second = {'encoder': str(mean_encoder(tmp_path / 'mean.onnx')), 'simulated': 'eye'}
    content['sources'].append({'name': 'red', 'topic': 'cam', 'type': 'Image', 'camera': second})
    file.write_text(yaml.safe_dump({**content, 'success': {'source': 'red', 'above': 2.0}}))
    task = make_task(ROBOT, load_task(str(file)))
    save_bundle(untrained_bundle(ROBOT, task, load_training()), tmp_path / 'a.spaars')
    one = SeeingRig(str(file), tmp_path / 'a.spaars', tmp_path).start()
    try:
        one.until(lambda: len(one.steps) > 20)
        assert all((step['ages'] == 0.0).all() for step in one.steps)
        assert one.encoder.count_publishers('cam') == 1
        eye, red = one.encoder._eyes
        one.until(lambda: one.encoder._frames.kept > 20)
        assert abs(eye.encoded - red.encoded) <= 1 and one.encoder._frames.kept <= eye.encoded
    finally:
        one.close()


def test_two_types_of_images_on_one_topic_are_refused_by_name(tmp_path):
    file = tmp_path / 'task.yaml'
    content = yaml.safe_load(Path(task_file(tmp_path)).read_text())
    content['sources'].append({**content['sources'][0], 'name': 'red', 'type': 'CompressedImage'})
    file.write_text(yaml.safe_dump({**content, 'success': {'source': 'red'}}))
    with pytest.raises(ConfigError, match="'red' is of type .*CompressedImage, another on the "
                       "same topic 'cam' of sensor_msgs/msg/Image"):
        sources_of(make_task(ROBOT, load_task(str(file))))


def test_the_environment_holds_an_image_as_long_as_the_camera_does(tmp_path):
    env = ArmEnv(ROBOT, load_task(task_file(tmp_path, rate=10)))
    seen = []
    env.arm.sight.seen = lambda name, stamp, image: seen.append((stamp, image.shape))
    first, _ = env.reset(seed=0)
    states = [first, *(env.step(np.full(7, 0.5))[0] for _ in range(4))]
    eye = [state[env.task.spec.slices['eye']] for state in states]
    assert len(seen) == 3 and seen[0][1] == (64, 64, 3)
    assert (eye[0] == eye[1]).all() and (eye[1] != eye[2]).any() and (eye[2] == eye[3]).all()
    again, _ = env.reset(seed=0)
    np.testing.assert_allclose(again[-64:], eye[0], atol=1e-6)
    env.close()


def test_a_camera_that_the_scene_lacks_is_named_with_those_it_has(tmp_path):
    settings = load_task(task_file(tmp_path, simulated='wrist'))
    with pytest.raises(ConfigError, match=r"the scene has no camera 'wrist', it has \['eye'\]"):
        ArmEnv(ROBOT, settings)


def test_two_cameras_of_different_sizes_draw_into_one_context():
    spec = mujoco.MjSpec.from_string(
        '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size=".1" rgba="1 0 0 1"/>'
        '<camera name="near" pos="0 -.5 0" xyaxes="1 0 0 0 0 1"/>'
        '<camera name="far" pos="0 -2 0" xyaxes="1 0 0 0 0 1"/></worldbody></mujoco>')
    model = spec.compile()
    data = mujoco.MjData(model)
    place(model, data)
    entries = [load_entry(name, size) for name, size in (('near', (64, 48)), ('far', (100, 80)))]
    cameras = Cameras(model, entries)
    near, far = (cameras.image(name, data) for name in ('near', 'far'))
    cameras.close()
    assert near.shape == (48, 64, 3) and far.shape == (80, 100, 3)
    red = [(image[..., 0].astype(int) - image[..., 1] > 40).mean() for image in (near, far)]
    assert red[0] > 5 * red[1] > 0


def load_entry(name, size):
    from eyes import THUMBNAIL

    from spaars_ros.robot.sources import Source
    return Source(name=name, type='Image', camera={'encoder': THUMBNAIL, 'size': size})


def test_compressed_images_come_at_their_rate_in_real_time_with_their_pinhole(tmp_path):
    rclpy.init(args=[], domain_id=next(DOMAINS))
    path = tmp_path / 'task.yaml'
    text = load_task(task_file(tmp_path, size=[64, 64], rate=10)).sources[0]
    path.write_text('task: seen_task:SeenReach\nsources:\n- {name: eye, topic: cam/image, type: '
                    f'CompressedImage, camera: {{encoder: "{text.camera.encoder}", rate: 10, '
                    'size: [64, 48]}}\n')
    node = SimNode(task=str(path), robot='panda', real_time_factor=1.0)
    ears = rclpy.create_node('ears')
    executor = SingleThreadedExecutor()
    images, infos = [], []
    ears.create_subscription(CompressedImage, 'cam/image', images.append, 10)
    ears.create_subscription(CameraInfo, 'cam/camera_info', infos.append, 10)
    for each in (node, ears):
        executor.add_node(each)
    assert node.trigger_configure().name == node.trigger_activate().name == 'SUCCESS'
    end = time.monotonic() + 20.0
    while len(images) < 6 and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    executor.shutdown()
    for each in (node, ears):
        each.destroy_node()
    rclpy.shutdown()
    stamps = [msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9 for msg in images]
    np.testing.assert_allclose(np.diff(stamps[1:]), 0.1, atol=1e-6)
    assert decompress(bytes(images[-1].data)).shape == (48, 64, 3)
    assert (infos[0].width, infos[0].height, infos[0].k[2]) == (64, 48, 32.0)
