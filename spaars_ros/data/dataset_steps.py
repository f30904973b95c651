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
"""Conversion of step records, from a spool or a recording, to data sets."""

from datetime import datetime
from datetime import timezone
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.dataset import concatenate
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.dataset import Task
from spaars_ros.data.recording import read_runs
from spaars_ros.data.recording import STEP_TOPIC
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.seams import discarded_episodes
from spaars_ros.data.seams import is_terminal
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of


def dataset_from_rows(schema: StepSchema, rows: Array, *, robot: Robot | None = None,
                      task: Task | None = None, source: str = '') -> Dataset:
    """
    Convert step records (m, width) to a data set of transitions.

    Records t and t + 1 of one episode form a transition. Where records are missing or an episode
    has no end, the remaining part ends in a truncation. Duplicate records count once. Left out:
    pauses, in which nobody acted, and episodes that a person discarded.

    :raises DatasetError: the records contain no transition, or the data are malformed
    """
    if rows.ndim != 2 or rows.shape[1] != schema.width:
        raise DatasetError(f'records have shape {rows.shape}, expected (m, {schema.width})')
    _, once = np.unique(schema.get(rows, 'sequence'), return_index=True)
    rows = rows[once]
    now, later = rows[:-1], rows[1:]
    follows = ((schema.get(now, 'episode') == schema.get(later, 'episode'))
               & (schema.get(now, 'index') + 1 == schema.get(later, 'index'))
               & (schema.get(now, 'flag') == Flag.RUNNING)
               & (schema.get(now, 'mode') != Mode.NONE)
               & ~np.isin(schema.get(now, 'episode'), discarded_episodes(schema, rows)))
    place = np.flatnonzero(follows)
    if not len(place):
        raise DatasetError(f'no transition in {len(rows)} records')
    now, later = now[place], later[place]
    starts = np.r_[True, np.diff(place) != 1]
    ends = np.r_[starts[1:], True]
    # Last available transition of an episode; the episode may have ended in a pause by a person.
    last = np.r_[np.diff(schema.get(now, 'episode')) != 0, True]
    closing = rows[is_terminal(schema, rows)]
    terminated = last & np.isin(schema.get(now, 'episode'), schema.get(closing, 'episode')) \
        & ((schema.get(later, 'flag') != Flag.RUNNING) | _rested(schema, rows, place))
    attributes: dict[str, Any] = {
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'), 'source': source}
    if robot is not None:
        attributes.update(robot=robot.name, joints=list(robot.joints),
                          action_scale=robot.control.action_scale)
    if task is not None:
        attributes['observation_names'] = list(task.observation_names)
        if robot is not None:
            attributes['contract'] = contract_of(robot, task.observation_names).model_dump_json()
        attributes.update(task.attributes)
    attributes['outcomes'] = _outcomes(schema, rows, schema.get(now[starts], 'episode'))
    dataset = Dataset(
        observations=now[:, schema.fields['observation']],
        actions=now[:, schema.fields['action']],
        next_observations=later[:, schema.fields['observation']],
        efforts=later[:, schema.fields['effort']],
        terminations=terminated, truncations=ends & ~terminated,
        episode=(np.cumsum(starts) - 1).astype(np.int64), attributes=attributes)
    dataset.check(robot, task)
    return dataset


def _outcomes(schema: StepSchema, rows: Array, episodes: NDArray[np.float64]) -> list[str]:
    """Return the recorded outcome of each of the episodes (k,), 'unlabelled' if none."""
    if 'outcome' not in schema.fields:
        return ['unlabelled'] * len(episodes)
    ends = rows[schema.get(rows, 'flag') != Flag.RUNNING]
    known = dict(zip(schema.get(ends, 'episode'), schema.get(ends, 'outcome')))
    return [Outcome(int(known.get(episode, 0))).name.lower() if known.get(episode, 0)
            else 'unlabelled' for episode in episodes]


def _rested(schema: StepSchema, rows: Array, place: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return whether nobody acted after the transitions at `place` (m,) of records, (m,)."""
    acted = (schema.get(rows, 'mode') != Mode.NONE) & (schema.get(rows, 'flag') == Flag.RUNNING)
    return np.asarray(~acted[place + 1])


def import_mcap(path: str | os.PathLike[str], *, robot: Robot | None = None,
                task: Task | None = None, topic: str = STEP_TOPIC) -> Dataset:
    """
    Convert the step messages of a recording, or of a rosbag2 folder, to a data set.

    Several runs of a server are kept apart. For a recording of several robots, the topic selects
    one.

    :raises DatasetError: malformed
    :raises RecorderError: not a recording with steps
    """
    schema, runs = read_runs(path, topic)
    try:
        return concatenate([dataset_from_rows(schema, rows, robot=robot, task=task,
                                              source=f'import {Path(path).name}')
                            for rows in runs])
    except DatasetError as error:
        raise DatasetError(f'{path}: {error}') from None
