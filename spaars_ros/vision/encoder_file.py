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

"""Metadata of an encoder's ONNX file: input, width of its vector, digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import onnx

from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.resources import resolve
from spaars_ros.robot.sources import Camera
from spaars_ros.robot.sources import Source

KINDS = {onnx.TensorProto.FLOAT: 'float32', onnx.TensorProto.UINT8: 'uint8'}
"""Type of an encoder's input -> numpy's name."""
MOST_FEATURES = 10_000
TRAINED_WITH = 'spaars_ros.trained_with'
"""Key of the metadata of a file: settings of the camera that it was trained with, as JSON."""
IMAGE = 'one image, as [1, 3, height, width] or [1, height, width, 3]'


class EncoderError(ConfigError):
    """A file is no encoder, or contradicts its description; the message names it."""


@dataclass(frozen=True)
class EncoderFile:
    """An ONNX graph that maps an image to a vector."""

    path: Path
    digest: str
    """SHA-256 of the file, hexadecimal."""
    name: str
    """Name of its input."""
    output: str
    size: tuple[int, int] | None
    """Width and height of its input, pixels; None: not fixed."""
    first: bool
    """Whether the colour channels come before height and width."""
    kind: str
    """float32, range [0, 1] before normalisation, or uint8."""
    features: int
    """Number of values of its vector."""
    trained_with: Mapping[str, str]
    """Setting of `camera` -> its text with which the file was trained; {}: it does not say."""


def read_encoder(name: str) -> EncoderFile:
    """Return the metadata of a file, or of package://<package>/<path>; raise EncoderError."""
    path = resolve(name)
    try:
        if not path.is_file():
            raise EncoderError(f'encoder {name!r}: no such file')
        status = os.stat(path)
        return _read(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise EncoderError(f'encoder {name!r}: {error.strerror}') from None


@lru_cache(maxsize=16)
def _read(path: Path, changed: int, size: int) -> EncoderFile:
    data = path.read_bytes()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's class differs with its version
        raise EncoderError(f'encoder {path}: no ONNX file') from None
    graph = model.graph
    if not graph.node:
        raise EncoderError(f'encoder {path}: no ONNX file, or one that computes nothing')
    if any(tensor.external_data for tensor in graph.initializer):
        raise EncoderError(f'encoder {path}: its weights lie in another file, which the digest '
                           'would not hold: save it as one file')
    inside = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in inside]
    if len(inputs) != 1:
        raise EncoderError(f'encoder {path}: inputs {[one.name for one in inputs]}, expected '
                           f'{IMAGE}')
    found, first = inputs[0], graph.output[0]
    size_in, colours_first = _image(path, found)
    kind = KINDS.get(found.type.tensor_type.elem_type)
    if kind is None:
        raise EncoderError(f'encoder {path}: its input {found.name} is of type '
                           f'{onnx.TensorProto.DataType.Name(found.type.tensor_type.elem_type)}, '
                           'expected FLOAT or UINT8')
    return EncoderFile(path, hashlib.sha256(data).hexdigest(), found.name, first.name, size_in,
                       colours_first, kind, _width(path, first), _trained_with(path, model))


def _trained_with(path: Path, model: Any) -> dict[str, str]:
    text = next((each.value for each in model.metadata_props if each.key == TRAINED_WITH), '{}')
    try:
        return {str(place): str(value) for place, value in json.loads(text).items()}
    except (ValueError, AttributeError, RecursionError):
        raise EncoderError(f'encoder {path}: metadata {TRAINED_WITH}: no JSON of settings'
                           ) from None


def _shape(value: Any) -> list[int]:
    """Return a value's dimensions, 0 for one that is not fixed."""
    return [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim]


def _image(path: Path, value: Any) -> tuple[tuple[int, int] | None, bool]:
    """Return width and height, and whether the colours come first; raise EncoderError."""
    shape = _shape(value)
    fits = len(shape) == 4 and shape[0] in (0, 1) and 3 in (shape[1], shape[3])
    if not fits:
        raise EncoderError(f'encoder {path}: its input {value.name} is {_shown(value)}, expected '
                           f'{IMAGE}')
    first = shape[1] == 3
    height, width = shape[2:] if first else shape[1:3]
    return ((width, height) if width and height else None), first


def _width(path: Path, value: Any) -> int:
    shape = _shape(value)
    if not shape or not all(shape[1:]) or len(shape) == 1 and not shape[0] \
            or shape[0] not in (0, 1) and len(shape) > 1:
        raise EncoderError(f'encoder {path}: its output {value.name} is {_shown(value)}, '
                           'expected one vector, as [1, features]: export it with fixed sizes')
    width = math.prod(shape[1:]) if len(shape) > 1 else shape[0]
    if width > MOST_FEATURES:
        raise EncoderError(f'encoder {path}: its output {value.name} has {width} values, at most '
                           f'{MOST_FEATURES}: put a layer behind it that pools them')
    return width


def _shown(value: Any) -> str:
    return str([dim.dim_value or dim.dim_param or '?' for dim in
                value.type.tensor_type.shape.dim]).replace("'", '')


def camera_of(source: Source) -> Camera:
    """Return a source's camera; raise ConfigError for a source without one."""
    if source.camera is None:
        raise ConfigError(f'source {source.name!r}: type {source.type} is no image')
    return source.camera


def input_size(source: Source) -> tuple[int, int]:
    """Return the width and height of a camera's encoder input; raise EncoderError."""
    camera = camera_of(source)
    file = read_encoder(camera.encoder)
    if file.size is not None and camera.input not in (None, file.size):
        raise EncoderError(f'source {source.name!r}: camera.input is {list(camera.input or ())}, '
                           f'encoder {file.path} takes {list(file.size)}')
    size = file.size or camera.input
    if size is None:
        raise EncoderError(f'source {source.name!r}: encoder {file.path} leaves open which size '
                           'it takes: say it as camera.input: [width, height]')
    return size


def made_by(source: Source) -> dict[str, str]:
    """
    Return what determines the values of a camera's source, as field of `camera` -> text.

    Values of another encoder, or of another part of the image, have another meaning.

    :raises EncoderError: the file was trained with other settings
    """
    camera = camera_of(source)
    file = read_encoder(camera.encoder)
    made = {'encoder': file.digest, 'crop': _text(camera.crop),
            'input': _text(input_size(source)), 'mean': _text(camera.mean),
            'std': _text(camera.std)}
    for place, wanted in file.trained_with.items():
        if made.get(place, wanted) != wanted:
            raise EncoderError(f'source {source.name!r}: camera.{place} is {made[place]}, encoder '
                               f'{file.path} was trained with {wanted}')
    return made


def digest_of(source: Source) -> str:
    """Return a digest of `made_by`, which each vector carries."""
    return digest_of_fields(made_by(source))


def digest_of_fields(fields: Mapping[str, str]) -> str:
    """Return the digest of what `made_by` returned."""
    return hashlib.sha256(json.dumps(dict(fields), sort_keys=True).encode()).hexdigest()


def _text(values: Any) -> str:
    return ' '.join(f'{value:g}' for value in values)
