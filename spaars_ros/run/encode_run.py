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

"""Re-encode the camera frames of a run with another encoder, for use as demonstrations."""

from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset_steps import dataset_from_rows
from spaars_ros.data.demonstrations import run_steps
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.sources import Source
from spaars_ros.run.folder import RunFolder
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.frames import read_frames
from spaars_ros.vision.image_messages import Frame
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import Pixels

SOON = 2_000_000
"""ns by which a frame may be newer than its step, because the step's stamp is rounded."""
Change = Callable[[Pixels], Pixels]
Choice = Callable[[StepSchema, Array], Array]


def unchanged(image: Pixels) -> Pixels:
    """Return the image."""
    return image


def all_steps(schema: StepSchema, rows: Array) -> Array:
    """Return the step records."""
    return rows


def encode_run(folder: Path, *, encoder: str = '', source: str = '', task: str = '') -> Dataset:
    """
    Return the transitions of a run with its camera terms recomputed from the stored frames.

    Other terms stay as they were recorded. The frames are JPEG, so features differ slightly from
    those of the original images.

    :param encoder: ONNX file that replaces the run's encoder
    :param source: name of the camera's source; '': the only camera
    :param task: task file to use instead of `encoder` and `source`
    :raises DatasetError, ConfigError, FramesError: the message names what is wrong
    """
    schema, rows, made = encoded_rows(folder, encoder=encoder, source=source, task=task)
    return dataset_from_rows(schema, rows, robot=made.robot, task=made,
                             source=f'spaars data encode {folder.name}')


def encoded_rows(folder: Path, *, encoder: str = '', source: str = '', task: str = '',
                 change: Change = unchanged, choose: Choice = all_steps
                 ) -> tuple[StepSchema, Array, Task]:
    """
    Return schema, step records (m, width) and task of a run whose frames were encoded again.

    The other parameters and the errors are those of `encode_run`.

    :param change: applied to each frame first
    :param choose: returns the records to encode and return
    """
    run = RunFolder.resume(str(folder))
    settings = load_task(task) if task else _with_encoder(run, encoder, source)
    made = make_task(run.robot, settings)
    schema, rows = run_steps(folder)
    rows = choose(schema, rows)
    blind = {name: place for name, place in run.task.spec.slices.items()
             if name not in run.task.spec.encoders}
    values: dict[str, Array] = {}
    for name in made.spec.slices:
        if name in blind:
            values[name] = rows[:, schema.fields['observation']][:, blind[name]]
        elif name not in made.spec.encoders:
            raise DatasetError(f'{folder}: the run has no term {name!r}, which task file {task} '
                               'observes')
    for camera in cameras_of(made):
        if camera.name in made.spec.encoders:
            values[camera.name] = features_of_frames(folder, camera, stamps_of(schema, rows),
                                                     change)
    return *_replaced(schema, rows, made, values), made


def stamps_of(schema: StepSchema, rows: Array) -> list[int]:
    """Return the stamps of step records (m, width), ns."""
    stamps: list[int] = np.round(schema.get(rows, 'stamp') * 1e9).astype(np.int64).tolist()
    return stamps


def _with_encoder(run: RunFolder, encoder: str, source: str) -> TaskSettings:
    """Return a run's task settings with another encoder; raises ConfigError."""
    cameras = {one.name: one for one in cameras_of(run.task)}
    if not cameras:
        raise ConfigError(f'task {run.task.name!r} has no camera: none of its sources is an image')
    if not encoder:
        raise ConfigError('name the encoder with --encoder, or a task file with --task')
    if not source and len(cameras) > 1 or source and source not in cameras:
        raise ConfigError(f'--source {source}: which one of {", ".join(cameras)}?')
    chosen = cameras[source or next(iter(cameras))]
    assert chosen.camera is not None
    changed = chosen.model_copy(update={'camera': chosen.camera.model_copy(
        update={'encoder': str(Path(encoder).resolve())
                if not encoder.startswith('package://') else encoder})})
    others = [one for one in run.settings.sources if one.name != chosen.name]
    return run.settings.model_copy(update={'sources': [*others, changed]})


def features_of_frames(folder: Path, source: Source, stamps: Sequence[int],
                       change: Change = unchanged) -> Array:
    """
    Return the features (m, k) of the newest frames at m stamps in ns.

    :param change: applied to each frame first
    :raises DatasetError: there is no frame that is new enough, or one cannot be encoded
    """
    frames: list[Frame] = sorted(read_frames(folder, source.images), key=lambda one: one.stamp_ns)
    encoder, times = Encoder(source), [frame.stamp_ns for frame in frames]
    known: dict[int, Array] = {}
    found = []
    for stamp in stamps:
        place = bisect_right(times, stamp + SOON) - 1
        if place < 0 or (stamp - times[place]) * 1e-9 > source.max_age:
            raise DatasetError(f'{folder}: no frame of {source.name} at {stamp * 1e-9:.3f} s: the '
                               'bound of frames was reached, or they are of another run')
        if place not in known:
            try:
                known[place] = encoder.encode(change(frames[place].pixels()))
            except ImageError as error:
                raise DatasetError(f'{folder}: frame of {source.name} at '
                                   f'{times[place] * 1e-9:.3f} s: {error.text}') from None
        found.append(known[place])
    return np.asarray(found)


def _replaced(schema: StepSchema, rows: Array, task: Task, values: dict[str, Array]
              ) -> tuple[StepSchema, Array]:
    """Return schema and rows with the observation replaced by the task's terms in `values`."""
    widths = {name: place.stop - place.start for name, place in schema.fields.items()}
    fresh = StepSchema.of_fields({**widths, 'observation': task.observation_dim})
    made = np.zeros((len(rows), fresh.width))
    for name, place in fresh.fields.items():
        if name != 'observation':
            made[:, place] = rows[:, schema.fields[name]]
    made[:, fresh.fields['observation']] = np.concatenate(
        [values[term.name] for term in task.spec.terms], axis=1)
    return fresh, made
