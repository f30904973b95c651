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

"""Network of `spaars encoder train`: three convolutions and a spatial softmax."""

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper
from onnx import TensorProto
import torch
from torch import nn
from torch import Tensor

WIDTHS = (16, 32)
"""Channels of the two convolutions before the maps of the points."""
SHARPNESS = 4.0
"""Initial factor on the maps before their softmax."""
FLAT = 1e-6
"""Added to the variance of a map, against division by zero."""
OPSET, IR = 17, 8
AGREES = 1e-3
"""Maximum difference between exported graph and network."""


class ExportError(RuntimeError):
    """The outputs of the exported graph differ from those of the network."""


class PointNet(nn.Module):
    """
    Map images (B, 3, h, w) of [0, 1] to points (B, K, 2) in [-1, 1], x to the right, y down.

    Each point is the mean position under a softmax of its map (spatial softmax), as in Levine et
    al. 2016, End-to-end training of deep visuomotor policies, and Finn et al. 2016, Deep spatial
    autoencoders.

    :param size: edge of the images, pixels
    :param points: K
    """

    def __init__(self, size: int, points: int) -> None:
        super().__init__()
        self.size, self.points = size, points
        self.grid: Tensor
        first, second = WIDTHS
        self.first = nn.Conv2d(3, first, 5, stride=2, padding=2)
        self.second = nn.Conv2d(first, second, 3, padding=1)
        self.maps = nn.Conv2d(second, points, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        edge = (size + 1) // 2
        line = torch.linspace(-1.0, 1.0, edge)
        y, x = torch.meshgrid(line, line, indexing='ij')
        self.register_buffer('grid', torch.stack((x.reshape(-1), y.reshape(-1)), dim=-1))

    def forward(self, images: Tensor) -> Tensor:
        """Return points (B, K, 2) of images (B, 3, h, w)."""
        maps = self.maps(torch.relu(self.second(torch.relu(self.first(images))))).flatten(2)
        # Standardise: for maps of other scales the softmax would be flat, or a single pixel.
        maps = maps - maps.mean(-1, keepdim=True)
        maps = maps / (maps.square().mean(-1, keepdim=True) + FLAT).sqrt()
        shares = torch.softmax(self.sharpness * maps, dim=-1)
        return shares @ self.grid

    def to_onnx(self) -> bytes:
        """
        Return the ONNX graph from one image (1, 3, h, w) to its features (1, 2 K).

        :raises ExportError: its outputs differ from those of the network
        """
        weights = {name: value.detach().cpu().numpy().astype(np.float32)
                   for name, value in (*self.named_parameters(), *self.named_buffers())}
        weights['sharpness'] = weights['sharpness'].reshape(1)
        tensors = [numpy_helper.from_array(np.ascontiguousarray(value), name)
                   for name, value in weights.items()]
        tensors += [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in (
            ('flat', (1, self.points, -1)), ('row', (1, -1)))]
        tensors.append(numpy_helper.from_array(np.array([FLAT], np.float32), 'least'))
        nodes, last = [], 'image'
        for name, stride, padding in (('first', 2, 2), ('second', 1, 1), ('maps', 1, 1)):
            nodes.append(helper.make_node(
                'Conv', [last, f'{name}.weight', f'{name}.bias'], [f'{name}_out'],
                strides=[stride] * 2, pads=[padding] * 4))
            last = f'{name}_out'
            if name != 'maps':
                nodes.append(helper.make_node('Relu', [last], [f'{name}_relu']))
                last = f'{name}_relu'
        nodes += [helper.make_node('Reshape', [last, 'flat'], ['maps_flat']),
                  helper.make_node('ReduceMean', ['maps_flat'], ['mean'], axes=[-1]),
                  helper.make_node('Sub', ['maps_flat', 'mean'], ['about']),
                  helper.make_node('Mul', ['about', 'about'], ['square']),
                  helper.make_node('ReduceMean', ['square'], ['variance'], axes=[-1]),
                  helper.make_node('Add', ['variance', 'least'], ['varies']),
                  helper.make_node('Sqrt', ['varies'], ['spread']),
                  helper.make_node('Div', ['about', 'spread'], ['scaled']),
                  helper.make_node('Mul', ['scaled', 'sharpness'], ['sharp']),
                  helper.make_node('Softmax', ['sharp'], ['shares'], axis=-1),
                  helper.make_node('MatMul', ['shares', 'grid'], ['points']),
                  helper.make_node('Reshape', ['points', 'row'], ['features'])]
        graph = helper.make_graph(
            nodes, 'points',
            [helper.make_tensor_value_info('image', TensorProto.FLOAT,
                                           [1, 3, self.size, self.size])],
            [helper.make_tensor_value_info('features', TensorProto.FLOAT, [1, 2 * self.points])],
            tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)],
                                  ir_version=IR, producer_name='spaars_ros')
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        self._check(data)
        return data

    def _check(self, data: bytes) -> None:
        import onnxruntime
        session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
        image = np.random.default_rng(0).random((1, 3, self.size, self.size), np.float32)
        (found,) = session.run(None, {'image': image})
        with torch.no_grad():
            wanted = self(torch.from_numpy(image)).flatten(1).numpy()
        off = float(np.abs(found - wanted).max())
        if not off < AGREES:
            raise ExportError(f'the exported encoder differs by {off:.3g}: report this')


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Convert images (B, h, w, 3), 0 to 255, to inputs of the network (B, 3, h, w), 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0
