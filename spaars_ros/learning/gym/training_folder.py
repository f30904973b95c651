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
"""Folder of a training run: its logs in JSON lines, and its checkpoint."""

import io
import json
from pathlib import Path
from typing import Any
import zipfile

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.files import write_whole
from spaars_ros.data.folder_lock import FolderLock
from spaars_ros.training_file import Training

LINES = ('curve.jsonl', 'episodes.jsonl')
"""One line per evaluation, and one line per training episode."""
CHECKPOINT = 'checkpoint.npz'


class TrainingFolder:
    """
    Folder of one training run, with its lock, logs and checkpoint.

    :param path: created by the first `begin`
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock: FolderLock | None = None

    def begin(self) -> bool:
        """
        Create and lock the folder; return whether it has a checkpoint to resume from.

        :raises FolderError: another training uses the folder, or it has other contents
        :raises OSError: the folder cannot be created or written to
        """
        self._lock = FolderLock(self.path, (CHECKPOINT, *LINES))
        if (self.path / CHECKPOINT).exists():
            return True
        # Clear the lines of a run that ended before its first checkpoint. This also detects now,
        # not after hours, that the folder cannot be written to.
        for name in LINES:
            write_whole(self.path / name, b'')
        return False

    def close(self) -> None:
        """Release the lock on the folder."""
        if self._lock is not None:
            self._lock.release()

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Append a row, as one line of JSON, to one of `LINES`."""
        with open(self.path / name, 'a') as file:
            file.write(json.dumps(row) + '\n')

    def save(self, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Write a checkpoint of JSON values and arrays, atomically."""
        state = {**state, 'lines': {name: self._count(name) for name in LINES}}
        arrays = {**arrays, 'state': np.frombuffer(json.dumps(state).encode(), np.uint8)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.path / CHECKPOINT, buffer.getvalue())

    def load(self, env_id: str, seed: int, data: str, training: Training, limits: list[float]
             ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """
        Return state and arrays of the checkpoint, and drop the lines written after it.

        The state has `env`, `seed` and `training`. Settings that are newer than the checkpoint
        count as their defaults; a checkpoint without a digest of its data fits any data, and every
        checkpoint fits every device.

        :param data: see `load_data.digest_of`
        :param limits: cost limits of the run
        :raises ValueError: settings differ from the run's, with their names; or the file is not a
            checkpoint written by `save`
        """
        path = self.path / CHECKPOINT
        state, arrays = _content(path)
        mine = {'env': env_id, 'seed': seed, 'data': data, 'cost limits': limits,
                **training.model_dump(exclude={'device'})}
        found = {'env': state['env'], 'seed': state['seed'], 'data': state.get('data', data),
                 'cost limits': [each['limit'] for each in state.get('controllers', [])],
                 **Training().model_dump(), **state['training']}
        differ = [name for name in mine if found[name] != mine[name]]
        if differ:
            raise ValueError(f'{path} is of another run: ' + '; '.join(
                f'{name} {found[name]!r}, now {mine[name]!r}' for name in differ))
        # Lines written after the checkpoint will be written again.
        for name, count in state['lines'].items():
            file = self.path / name
            if file.exists():
                kept = file.read_text().splitlines(keepends=True)[:count]
                write_whole(file, ''.join(kept).encode())
        return state, arrays

    def _count(self, name: str) -> int:
        path = self.path / name
        return len(path.read_text().splitlines()) if path.exists() else 0


def _content(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a checkpoint of `TrainingFolder.save`; raise ValueError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        state = json.loads(arrays.pop('state').tobytes())
    except (AttributeError, EOFError, KeyError, TypeError, ValueError,
            zipfile.BadZipFile) as error:
        # NumPy's message is hidden: it can advise to unpickle the file.
        raise ValueError(f'{path}: no checkpoint of a training run ({type(error).__name__}); give '
                         'another folder, or move it away') from None
    return state, arrays
