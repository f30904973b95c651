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

"""Encoders and images for tests."""

import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto

THUMBNAIL = 'package://spaars_ros/vision/encoders/thumbnail.onnx'


def graph_file(path, nodes, *, shape=(1, 3, 8, 8), out=(1, 3), kind=TensorProto.FLOAT, **weights):
    """Write an ONNX file with input `image` and output `features`; return its path."""
    graph = helper.make_graph(
        [helper.make_node(name, *rest, **more) for name, *rest, more in nodes], 'encoder',
        [helper.make_tensor_value_info('image', kind, shape)],
        [helper.make_tensor_value_info('features', TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.asarray(values, np.float32), name)
         for name, values in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def mean_encoder(path, **more):
    """Write an encoder whose features are the means of red, green and blue; return its path."""
    return graph_file(path, [('GlobalAveragePool', ['image'], ['pooled'], {}),
                             ('Flatten', ['pooled'], ['features'], {})], **more)


def nan_encoder(path):
    """Write an encoder whose features are not finite for bright images; return its path."""
    return graph_file(path, [
        ('GlobalAveragePool', ['image'], ['pooled'], {}), ('Flatten', ['pooled'], ['flat'], {}),
        ('Sub', ['half', 'flat'], ['left'], {}), ('Log', ['left'], ['features'], {})],
        half=[0.5])


def noise(height=60, width=80, seed=0, low=0, high=255):
    """Return an image (height, width, 3) of uniform noise."""
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


def load(path):
    """Return the ONNX model of a file."""
    return onnx.load(path)
