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

"""Success classifier of images: an encoder with a classifier of its vectors, as one ONNX file."""

from collections.abc import Mapping
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto

from spaars_ros.learning.judge import Classifier
from spaars_ros.learning.judge import head_of
from spaars_ros.vision.encoder_file import EncoderError
from spaars_ros.vision.encoder_file import EncoderFile
from spaars_ros.vision.encoder_file import TRAINED_WITH
from spaars_ros.vision.images import decompress
from spaars_ros.vision.images import jpeg_of
from spaars_ros.vision.images import Pixels

LIGHT, NOISE, QUALITY = 0.06, 4.0, (60, 95)
"""Largest share by which light varies, of 255 the largest noise, range of JPEG quality."""
OLDEST = 11
"""Opset from which on Clip and Gemm mean what `head_of` writes."""


def disturbed(image: Pixels, rng: np.random.Generator) -> Pixels:
    """
    Return an image (h, w, 3) in slightly other light, with noise, compressed again.

    A classifier that learns from such images, too, holds for those of the camera, which differ
    from the kept frames by their compression.
    """
    light, noise = rng.uniform(1 - LIGHT, 1 + LIGHT), rng.uniform(0.0, NOISE)
    changed = light * image + noise * rng.standard_normal(image.shape)
    return decompress(jpeg_of(np.clip(changed, 0, 255).astype(np.uint8),
                              int(rng.integers(*QUALITY))))


def image_judge(encoder: EncoderFile, model: Classifier, camera: Mapping[str, str]) -> bytes:
    """
    Return an ONNX file from an image to the success probability [1, 1].

    It takes the images that the encoder takes, so it is used as an encoder of one value. It holds
    the encoder itself and works with no other.

    :param encoder: the encoder on whose vectors the classifier was trained
    :param model: the classifier, of as many values
    :param camera: setting of the camera -> its text (`vision.encoder_file.made_by`), with which
        the file is refused in other settings
    :raises EncoderError: the encoder's opset is too old
    :raises OSError: its file cannot be read
    """
    made = onnx.load_from_string(Path(encoder.path).read_bytes())
    opset = max((each.version for each in made.opset_import if each.domain in ('', 'ai.onnx')),
                default=OLDEST)
    if opset < OLDEST:
        raise EncoderError(f'encoder {encoder.path}: opset {opset}, a judge behind it needs '
                           f'{OLDEST} at least: export it again')
    graph = made.graph
    prefix = 'judge_'
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    while any(name.startswith(prefix) for name in taken):
        prefix += '_'
    shape, flat, vector = prefix + 'shape', prefix + 'flat', prefix + 'vector'
    graph.node.extend([
        helper.make_node('Reshape', [encoder.output, shape], [flat]),
        helper.make_node('Cast', [flat], [vector], to=TensorProto.FLOAT)])
    graph.initializer.append(numpy_helper.from_array(
        np.array([1, encoder.features], np.int64), shape))
    nodes, weights, success = head_of(model, vector, prefix)
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(success, TensorProto.FLOAT, [1, 1]))
    kept = {each.key: each.value for each in made.metadata_props}
    settings = {place: text for place, text in camera.items() if place != 'encoder'}
    helper.set_model_props(made, {**kept, TRAINED_WITH: json.dumps(settings, sort_keys=True),
                                  'spaars_ros.encoder': encoder.digest})
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())
