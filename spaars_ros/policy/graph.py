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


"""Allowed content of an untrusted ONNX graph, checked before ONNX Runtime reads it."""

from collections.abc import Iterator
import math

from onnx import AttributeProto
from onnx import GraphProto
from onnx import ModelProto
from onnx import TensorProto

OPERATORS = frozenset((
    'Abs', 'Add', 'ArgMax', 'Cast', 'Clip', 'Concat', 'Div', 'Elu', 'Equal', 'Erf', 'Exp',
    'Gather', 'Gemm', 'Greater', 'Identity',
    'LayerNormalization', 'LeakyRelu', 'Log', 'MatMul', 'Max', 'Min', 'Mul', 'Neg', 'Pow',
    'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceSum', 'Relu', 'Reshape', 'Sigmoid', 'Slice',
    'Softmax', 'Softplus', 'Split', 'Sqrt', 'Squeeze', 'Sub', 'Tanh', 'Transpose', 'Unsqueeze'))
"""Feed-forward arithmetic: no loops and branches, no files, no foreign code."""

MAX_NODES = 2000
MAX_STRUCTURE = 2**18
"""bytes without weights: empty entries of two bytes take a hundred once they are parsed."""
_SIZES = {TensorProto.FLOAT: 4, TensorProto.INT64: 8}
_ATTRIBUTES = frozenset((AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.FLOATS,
                         AttributeProto.INTS))


# Field numbers of onnx.proto
_MODEL_GRAPH, _GRAPH_WEIGHTS, _TENSOR_RAW = 7, 5, 9


class GraphError(ValueError):
    """A graph is not plain feed-forward arithmetic; the message names the violation."""


def check_graph(data: bytes) -> None:
    """
    Check that a graph is plain: known operators, all weights inside, true sizes.

    Weights in other files, subgraphs, functions and operators of other domains are rejected. ONNX
    Runtime bounds what the graph computes and how much memory it takes.

    :raises GraphError: the graph is anything else
    """
    _check_structure(memoryview(data))
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # noqa: BLE001 - protobuf's class differs with its version
        raise GraphError(f'not ONNX: {error}') from None
    if model.functions or model.training_info:
        raise GraphError('functions or training information')
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise GraphError(f'{len(graph.node)} nodes, at most {MAX_NODES}')
    _check_weights(graph)
    for node in graph.node:
        if node.op_type not in OPERATORS or node.domain not in ('', 'ai.onnx'):
            raise GraphError(f'operator {node.domain}:{node.op_type}')
        for attribute in node.attribute:
            if attribute.type not in _ATTRIBUTES or attribute.ref_attr_name:
                raise GraphError(f'attribute {attribute.name} of {node.op_type}')


def _check_weights(graph: GraphProto) -> None:
    if graph.sparse_initializer:
        raise GraphError('sparse weights')
    for tensor in graph.initializer:
        if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
            raise GraphError(f'weights {tensor.name} lie in another file')
        size = _SIZES.get(tensor.data_type)
        if size is None or min(tensor.dims, default=1) < 0 \
                or math.prod(tensor.dims) * size != len(tensor.raw_data):
            raise GraphError(f'weights {tensor.name}: type {tensor.data_type}, '
                             f'{list(tensor.dims)} in {len(tensor.raw_data)} bytes')


def _check_structure(data: memoryview) -> None:
    """Raise GraphError if all but the weights takes more than `MAX_STRUCTURE`."""
    size = 0
    for length in _structure(data):
        size += length
        if size > MAX_STRUCTURE:
            raise GraphError(f'more than {MAX_STRUCTURE} bytes besides the weights')


def _structure(data: memoryview) -> Iterator[int]:
    """Yield lengths that add up to the model's size without the raw data of its weights."""
    for number, part, length in _fields(data):
        if number != _MODEL_GRAPH:
            yield length
            continue
        for inner, value, inner_length in _fields(part):
            if inner != _GRAPH_WEIGHTS:
                yield inner_length
                continue
            yield inner_length - len(value)
            for name, raw, size in _fields(value):
                yield size - len(raw) if name == _TENSOR_RAW else size


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, int]]:
    """Yield number, content and total length of each field of a protobuf message."""
    place = 0
    while place < len(data):
        begin = place
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            end = _varint(data, place)[1]
        elif kind == 2:
            length, place = _varint(data, place)
            end = place + length
        elif kind in (1, 5):
            end = place + (8 if kind == 1 else 4)
        else:
            raise GraphError(f'not ONNX: wire type {kind}')
        if end > len(data):
            raise GraphError('not ONNX: it ends within a field')
        yield tag >> 3, data[place:end], end - begin
        place = end


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            return value, place
    raise GraphError('not ONNX: it ends within a number')
