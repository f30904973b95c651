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

"""Images in bags of rosbag2: through the task's encoder into demonstrations."""

from collections.abc import Callable
from pathlib import Path
import re
from typing import Any

from eyes import mean_encoder
from eyes import THUMBNAIL
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from test_bag_import import ANYWHERE
from test_bag_import import imported
from test_bag_import import message
from test_bag_import import START
from test_bag_import import STORE
from test_bag_import import Tape
from test_encoder import task_file
from typer.testing import CliRunner
import yaml

from spaars_ros.cli import app
from spaars_ros.data.bags import BagError
from spaars_ros.data.dataset import load_dataset
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.sources.features import features_message
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.cameras import Cameras
from spaars_ros.sim.cameras import place
from spaars_ros.tasks.protocols import scene_of
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.images import jpeg_of
from spaars_ros.vision.images import Pixels

pytestmark = pytest.mark.timeout(120)
ROBOT = load_robot()
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
LATENCY, PERIOD = 60_000_000, 50_000_000
"""ns from an image's stamp to its arrival, and between two images."""


def seeing(folder: Path, encoder: str = THUMBNAIL, **camera: Any) -> Any:
    """Return the task that reaches and sees, with goals anywhere."""
    name = task_file(folder, encoder, **{'size': [64, 64], **camera})
    return make_task(ROBOT, load_task(name).model_copy(update=ANYWHERE))


def image_message(stamp: int, image: Pixels, encoding: str = 'rgb8') -> Any:
    height, width = image.shape[:2]
    return message(IMAGE, stamp, 'lens', height=height, width=width, encoding=encoding,
                   is_bigendian=0, step=3 * width, data=image.reshape(-1).copy())


def compressed_message(stamp: int, image: Pixels) -> Any:
    return message(COMPRESSED, stamp, 'lens', format='jpeg',
                   data=np.frombuffer(jpeg_of(image, 95), np.uint8).copy())


