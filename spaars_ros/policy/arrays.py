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


"""Reader of float arrays from an untrusted .npz: sizes are checked before memory is allocated."""

import io
import math
import re
import zipfile

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 * 2**20
"""bytes of all arrays together, packed and unpacked."""
MAX_ARRAYS = 64
MAX_DIMENSIONS = 8

# numpy's own reader evaluates the header as a Python literal; np.savez writes this form.
_HEADER = re.compile(rb"\{'descr': '<f([48])', 'fortran_order': (True|False), "
                     rb"'shape': \(([0-9, ]{0,80})\), \} *\n?", re.ASCII)
# zipfile unpacks the other methods in chunks of any size.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAGIC = b'\x93NUMPY\x01\x00'


class ArrayError(ValueError):
    """An archive of arrays is invalid; the message says where."""


def read_arrays(data: bytes, max_bytes: int = MAX_BYTES) -> dict[str, NDArray[np.float32]]:
    """
    Return name -> array of an .npz with little-endian float32 or float64 arrays, as float32.

    The sizes that the archive claims are summed before anything is unpacked, no more than claimed
    is unpacked, and an array's shape has to agree with its number of bytes.

    :raises ArrayError: any other content, or more than `max_bytes`
    """
    if len(data) > max_bytes:
        raise ArrayError(f'{len(data)} bytes, at most {max_bytes}')
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > MAX_ARRAYS or total > max_bytes:
                raise ArrayError(f'{len(members)} arrays of {total} bytes, at most {MAX_ARRAYS} '
                                 f'of {max_bytes}')
            arrays: dict[str, NDArray[np.float32]] = {}
            for member in members:
                name = member.filename.removesuffix('.npy')
                if name in arrays:
                    raise ArrayError(f'{name} appears twice')
                if member.compress_type not in _METHODS:
                    raise ArrayError(f'{name} is packed by method {member.compress_type}')
                with archive.open(member) as file:
                    arrays[name] = _array(name, file.read(member.file_size))
            return arrays
    except ArrayError:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile and zlib raise a dozen kinds
        raise ArrayError(f'{type(error).__name__}: {error}') from None


def _array(name: str, data: bytes) -> NDArray[np.float32]:
    begin = len(_MAGIC) + 2
    if not data.startswith(_MAGIC) or len(data) < begin:
        raise ArrayError(f'{name} is not a .npy of version 1')
    start = begin + int.from_bytes(data[len(_MAGIC):begin], 'little')
    header = _HEADER.fullmatch(data[begin:start])
    if header is None:
        raise ArrayError(f'{name}: header {data[begin:start][:100]!r}')
    size = int(header[1])
    shape = tuple(int(text) for text in header[3].decode().split(',') if text.strip())
    values = data[start:]
    if len(shape) > MAX_DIMENSIONS or math.prod(shape) * size != len(values):
        raise ArrayError(f'{name}: {shape} of {size} bytes each in {len(values)} bytes')
    array = np.frombuffer(values, dtype=f'<f{size}').reshape(
        shape, order='F' if header[2] == b'True' else 'C')
    with np.errstate(over='ignore'):  # beyond float32 it is infinite; later checks reject it
        return np.asarray(array, dtype=np.float32)
