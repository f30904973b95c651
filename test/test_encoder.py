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

"""Encoders without nodes: files, images, what is refused, and what a bundle keeps of them."""

import json
import shutil

from eyes import graph_file
from eyes import mean_encoder
from eyes import nan_encoder
from eyes import noise
from eyes import THUMBNAIL
import numpy as np
import onnx
from PIL import Image
from pydantic import ValidationError
import pytest
import yaml

from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.sources import Source
from spaars_ros.ros.sources.features import features_message
from spaars_ros.ros.sources.kind import SourceError
from spaars_ros.ros.sources.row import RowMaker
from spaars_ros.run.access_policy import policy_of
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import RunSettings
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.encoder_file import digest_of
from spaars_ros.vision.encoder_file import EncoderError
from spaars_ros.vision.encoder_file import read_encoder
from spaars_ros.vision.images import decompress
from spaars_ros.vision.images import fit_image
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import jpeg_of
from spaars_ros.vision.images import pixels_of


def source(encoder=THUMBNAIL, **camera):
    return Source(name='eye', topic='cam', type='Image',
                  camera={'encoder': str(encoder), **camera})


def task_file(folder, encoder=THUMBNAIL, name='task.yaml', **camera):
    """Write a task file that sees; return its name."""
    path = folder / name
    path.write_text(yaml.safe_dump({'task': 'seen_task:SeenReach', 'sources': [
        {'name': 'eye', 'topic': 'cam', 'type': 'Image',
         'camera': {'encoder': str(encoder), **camera}}]}))
    return str(path)


@pytest.mark.parametrize('encoding, order', [('rgb8', 'RGB'), ('bgr8', 'BGR'), ('rgba8', 'RGBA'),
                                             ('bgra8', 'BGRA'), ('8UC3', 'BGR')])
def test_every_order_of_colours_becomes_red_green_blue(encoding, order):
    wanted = noise()
    channels = [255 * np.ones_like(wanted[..., 0]) if c == 'A' else wanted[..., 'RGB'.index(c)]
                for c in order]
    rows = np.stack(channels, axis=-1).reshape(60, -1)
    padded = np.pad(rows, ((0, 0), (0, 7)))
    found = pixels_of(encoding, 80, 60, padded.shape[1], padded.tobytes())
    np.testing.assert_array_equal(found, wanted)


def test_grey_is_all_three_colours():
    grey = noise()[..., 0]
    found = pixels_of('mono8', 80, 60, 80, grey.tobytes())
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize('arguments, code', [
    (('bayer_rggb8', 4, 4, 4, bytes(16)), 'UNKNOWN_ENCODING'),
    (('rgb8', 4, 4, 12, bytes(47)), 'WRONG_SIZE'), (('rgb8', 0, 4, 0, b''), 'WRONG_SIZE'),
    (('rgb8', 2**16, 2**16, 0, b''), 'WRONG_SIZE'), (('rgb8', 4, 4, 8, bytes(32)), 'WRONG_SIZE')])
def test_a_malformed_image_is_named(arguments, code):
    with pytest.raises(ImageError) as error:
        pixels_of(*arguments)
    assert error.value.code == code


def test_jpeg_and_png_are_read_and_other_bytes_named():
    image = fit_image(noise(8, 8), (0, 0, 1, 1), (80, 80))
    assert np.abs(decompress(jpeg_of(image, 95)).astype(int) - image).mean() < 6
    for data in (b'', b'GIF89a', jpeg_of(image)[:200]):
        with pytest.raises(ImageError) as error:
            decompress(data)
        assert error.value.code == 'UNREADABLE'


def test_a_bomb_of_pixels_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / 'bomb.png'
    Image.new('1', (30_000, 30_000)).save(path)
    with pytest.raises(ImageError):
        decompress(path.read_bytes())


def test_an_encoder_sees_the_crop_alone(tmp_path):
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = (255, 0, 51)
    file = mean_encoder(tmp_path / 'mean.onnx')
    right = Encoder(source(file, crop=(0.5, 0, 1, 1), contrast=0)).encode(image)
    np.testing.assert_allclose(right, (1.0, 0.0, 0.2), atol=1e-6)
    whole = Encoder(source(file)).encode(np.repeat(image[:, ::-1], 1, axis=1))
    np.testing.assert_allclose(whole, (0.5, 0.0, 0.1), atol=0.01)