class Film:
    """The images that a camera saw while the arm was led."""

    def __init__(self, folder: Path) -> None:
        tape, task = Tape(), seeing(folder)
        arm = Arm(ROBOT, scene_of(task))
        cameras = Cameras(arm.model, cameras_of(task))
        self.images: list[tuple[int, Pixels]] = []
        """Stamp, image."""
        for time, topic, _, msg in tape.events:
            if topic == '/joint_states' and (time - START) % PERIOD == 0:
                arm.data.qpos[:] = msg.position
                place(arm.model, arm.data)
                self.images.append((time, cameras.image('eye', arm.data)))
        cameras.close()

    def bag(self, path: Path, write: Callable[[Tape, int, Pixels], None],
            storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
        """Write a bag of states, with what `write` adds for each stamp and image."""
        tape = Tape()
        for stamp, image in self.images:
            write(tape, stamp, image)
        return tape.write(path, storage)


@pytest.fixture(scope='module')
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(tmp_path_factory.mktemp('film'))


def raw(tape: Tape, stamp: int, image: Pixels) -> None:
    tape.add(stamp + LATENCY, '/cam', IMAGE, image_message(stamp, image))


@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_images_become_the_values_that_the_task_observes(film: Film, tmp_path: Path,
                                                         storage: StoragePlugin) -> None:
    """Of the newest image that had arrived, as in a run."""
    task = seeing(tmp_path)
    made = imported(film.bag(tmp_path / 'bag', raw, storage), ROBOT, task)
    data, encoder = made.dataset, Encoder(cameras_of(task)[0])
    assert data.episodes == 2 and not made.notes
    eye = data.observations[:, task.spec.slices['eye']]
    position = data.observations[:, task.spec.slices['position']]
    vectors = np.stack([encoder.encode(image) for _, image in film.images])
    found = [int(np.abs(vectors - values).sum(axis=1).argmin()) for values in eye]
    assert np.abs(vectors[found] - eye).max() < 1e-6
    assert np.ptp(eye, axis=0).max() > 0.05, 'the arm is seen to move'
    # The image of a tick's own stamp has not arrived, nor the one before it.
    shown = positions_of(film)
    lag = [int(np.abs(shown - values).sum(axis=1).argmin()) for values in position]
    alike = np.array([(np.abs(vectors - vectors[i]).sum(axis=1) < 1e-3).sum() for i in found])
    late = (np.asarray(lag) - np.asarray(found))[alike == 1]
    assert len(late) > 50 and set(late.tolist()) == {2}


def positions_of(film: Film) -> Any:
    """Return the joint positions (n, 7) at the stamps of a film, rad."""
    stamps = {stamp for stamp, _ in film.images}
    return np.stack([msg.position for time, topic, _, msg in Tape().events
                     if topic == '/joint_states' and time in stamps])


def test_compressed_images_beside_the_topic_are_taken_at_the_rate_of_the_camera(
        film: Film, tmp_path: Path) -> None:
    task = seeing(tmp_path, rate=10)
    made = imported(film.bag(tmp_path / 'bag', lambda tape, stamp, image: tape.add(
        stamp + LATENCY, '/left/cam/compressed', COMPRESSED, compressed_message(stamp, image))),
        ROBOT, task)
    assert made.dataset.episodes == 2 and not made.notes
    eye = made.dataset.observations[made.dataset.episode == 0][:, task.spec.slices['eye']]
    changes = np.abs(np.diff(eye, axis=0)).max(axis=1) > 1e-9
    assert 0.3 < changes.mean() < 0.6, 'every second image'
    encoder = Encoder(cameras_of(task)[0])
    vectors = np.stack([encoder.encode(image) for _, image in film.images])
    assert max(np.abs(vectors - values).max(axis=1).min() for values in eye) < 0.02


def test_the_command_imports_a_bag_that_sees(film: Film, tmp_path: Path) -> None:
    out, task = tmp_path / 'mine.h5', tmp_path / 'anywhere.yaml'
    content = yaml.safe_load(Path(task_file(tmp_path, size=[64, 64])).read_text())
    task.write_text(yaml.safe_dump({**content, **{
        name: list(value) for name, value in ANYWHERE.items()}}))
    done = CliRunner().invoke(app, ['import', str(film.bag(tmp_path / 'bag', raw)), '--out',
                                    str(out), '--task', str(task)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    made = make_task(ROBOT, load_task(str(task)))
    assert load_dataset(out, ROBOT, made).episodes == 2
    other = make_task(ROBOT, load_task(task_file(
        tmp_path, mean_encoder(tmp_path / 'mean.onnx'), 'other.yaml', size=[64, 64])))
    with pytest.raises(ValueError, match='term .eye.'):
        load_dataset(out, ROBOT, other)


def wrong_size(stamp: int, image: Pixels) -> Any:
    return image_message(stamp, image[:32])


def grey(stamp: int, image: Pixels) -> Any:
    return image_message(stamp, np.full_like(image, 90))


def bayer(stamp: int, image: Pixels) -> Any:
    return image_message(stamp, image, 'bayer_rggb8')


def cut_off(stamp: int, image: Pixels) -> Any:
    made = image_message(stamp, image)
    made.data = made.data[:100]
    return made


BETWEEN = (2_200_000_000, 2_320_000_000)
"""ns after the start, while the arm moves."""


@pytest.mark.parametrize('make, said', [
    (wrong_size, 'WRONG_SIZE: 64x32 pixels, expected 64x64'), (grey, 'BLANK: .*shows nothing'),
    (bayer, "UNKNOWN_ENCODING: 'bayer_rggb8'"), (cut_off, 'WRONG_SIZE: 100 bytes')])
def test_an_image_that_cannot_be_used_is_named_with_topic_and_time_and_passed_over(
        film: Film, tmp_path: Path, make: Callable[[int, Pixels], Any], said: str) -> None:
    def write(tape: Tape, stamp: int, image: Pixels) -> None:
        bad = BETWEEN[0] <= stamp - START < BETWEEN[1]
        tape.add(stamp + LATENCY, '/cam', IMAGE,
                 make(stamp, image) if bad else image_message(stamp, image))
    made = imported(film.bag(tmp_path / 'bag', write), ROBOT, seeing(tmp_path))
    assert made.dataset.episodes == 2
    assert len(made.notes) == 3 and made.notes[0].startswith('/cam: 2.260 s into the bag: ')
    assert all(re.search(said, note) for note in made.notes), made.notes


def test_a_broken_jpeg_is_named(film: Film, tmp_path: Path) -> None:
    def write(tape: Tape, stamp: int, image: Pixels) -> None:
        made = compressed_message(stamp, image)
        if stamp - START == 2_000_000_000:
            made.data = made.data[:40]
        tape.add(stamp + LATENCY, '/cam/compressed', COMPRESSED, made)
    made = imported(film.bag(tmp_path / 'bag', write), ROBOT, seeing(tmp_path))
    note, = made.notes
    assert note == '/cam/compressed: 2.060 s into the bag: UNREADABLE: neither JPEG nor PNG: ' \
        + note.rpartition(' ')[2]


def test_where_the_camera_was_silent_the_episode_is_cut_and_the_rest_has_no_outcome(
        film: Film, tmp_path: Path) -> None:
    """A step over the gap would be an action of a second in one tick."""
    tape = Tape()
    for stamp, image in film.images:
        if not 2_200_000_000 <= stamp - START < 2_900_000_000:
            raw(tape, stamp, image)
    made = imported(tape.write(tmp_path / 'bag'), ROBOT, seeing(tmp_path), cut_by='/said')
    assert list(made.dataset.attributes['outcomes']) == ['unlabelled', 'success', 'failure']
    assert made.dataset.terminations.sum() == 2 and made.dataset.truncations.sum() == 1
    note, = made.notes
    assert note.startswith('/cam: 0.') and 'without a sample' in note and 'is cut there' in note


def test_images_none_of_which_fit_say_why(film: Film, tmp_path: Path) -> None:
    path = film.bag(tmp_path / 'bag', raw)
    with pytest.raises(BagError, match=r'source eye: none of \d+ images can be used: /cam: '
                       r'0.060 s into the bag: WRONG_SIZE: 64x64 pixels, expected 640x480'):
        imported(path, ROBOT, seeing(tmp_path, size=[640, 480]))


def test_what_the_bag_lacks_or_has_in_another_type_is_named(film: Film, tmp_path: Path) -> None:
    task = seeing(tmp_path)
    with pytest.raises(BagError, match="source eye: no topic 'cam' in it; there are /command"):
        imported(Tape().write(tmp_path / 'blind'), ROBOT, task)
    path = film.bag(tmp_path / 'jpeg', lambda tape, stamp, image: tape.add(
        stamp, '/cam', COMPRESSED, compressed_message(stamp, image)))
    with pytest.raises(BagError, match='source eye: /cam is sensor_msgs/msg/CompressedImage, '
                       'declared is sensor_msgs/msg/Image: change `type`'):
        imported(path, ROBOT, task)
    with pytest.raises(ConfigError, match=r'encoder .*none.onnx.: no such file'):
        seeing(tmp_path, str(tmp_path / 'none.onnx'))


def vectors_of(task: Any) -> Callable[[Tape, int, Pixels], None]:
    """Return what adds the vectors that the encoder of a task publishes."""
    encoder = Encoder(cameras_of(task)[0])

    def write(tape: Tape, stamp: int, image: Pixels) -> None:
        live = features_message(encoder.encode(image), stamp, encoder.digest)
        types = STORE.types
        layout = types['std_msgs/msg/MultiArrayLayout'](data_offset=0, dim=[
            types['std_msgs/msg/MultiArrayDimension'](label=dim.label, size=dim.size, stride=0)
            for dim in live.layout.dim])
        tape.add(stamp + 10_000_000, '/cam/eye', 'std_msgs/msg/Float64MultiArray', message(
            'std_msgs/msg/Float64MultiArray', layout=layout, data=np.asarray(live.data)))
    return write


def test_vectors_are_taken_where_no_image_was_recorded_but_not_those_of_another_encoder(
        film: Film, tmp_path: Path) -> None:
    task = seeing(tmp_path)
    path = film.bag(tmp_path / 'bag', vectors_of(task))
    assert imported(path, ROBOT, task).dataset.episodes == 2
    other = seeing(tmp_path, str(mean_encoder(tmp_path / 'mean.onnx')))
    with pytest.raises(BagError, match='WRONG_ENCODER'):
        imported(path, ROBOT, other)


@pytest.mark.parametrize('offset, said', [(-3_200_000_000, '3.260 s behind'),
                                          (900_000_000, '0.840 s ahead of')])
def test_a_camera_on_another_clock_is_named(film: Film, tmp_path: Path, offset: int,
                                            said: str) -> None:
    path = film.bag(tmp_path / 'bag', lambda tape, stamp, image: tape.add(
        stamp + LATENCY, '/cam', IMAGE, image_message(stamp + offset, image)))
    with pytest.raises(BagError, match=f'clocks differ: /cam is stamped {said} /joint_states'):
        imported(path, ROBOT, seeing(tmp_path))
    assert imported(path, ROBOT, seeing(tmp_path), clock='log').dataset.episodes == 2


def test_a_camera_that_is_older_than_the_task_allows_makes_no_demonstration(
        film: Film, tmp_path: Path) -> None:
    path = film.bag(tmp_path / 'bag', lambda tape, stamp, image: tape.add(
        stamp + 190_000_000, '/cam', IMAGE, image_message(stamp, image)))
    task = seeing(tmp_path)
    short = make_task(ROBOT, task.settings.model_copy(update={'sources': [
        one.model_copy(update={'max_age': 0.1}) for one in task.settings.sources]}))
    assert imported(path, ROBOT, task).dataset.episodes == 2
    with pytest.raises(BagError, match='clocks differ: /cam is stamped 0.190 s behind'):
        imported(path, ROBOT, short)


def test_a_source_of_success_is_not_asked_of_a_bag(film: Film, tmp_path: Path) -> None:
    """Bags are older than the judge."""
    name = Path(task_file(tmp_path, size=[64, 64]))
    content = yaml.safe_load(name.read_text())
    content['sources'].append({'name': 'judge', 'topic': 'judge/success', 'type': 'Float32'})
    name.write_text(yaml.safe_dump({**content, 'success': {'source': 'judge'}}))
    task = make_task(ROBOT, load_task(str(name)).model_copy(update=ANYWHERE))
    assert 'judge' in task.sources
    assert imported(film.bag(tmp_path / 'bag', raw), ROBOT, task).dataset.episodes == 2


def test_images_out_of_order_are_named_and_not_used(film: Film, tmp_path: Path) -> None:
    def write(tape: Tape, stamp: int, image: Pixels) -> None:
        back = 300_000_000 if stamp - START == 2_000_000_000 else 0
        tape.add(stamp + LATENCY, '/cam', IMAGE, image_message(stamp - back, image))
    made = imported(film.bag(tmp_path / 'bag', write), ROBOT, seeing(tmp_path))
    assert made.dataset.episodes == 2
    assert made.notes == ['/cam: 2.060 s into the bag: an image that is older than the one before']
