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

"""Reader of foreign HDF5 files: only data in the file itself, nothing that the file refers to."""

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.mcap_records import MAGIC

MOST_PACKED = 1100
"""Greatest compression ratio of deflate, the usual filter; a file that claims more is refused."""
BROKEN = (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError,
          AttributeError)


def read_hdf5(path: str | os.PathLike[str], wanted: Callable[[str], bool],
              error: type[ValueError]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """
    Return the arrays by name (path inside the file) and the attributes of an HDF5 file.

    Refused, with the name: links that lead nowhere or out of the file, virtual data sets, external
    storage, rows that were never written, data that are not numbers, sizes that the file cannot
    hold.

    :param wanted: predicate on the name; arrays for which it is false are not read
    :param error: exception type to raise; its one-line message begins with the file
    """
    where = str(path)
    try:
        size = Path(path).stat().st_size
        with h5py.File(path, 'r') as file:
            fields = {name: _array(item, name, size) for name, item in _items(file)
                      if wanted(name)}
            return fields, {str(name): _attribute(file, name) for name in file.attrs}
    except _Refused as found:
        raise error(f'{where}: {found}') from None
    except BROKEN as found:
        if _is_mcap(Path(path)):
            raise error(f'{where}: an MCAP file, expected HDF5: give the folder of the run that '
                        'made it, or make a set of a bag with `spaars import`') from None
        text = ' '.join(str(found).split()) or type(found).__name__
        raise error(f'{where}: not a readable HDF5 file: {text}') from None


def _is_mcap(path: Path) -> bool:
    try:
        with open(path, 'rb') as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def shapes_of(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every array in a file, {} if it cannot be read."""
    try:
        with h5py.File(path, 'r') as file:
            return {name: tuple(item.shape or ()) for name, item in _items(file)}
    except (_Refused, *BROKEN):
        return {}


def keys_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the name of every array in a file, [] if it cannot be read."""
    return list(shapes_of(path))


class _Refused(Exception):
    """An item of a file is refused; the message names it."""


def _items(group: Any, prefix: str = '', depth: int = 0) -> Any:
    for key in group:
        name = f'{prefix}{key}'
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _Refused(f'{name} is a link into another file, {link.filename}')
        item = group.get(key)
        if item is None:
            raise _Refused(f'{name} is a link that leads nowhere')
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group) and depth < 8:
            yield from _items(item, f'{name}/', depth + 1)


def _array(item: Any, name: str, size: int) -> NDArray[Any]:
    if item.shape is None:
        raise _Refused(f'{name} is empty: it has no data space')
    if item.dtype.kind not in 'fiub':  # checked before reading: no Python object is ever created
        raise _Refused(f'{name} holds {item.dtype}, no numbers')
    if item.is_virtual:
        raise _Refused(f'{name} is a virtual data set: what it shows lies in other files; copy it '
                       'into one (h5repack)')
    if item.external:
        raise _Refused(f'{name} is stored in another file, {item.external[0][0]}')
    if item.nbytes > MOST_PACKED * size:
        raise _Refused(f'{name} claims {item.nbytes} bytes, and the whole file has {size}')
    if item.nbytes:
        _refuse_unwritten(item, name)
    return np.asarray(item[()])


def _refuse_unwritten(item: Any, name: str) -> None:
    if item.chunks is None:
        if item.id.get_storage_size() < item.nbytes:
            raise _Refused(f'{name} was made and never written')
        return
    chunks = int(np.prod([-(-whole // part) for whole, part in zip(item.shape, item.chunks)]))
    written = item.id.get_num_chunks()
    if written < chunks:
        raise _Refused(f'{name} has rows that were never written: {written} of {chunks} chunks')


def _attribute(file: Any, name: str) -> Any:
    try:
        value = file.attrs[name]
    except BROKEN as error:
        raise _Refused(f'attribute {name} cannot be read ({type(error).__name__})') from None
    try:
        return _plain(value)
    except (UnicodeDecodeError, TypeError) as error:
        raise _Refused(f'attribute {name}: {error}') from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value] if value.ndim else _plain(value.item())
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, h5py.Empty):
        raise TypeError('it is empty')
    return value.item() if isinstance(value, np.generic) else value
