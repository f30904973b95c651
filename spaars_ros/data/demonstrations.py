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

"""Loading of demonstrations by path: a data set file or the folder of a run."""

import hashlib
import os
from pathlib import Path

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.dataset import Task
from spaars_ros.data.dataset_steps import dataset_from_rows
from spaars_ros.data.labels import apply_labels
from spaars_ros.data.labels import FILE
from spaars_ros.data.labels import read_labels
from spaars_ros.data.recording import NoStepError
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import SpoolError
from spaars_ros.data.spool_format import scan_spool
from spaars_ros.robot.config import Robot

RECORDING = 'transitions.mcap'
SPOOL = 'spool'


def run_steps(folder: Path) -> tuple[StepSchema, Array]:
    """
    Return schema and step records (m, width) of a run folder, with the labels of its operators.

    :raises DatasetError: the folder contains no steps
    :raises RecorderError, LabelError: the files cannot be read
    """
    schema, rows = None, None
    if (folder / RECORDING).exists():
        try:
            schema, rows = read_steps(folder / RECORDING)
        except NoStepError:
            pass
    if schema is None and (folder / SPOOL).is_dir():  # run that was interrupted
        try:
            spooled = scan_spool(folder / SPOOL)
        except SpoolError as error:
            raise DatasetError(str(error)) from None
        schema, rows = spooled.schema.current, spooled.schema.upgraded(
            spooled.rows[spooled.sound])
    if schema is None or rows is None or not len(rows):
        raise DatasetError(f'{folder}: no steps of a run in it: expected {RECORDING} or {SPOOL}/')
    return schema, apply_labels(schema, rows, read_labels(folder))


def load_demonstrations(path: str | os.PathLike[str], robot: Robot | None = None,
                        task: Task | None = None) -> Dataset:
    """
    Load demonstrations: an HDF5 data set, or the folder of a run (as `spaars record` makes it).

    :raises DatasetError: malformed; the message names the file and the field
    :raises RecorderError, LabelError: the files of the run cannot be read
    """
    place = Path(path)
    if not place.is_dir():
        return load_dataset(place, robot, task)
    schema, rows = run_steps(place)
    try:
        return dataset_from_rows(schema, rows, robot=robot, task=task, source=f'run {place.name}')
    except DatasetError as error:
        raise DatasetError(f'{place}: {error}') from None


def digest_of(path: Path) -> bytes:
    """
    Return a digest that identifies a set of demonstrations; b'' if there is none.

    It is the content itself for a file and a SHA-256 for the folder of a run.
    """
    if not path.is_dir():
        return path.read_bytes() if path.is_file() else b''
    digest = hashlib.sha256()
    for file in (path / RECORDING, path / FILE):
        digest.update(file.read_bytes() if file.exists() else b'')
    if not (path / RECORDING).exists() and (path / SPOOL / 'steps.f64').exists():
        digest.update((path / SPOOL / 'steps.f64').read_bytes())
    return digest.digest()