def test_mean_and_deviation_scale_the_image(tmp_path):
    file = mean_encoder(tmp_path / 'mean.onnx')
    image = np.full((8, 8, 3), 51, np.uint8)
    found = Encoder(source(file, contrast=0, mean=(0.1, 0.2, 0.0), std=(0.5, 1, 2))).encode(image)
    np.testing.assert_allclose(found, (0.2, 0.0, 0.1), atol=1e-6)


def test_bytes_go_to_an_encoder_that_takes_bytes_with_the_colours_last(tmp_path):
    file = graph_file(tmp_path / 'bytes.onnx', [
        ('Cast', ['image'], ['x'], {'to': onnx.TensorProto.FLOAT}),
        ('ReduceMean', ['x'], ['features'], {'axes': [1, 2], 'keepdims': 0})],
        shape=(1, 8, 8, 3), kind=onnx.TensorProto.UINT8)
    image = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    np.testing.assert_allclose(Encoder(source(file, contrast=0)).encode(image), (10, 20, 30))


def test_an_open_size_has_to_be_said(tmp_path):
    file = mean_encoder(tmp_path / 'open.onnx', shape=(1, 3, 'height', 'width'))
    with pytest.raises(EncoderError, match=r'camera.input: \[width, height\]'):
        Encoder(source(file))
    assert Encoder(source(file, input=(32, 24))).size == (32, 24)


def test_a_size_that_contradicts_the_file_is_refused():
    with pytest.raises(EncoderError, match=r'camera.input is \[32, 32\], .* takes \[64, 64\]'):
        Encoder(source(input=(32, 32)))


def test_what_is_no_encoder_is_refused_in_one_line(tmp_path):
    text = tmp_path / 'text.onnx'
    text.write_text('weights: none\n')
    flat = graph_file(tmp_path / 'flat.onnx', [('Identity', ['image'], ['features'], {})],
                      shape=(1, 3), out=(1, 3))
    wide = graph_file(tmp_path / 'wide.onnx', [('Flatten', ['image'], ['features'], {})],
                      shape=(1, 3, 96, 96), out=(1, 27648))
    many = mean_encoder(tmp_path / 'many.onnx', shape=(4, 3, 8, 8), out=(4, 3))
    loose = mean_encoder(tmp_path / 'loose.onnx', out=(1, 'n'))
    double = mean_encoder(tmp_path / 'double.onnx', kind=onnx.TensorProto.DOUBLE)
    for path, words in ((tmp_path / 'none.onnx', 'no such file'), (tmp_path, 'no such file'),
                        (text, 'no ONNX file'), (flat, 'input image is .1, 3., expected one'),
                        (wide, '27648 values, at most 10000'), (many, 'input image is .4'),
                        (loose, 'expected one vector'), (double, 'of type DOUBLE')):
        with pytest.raises(EncoderError, match=words) as error:
            read_encoder(str(path))
        assert '\n' not in str(error.value)


def test_a_vector_of_another_width_than_the_file_says_is_refused(tmp_path):
    file = mean_encoder(tmp_path / 'lies.onnx', out=(1, 4))
    with pytest.raises(EncoderError, match='encoder .*lies.onnx') as error:
        Encoder(source(file))
    assert '\n' not in str(error.value)


def test_blank_images_and_changes_of_size_and_nan_are_named(tmp_path):
    encoder = Encoder(source(nan_encoder(tmp_path / 'nan.onnx')))
    assert np.isfinite(encoder.encode(noise(high=100))).all()
    for image, code in ((np.zeros((60, 80, 3), np.uint8), 'BLANK'),
                        (noise(low=200), 'NOT_FINITE'), (noise(64, 64), 'WRONG_SIZE')):
        with pytest.raises(ImageError) as error:
            encoder.encode(image)
        assert error.value.code == code
    with pytest.raises(ImageError, match='60x80 pixels, expected 64x64'):
        Encoder(source(size=(64, 64))).encode(noise(80, 60))


def test_only_what_the_encoder_and_its_settings_are_decides_the_digest(tmp_path):
    one, other = mean_encoder(tmp_path / 'a.onnx'), tmp_path / 'b.onnx'
    shutil.copy(one, other)
    assert digest_of(source(one)) == digest_of(source(other, rate=5, size=(640, 480)))
    for changed in (source(one, crop=(0, 0, 0.5, 1)), source(one, mean=(0.5, 0.5, 0.5)),
                    source(mean_encoder(tmp_path / 'c.onnx', shape=(1, 3, 16, 16)))):
        assert digest_of(changed) != digest_of(source(one))


