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

"""Labelled states for a success classifier, out of runs that saw with one encoder."""

from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
import yaml

from spaars_ros.data.demonstrations import run_steps
from spaars_ros.data.schema import Array
from spaars_ros.learning.image_judge import disturbed
from spaars_ros.learning.image_judge import image_judge
from spaars_ros.learning.judge import check_enough
from spaars_ros.learning.judge import Classifier
from spaars_ros.learning.judge import episodes_of
from spaars_ros.learning.judge import Labelled
from spaars_ros.learning.judge import labelled_steps
from spaars_ros.policy.judge import Eye
from spaars_ros.policy.judge import MadeFor
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.sources import Source
from spaars_ros.run.encode_run import Change
from spaars_ros.run.encode_run import encoded_rows
from spaars_ros.run.encode_run import features_of_frames
from spaars_ros.run.encode_run import stamps_of
from spaars_ros.run.encode_run import unchanged
from spaars_ros.run.folder import CONFIG
from spaars_ros.run.folder import RunFolder
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.vision.encoder_file import camera_of
from spaars_ros.vision.encoder_file import digest_of_fields
from spaars_ros.vision.encoder_file import made_by
from spaars_ros.vision.encoder_file import read_encoder

VARIANTS = 4
"""Further images of each kept frame, slightly disturbed, from which a classifier learns, too."""


def labelled_runs(folders: Sequence[Path], task: str = ''
                  ) -> tuple[list[Labelled], int, MadeFor | None]:
    """
    Return the labelled episodes of runs, how many others there are, and what they were seen with.

    :param task: task file with other encoders, by which the kept frames are encoded again; '': the
        observations stay as recorded
    :return: the last value is None if no run says what its task was
    :raises ValueError: the runs differ in width or encoder, or a file cannot be read
    """
    found: list[Labelled] = []
    left, (width, known) = _count(folders), (0, None)
    for folder in folders:
        variants: list[Array] = []
        if task:
            for change in (unchanged, *_changes()):
                schema, rows, made = encoded_rows(folder, task=task, change=change,
                                                  choose=labelled_steps)
                variants.append(rows[:, schema.fields['observation']])
            seen_with: MadeFor | None = _made_for(made.spec.encoders, cameras_of(made))
        else:
            schema, rows = run_steps(folder)
            seen_with = _recorded_with(folder)
        if known is not None and seen_with is not None:
            differ = known.differences(seen_with.encoders)
            if differ:
                raise ValueError(f'{folder}: it saw with another encoder than the runs before: '
                                 f'{"; ".join(differ)}: name a task file with --task, by which '
                                 'the frames of all are encoded again')
        here = schema.fields['observation'].stop - schema.fields['observation'].start
        if width not in (0, here):
            raise ValueError(f'{folder}: observations of {here} values, the runs before have '
                             f'{width}: train on runs of one task')
        found += episodes_of(schema, rows, variants)[0]
        width, known = here, known or seen_with
    return found, left, known


def labelled_frames(folders: Sequence[Path], camera: str, task: str = ''
                    ) -> tuple[list[Labelled], int, Source]:
    """
    Return labelled episodes as vectors of one camera alone, how many others there are, its source.

    The vectors are computed from the frames that the runs kept.

    :param camera: name of the source
    :param task: task file that declares it; '': that of the runs, which then has to be the same
    :raises ValueError: there is no such camera, no frame, or the runs used different encoders
    """
    found: list[Labelled] = []
    left, chosen = _count(folders), None
    for folder in folders:
        run = RunFolder.resume(str(folder))
        source = _camera(make_task(run.robot, load_task(task)) if task else run.task, camera)
        if chosen is not None and made_by(chosen) != made_by(source):
            raise ValueError(f'{folder}: camera {camera} has another encoder or other settings '
                             'than in the runs before: name a task file with --task')
        schema, rows = run_steps(folder)
        rows = labelled_steps(schema, rows)
        stamps = stamps_of(schema, rows)
        seen = [features_of_frames(folder, source, stamps, change)
                for change in (unchanged, *_changes())]
        found, chosen = found + episodes_of(schema, rows, seen)[0], source
    if chosen is None:
        raise ValueError('no run')
    return found, left, chosen


def _count(folders: Sequence[Path]) -> int:
    """Return how many episodes have no label; raises ValueError if too few have, before work."""
    labelled: list[Labelled] = []
    left = 0
    for folder in folders:
        some, others = episodes_of(*run_steps(folder))
        labelled, left = labelled + some, left + others
    check_enough(labelled, left)
    return left


def of_images(model: Classifier, source: Source) -> bytes:
    """
    Return an ONNX file from a camera's image to the success probability.

    :param model: classifier of the vectors of the camera's encoder
    :raises EncoderError: nothing can be put behind the encoder
    """
    return image_judge(read_encoder(camera_of(source).encoder), model, made_by(source))


def entry_of(source: Source, name: str, file: Path) -> str:
    """
    Return the entry of a task file for a classifier of a camera's images, in one line.

    :param source: the camera on whose frames it was trained
    :param name: of the new source
    """
    kept = source.model_dump(mode='json', exclude_defaults=True, exclude={'name', 'topic'})
    camera = {**kept.pop('camera'), 'encoder': str(file),
              'simulated': camera_of(source).simulated or source.name}
    return yaml.safe_dump({'name': name, 'topic': source.images, **kept, 'camera': camera},
                          default_flow_style=True, sort_keys=False, width=10_000).strip()


def _changes() -> list[Change]:
    return [partial(disturbed, rng=np.random.default_rng(seed)) for seed in range(VARIANTS)]


def _camera(task: Any, name: str) -> Source:
    cameras = {one.name: one for one in cameras_of(task)}
    if name not in cameras:
        raise ConfigError(f'--camera {name}: task {task.name!r} has '
                          + (f'the cameras {", ".join(cameras)}' if cameras else 'no camera'))
    return cameras[name]


def _recorded_with(folder: Path) -> MadeFor | None:
    """Return what the task of a run saw with; None if the folder does not say."""
    path = folder / CONFIG
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        declared = [*(kept.get('robot') or {}).get('sources', []),
                    *(kept.get('task') or {}).get('sources', [])]
        sources = [Source.model_validate(one) for one in declared]
        encoders = {str(term): dict(fields) for term, fields in
                    (kept.get('encoders') or {}).items()}
    except (ValueError, TypeError, AttributeError, ValidationError) as error:
        raise ValueError(f'{path}: not the configuration of a run: '
                         f'{type(error).__name__}') from None
    return _made_for(encoders, sources)


def _made_for(encoders: Mapping[str, Mapping[str, str]], sources: Sequence[Source]) -> MadeFor:
    """Return what makes the values of terms, with the topic and digest of each camera."""
    fields: dict[str, dict[str, str]] = {}
    for settings in encoders.values():
        for place, text in settings.items():
            source, _, name = place.removeprefix('sources.').rpartition('.camera.')
            fields.setdefault(source, {})[name] = text
    topics = {one.name: one.on for one in sources}
    return MadeFor(encoders, {name: Eye(topics[name], digest_of_fields(some))
                              for name, some in fields.items() if name in topics})
