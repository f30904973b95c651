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

"""`spaars encoder`: learned from frames alone, exported, the same for the same seed."""

import json

from eyes import mean_encoder
import numpy as np
import pytest
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.learning.encoder.frames import load_frames
from spaars_ros.learning.encoder.network import as_tensor
from spaars_ros.learning.encoder.train import shift_images
from spaars_ros.learning.encoder.train import train
from spaars_ros.learning.encoder.train import TrainingError
from spaars_ros.robot.sources import Source
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.frames import FrameWriter

EDGE = 36


def scene(x, y):
    """Return an image with a red square at a place in [0, 1]."""
    image = np.full((EDGE, EDGE, 3), (90, 110, 100), np.uint8)
    image[:6] = 40
    left, top = round(2 + x * 26), round(2 + y * 26)
    image[top:top + 7, left:left + 7] = (220, 40, 40)
    return image


def film(count=240, seed=0):
    """Return images and the places (N, 2) of a square that wanders."""
    rng = np.random.default_rng(seed)
    places = 0.5 + 0.45 * np.sin(np.arange(count)[:, None] * (0.11, 0.07) + rng.uniform(0, 6, 2))
    return np.stack([scene(*place) for place in places]), places


def follows(count):
    return np.arange(count) > 0


@pytest.mark.parametrize('method, updates', [('reconstruction', 60), ('contrastive', 80)])
def test_what_is_learned_from_frames_tells_where_a_thing_is(method, updates, tmp_path):
    """From frames of another film, by a linear map: the encoder was never told of places."""
    images, _ = film()
    result = train(images, follows(len(images)), points=4, method=method, updates=updates)
    path = tmp_path / 'eye.onnx'
    path.write_bytes(result.network.to_onnx())
    encoder = Encoder(Source(name='eye', type='Image', camera={'encoder': str(path)}))
    others, places = film(seed=5)
    features = np.stack([encoder.encode(image) for image in others])
    given = np.c_[features, np.ones(len(features))]
    fit, *_ = np.linalg.lstsq(given[::2], places[::2], rcond=None)
    error = np.abs(given[1::2] @ fit - places[1::2]).mean(axis=0)
    assert (error < 0.3 * places.std(axis=0)).all(), (error, places.std(axis=0))


def test_the_same_seed_gives_the_same_encoder_and_another_seed_another():
    images, _ = film(80)
    made = [train(images, follows(80), points=2, updates=4, seed=seed).network.to_onnx()
            for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_frames_that_teach_nothing_are_refused():
    with pytest.raises(TrainingError, match='20 frames: at least'):
        train(film(20)[0], follows(20))
    with pytest.raises(TrainingError, match='all the same'):
        train(np.repeat(scene(0.5, 0.5)[None], 90, axis=0), follows(90))
    with pytest.raises(TrainingError, match='--method magic'):
        train(film(90)[0], follows(90), method='magic')


def test_a_shift_moves_the_image_by_whole_pixels():
    image = as_tensor(scene(0.5, 0.5)[None])
    moved = shift_images(image, np.array([[3, -2]]))
    np.testing.assert_array_equal(moved[0, :, 8:20, 13:28], image[0, :, 10:22, 10:25])


def test_frames_follow_each_other_within_a_camera_and_a_run_alone(tmp_path):
    for name in ('one', 'two'):
        writer = FrameWriter(tmp_path / name, 10**8, wait=True)
        for tick in range(5):
            # A run that begins again after a pause.
            writer.put('cam', 10**9 + tick * 50_000_000 + (tick > 2) * 10**9, scene(0.1, 0.2))
        writer.close()
    images, follow = load_frames([tmp_path / 'one', tmp_path / 'two'], topic='', size=32,
                                 crop=(0, 0, 1, 1), most=1000)
    assert images.shape == (10, 32, 32, 3)
    assert follow.tolist() == [False, True, True, False, True] * 2
    fewer, _ = load_frames([tmp_path / 'one'], topic='', size=32, crop=(0, 0, 1, 1), most=2)
    assert len(fewer) == 2


def invoke(*words):
    return CliRunner().invoke(app, ['encoder', *map(str, words)])


def test_the_command_writes_an_encoder_and_says_what_to_write_into_the_task_file(tmp_path):
    writer = FrameWriter(tmp_path / 'run', 10**8, wait=True)
    for tick, image in enumerate(film(120)[0]):
        writer.put('cam', 10**9 + tick * 50_000_000, image)
    writer.close()
    out = tmp_path / 'eye.onnx'
    done = invoke('train', tmp_path / 'run', '--out', out, '--points', 3, '--size', 36,
                  '--updates', 20, '--crop', '0,0,1,0.9', '--json', tmp_path / 'r.json')
    assert done.exit_code == 0, done.output
    assert f'camera: {{encoder: {out}, crop: [0,0,1,0.9]}}' in done.output
    result = json.loads((tmp_path / 'r.json').read_text())
    assert result['features'] == 6 and result['frames'] == 120
    shown = invoke('show', out)
    assert result['digest'] in shown.output and '36x36 pixels' in shown.output


@pytest.mark.parametrize('words, said', [
    (('train', 'none', '--out', 'x.onnx'), 'no such file or folder'),
    (('train', '.', '--out', 'x.onnx', '--crop', '0,0,0,1'), '--crop 0,0,0,1'),
    (('show', 'none.onnx'), 'no such file')])
def test_a_wrong_word_is_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*words)
    assert done.exit_code == 1 and said in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_an_encoder_of_others_is_shown(tmp_path):
    shown = invoke('show', mean_encoder(tmp_path / 'mean.onnx'))
    assert 'output   3 values' in shown.output and 'runs     yes' in shown.output