@pytest.mark.parametrize('entry, words', [
    ({'type': 'Image'}, 'camera: .* an image needs it'),
    ({'type': 'Bool', 'camera': {'encoder': 'x'}}, 'nothing else takes it'),
    ({'type': 'Image', 'camera': {'encoder': 'x'}, 'frame': 'base'}, 'frame'),
    ({'type': 'Image', 'camera': {'encoder': 'x', 'crop': [0.5, 0, 0.5, 1]}}, 'left'),
    ({'type': 'Image', 'camera': {'encoder': 'x', 'std': [1, 0, 1]}}, 'divided by 0')])
def test_a_camera_that_makes_no_sense_is_refused_by_field(entry, words):
    with pytest.raises(ValidationError, match=words):
        Source(name='eye', **entry)


def test_an_encoder_lies_beside_the_file_that_names_it(tmp_path, monkeypatch):
    mean_encoder(tmp_path / 'mean.onnx')
    name = task_file(tmp_path, 'mean.onnx')
    monkeypatch.chdir('/')
    task = make_task(load_robot(), load_task(name))
    assert task.spec.widths['eye'] == 3
    assert task.settings.sources[0].camera.encoder == str(tmp_path / 'mean.onnx')


def test_a_task_without_its_camera_is_refused_by_name(tmp_path):
    path = tmp_path / 'task.yaml'
    path.write_text('task: seen_task:SeenReach\n')
    with pytest.raises(ConfigError, match="needs the source 'eye'"):
        make_task(load_robot(), load_task(str(path)))


def test_a_bundle_for_another_encoder_or_crop_is_refused_by_the_name_of_the_field(tmp_path):
    robot = load_robot()
    mean_encoder(tmp_path / 'mean.onnx')
    made = make_task(robot, load_task(task_file(tmp_path, 'mean.onnx')))
    bundle = untrained_bundle(robot, made, load_training())
    assert list(bundle.manifest.encoders) == ['eye']
    json.dumps(bundle.manifest.model_dump())

    def check(task):
        return check_bundle(bundle, robot, task=task.name, observation_dim=task.observation_dim,
                            spec=task.spec)
    assert check(made)
    mean_encoder(tmp_path / 'other.onnx', shape=(1, 3, 16, 16))
    for changed, field in ((task_file(tmp_path, 'mean.onnx', 'a.yaml', crop=[0, 0, 0.5, 1]),
                            'sources.eye.camera.crop was 0 0 1 1, here it is 0 0 0.5 1'),
                           (task_file(tmp_path, 'other.onnx', 'b.yaml'),
                            'sources.eye.camera.encoder was')):
        with pytest.raises(BundleError, match='wrong_terms: .*' + field):
            check(make_task(robot, load_task(changed)))


def test_the_server_takes_no_vector_of_another_encoder_and_names_what_an_image_was_refused_for():
    maker, digest = RowMaker(source()), digest_of(source())
    row = maker.row(features_message(np.ones(64), 123, digest), 0)
    assert row.stamp_ns == 123 and len(row.values) == 64
    for msg, code in ((features_message(np.ones(64), 1, 'f' * 64), 'WRONG_ENCODER'),
                      (features_message(np.ones(63), 1, digest), 'WRONG_SIZE'),
                      (features_message(np.full(64, np.nan), 1, digest), 'NOT_FINITE'),
                      (features_message(np.zeros(0), 1, digest, 'BLANK: dark\x1b'), 'BLANK'),
                      (features_message(np.ones(64), -1, digest), 'NO_STAMP')):
        with pytest.raises(SourceError) as error:
            maker.row(msg, 0)
        assert error.value.code == code and error.value.text.isprintable()


def test_the_graph_has_an_encoder_where_the_task_sees(tmp_path):
    names = [node.name for node in describe(RunSettings(task=task_file(tmp_path)))]
    assert names == ['sim', 'learner', 'encoder', 'cost_monitor', 'policy_server']
    assert 'encoder' not in [node.name for node in describe(RunSettings())]


def test_the_access_policy_gives_images_to_the_encoder_alone(tmp_path):
    text = policy_of(make_task(load_robot(), load_task(task_file(tmp_path))))
    server = text.split('node="policy_server"')[1].split('</profile>')[0]
    encoder = text.split('node="encoder"')[1].split('</profile>')[0]
    assert '<topic>cam/eye</topic>' in server and '<topic>cam</topic>' not in server
    assert encoder.count('<topic>cam</topic>') == encoder.count('<topic>cam/eye</topic>') == 1
