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

"""
Feature vectors of images: std_msgs/msg/Float64MultiArray with stamp and encoder digest.

Labels of its layout: `stamp:<ns>` of the image, `encoder:<digest>`, and `refused:<CODE>: <why>`
if the image could not be used; then there are no values.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.ros.sources.float64_multi_array import fill
from spaars_ros.ros.sources.float64_multi_array import read
from spaars_ros.ros.sources.kind import Kind
from spaars_ros.ros.sources.kind import SourceError

STAMP, ENCODER, REFUSED = 'stamp:', 'encoder:', 'refused:'
WIRE = 'std_msgs/msg/Float64MultiArray'
MAX_DIGITS = 19
MOST_TEXT = 300


def features_message(values: Array, stamp_ns: int, digest: str, refused: str = '') -> Any:
    """
    Return the message of the features (k,) of an image.

    :param stamp_ns: stamp of the image in ns
    :param digest: digest of the encoder
    :param refused: `CODE: reason` if there are no features; '' otherwise
    """
    from std_msgs.msg import Float64MultiArray
    from std_msgs.msg import MultiArrayDimension
    from std_msgs.msg import MultiArrayLayout
    labels = [f'{STAMP}{stamp_ns}', f'{ENCODER}{digest}']
    if refused:
        labels.append(f'{REFUSED}{refused[:MOST_TEXT]}')
    dims = [MultiArrayDimension(label=label, size=len(values) if not place else 1)
            for place, label in enumerate(labels)]
    return Float64MultiArray(layout=MultiArrayLayout(dim=dims),
                             data=array('d', np.asarray(values, np.float64).tobytes()))


def label(msg: Any, prefix: str) -> str:
    """Return the label of a message with this prefix, without it; '' if there is none."""
    return next((dim.label[len(prefix):] for dim in msg.layout.dim[:3]
                 if dim.label.startswith(prefix)), '')


def stamp_of(msg: Any) -> int:
    """Return the stamp of the image in ns; raises SourceError if there is none."""
    text = label(msg, STAMP)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise SourceError('NO_STAMP', 'it is of no encoder: no label stamp:<ns>')
    return int(text)


def check_encoder(msg: Any, digest: str) -> None:
    """Raise SourceError if another encoder, or one with other settings, made the message."""
    found = label(msg, ENCODER)
    if found != digest:
        raise SourceError('WRONG_ENCODER', f'values of encoder {found[:16] or "unknown"}, the '
                          f'task file means {digest[:16]}: start the encoder with the same files')


def _read(msg: Any, fields: Sequence[str]) -> Array:
    refused = label(msg, REFUSED)
    if refused:
        code, _, text = refused.partition(': ')
        known = code if code.isascii() and code.replace('_', '').isalpha() else 'REFUSED'
        raise SourceError(known, ''.join(c if c.isprintable() else '?' for c in text))
    return read(msg, fields)


IMAGE, COMPRESSED = (Kind(f'sensor_msgs/msg/{name}', _read, fill, wire=WIRE, stamp=stamp_of)
                     for name in ('Image', 'CompressedImage'))
