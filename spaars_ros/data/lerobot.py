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

"""Export of demonstrations as a LeRobot data set (format v3.0), and import of such data sets."""

from collections.abc import Mapping
from collections.abc import Sequence
from importlib import import_module
import json
from pathlib import Path
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError

VERSION = 'v3.0'
CHUNK = 'chunk-000/file-000.parquet'
OURS = 'spaars_ros'
"""Key in info.json for the attributes that the LeRobot format has no field for."""
STATE, ACTION = 'observation.state', 'action'
NEXT, EFFORT = 'next.observation', 'next.effort'
"""
Fields of the following state. They are not named observation.*, since LeRobot's policies would use
them as inputs.
"""
EXTRA = 'LeRobot data sets need pyarrow: pip install "spaars_ros[lerobot]"'
PANDAS = {
    'index_columns': ['__index_level_0__'],
    'column_indexes': [{'name': None, 'field_name': None, 'pandas_type': 'unicode',
                        'numpy_type': 'object', 'metadata': {'encoding': 'UTF-8'}}],
    'columns': [{'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64',
                 'numpy_type': 'int64', 'metadata': None},
                {'name': None, 'field_name': '__index_level_0__', 'pandas_type': 'unicode',
                 'numpy_type': 'object', 'metadata': None}],
    'creator': {'library': 'spaars_ros', 'version': '0'}, 'pandas_version': '2.0.0'}
"""
Pandas metadata of a parquet table, which declare its text column as the index, as LeRobot reads
it.
"""


def _arrow() -> tuple[Any, Any]:
    try:
        return import_module('pyarrow'), import_module('pyarrow.parquet')
    except ImportError as error:
        raise ImportError(f'{EXTRA} ({error})') from None


def export_lerobot(data: Dataset, folder: Path, *, rate: float, robot: str, task: str,
                   rewards: NDArray[Any], successes: Sequence[bool]) -> None:
    """
    Write demonstrations as a LeRobot data set.

    :param data: N transitions
    :param folder: is created; must not exist
    :param rate: frames per second
    :param robot: name, for info.json
    :param task: description in words
    :param rewards: (N,)
    :param successes: one per episode
    :raises DatasetError: the folder exists already
    :raises ImportError: pyarrow is not installed
    :raises OSError: the folder cannot be written
    """
    arrow, parquet = _arrow()
    if folder.exists():
        raise DatasetError(f'{folder}: is there already; name another')
    starts = np.flatnonzero(np.diff(data.episode, prepend=data.episode[0] - 1))
    lengths = np.diff(np.r_[starts, len(data)])
    number = np.repeat(np.arange(len(starts)), lengths)
    frame = np.arange(len(data)) - np.repeat(starts, lengths)
    last = frame == np.repeat(lengths, lengths) - 1
    success = np.repeat(np.asarray(successes, bool), lengths) & last
    names = list(map(str, data.attributes.get('observation_names', [])))
    wide: dict[str, tuple[NDArray[Any], list[str]]] = {
        STATE: (data.observations, names), ACTION: (data.actions, []),
        NEXT: (data.next_observations, names), EFFORT: (data.efforts, [])}
    flat: dict[str, NDArray[Any]] = {
        'next.reward': rewards.astype(np.float32), 'next.done': last,
        'next.terminated': np.asarray(data.terminations, bool), 'next.success': success,
        'timestamp': (frame / rate).astype(np.float32), 'frame_index': frame,
        'episode_index': number, 'index': np.arange(len(data)),
        'task_index': np.zeros(len(data), np.int64)}
    columns = {name: arrow.FixedSizeListArray.from_arrays(
        arrow.array(values.astype(np.float32).ravel()), values.shape[1])
        for name, (values, _) in wide.items()}
    columns.update({name: arrow.array(values) for name, values in flat.items()})
    fresh = folder.with_name(f'.{folder.name}.partly')
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for part in ('data', 'meta/episodes'):
            (fresh / part / 'chunk-000').mkdir(parents=True)
        parquet.write_table(arrow.table(columns), fresh / 'data' / CHUNK)
        _write_tasks(arrow, parquet, fresh, task)
        _write_episodes(arrow, parquet, fresh, starts, lengths, task)
        stats = {**{name: _stats(values.astype(np.float64)) for name, (values, _) in wide.items()},
                 **{name: _stats(values.astype(np.float64)[:, None])
                    for name, values in flat.items()}}
        (fresh / 'meta' / 'stats.json').write_text(json.dumps(stats, indent=2))
        (fresh / 'meta' / 'info.json').write_text(json.dumps(
            _info(data, wide, flat, len(starts), rate, robot), indent=2))
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _info(data: Dataset, wide: Mapping[str, tuple[NDArray[Any], list[str]]],
          flat: Mapping[str, NDArray[Any]], episodes: int, rate: float,
          robot: str) -> dict[str, Any]:
    kinds = {'f': 'float32', 'b': 'bool', 'i': 'int64'}
    return {
        'codebase_version': VERSION, 'robot_type': robot, 'total_episodes': episodes,
        'total_frames': len(data), 'total_tasks': 1, 'chunks_size': 1000,
        'data_files_size_in_mb': 100, 'video_files_size_in_mb': 200,
        'fps': int(rate) if float(rate).is_integer() else rate,
        'splits': {'train': f'0:{episodes}'},
        'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet',
        'video_path': None,
        'features': {
            **{name: {'dtype': 'float32', 'shape': [values.shape[1]], 'names': called or None}
               for name, (values, called) in wide.items()},
            **{name: {'dtype': kinds[values.dtype.kind], 'shape': [1], 'names': None}
               for name, values in flat.items()}},
        OURS: {name: value for name, value in data.attributes.items()
               if isinstance(value, (str, int, float, list))}}


def _write_tasks(arrow: Any, parquet: Any, folder: Path, task: str) -> None:
    table = arrow.table({'task_index': arrow.array([0]), '__index_level_0__': arrow.array([task])})
    parquet.write_table(table.replace_schema_metadata({'pandas': json.dumps(PANDAS)}),
                        folder / 'meta' / 'tasks.parquet')


def _write_episodes(arrow: Any, parquet: Any, folder: Path, starts: NDArray[Any],
                    lengths: NDArray[Any], task: str) -> None:
    count = len(starts)
    zeros = np.zeros(count, np.int64)
    parquet.write_table(arrow.table({
        'episode_index': np.arange(count), 'tasks': arrow.array([[task]] * count),
        'length': lengths.astype(np.int64), 'data/chunk_index': zeros, 'data/file_index': zeros,
        'dataset_from_index': starts.astype(np.int64),
        'dataset_to_index': (starts + lengths).astype(np.int64),
        'meta/episodes/chunk_index': zeros, 'meta/episodes/file_index': zeros}),
        folder / 'meta' / 'episodes' / CHUNK)


def _stats(values: NDArray[np.float64]) -> dict[str, list[float]]:
    quantiles = {f'q{share:02d}': np.quantile(values, share / 100, axis=0).tolist()
                 for share in (1, 10, 50, 90, 99)}
    return {'min': values.min(0).tolist(), 'max': values.max(0).tolist(),
            'mean': values.mean(0).tolist(), 'std': values.std(0).tolist(),
            'count': [len(values)], **quantiles}


def read_lerobot(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """
    Return fields and attributes of a LeRobot data set, format v3.0.

    Fields: observations, actions, episode, terminations, truncations; and next_observations,
    efforts and rewards if the data set has them. Images and videos are not read.

    :raises DatasetError: no such data set, another version, or a missing column; the message names
        the file
    :raises ImportError: pyarrow is not installed
    """
    arrow, parquet = _arrow()
    path = folder / 'meta' / 'info.json'
    try:
        info = json.loads(path.read_text())
        version, features = str(info['codebase_version']), dict(info['features'])
    except OSError as error:
        raise DatasetError(f'{path}: {error.strerror}: a folder of LeRobot has it') from None
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f'{path}: not an info.json of LeRobot: {error!r}') from None
    if version != VERSION:
        raise DatasetError(f'{path}: codebase_version {version}, this reads {VERSION}: convert it '
                           'with lerobot (convert_dataset_v21_to_v30)')
    files = sorted((folder / 'data').glob('*/*.parquet'))
    if not files:
        raise DatasetError(f'{folder}/data: no parquet file in it')
    try:
        table = arrow.concat_tables([parquet.read_table(file) for file in files])
    except (arrow.ArrowException, OSError) as error:
        raise DatasetError(f'{folder}/data: {" ".join(str(error).split())}') from None
    state = STATE if STATE in table.column_names else 'observation'
    missing = [name for name in (state, ACTION, 'episode_index') if name not in table.column_names]
    if missing:
        raise DatasetError(f'{folder}/data: no column {missing[0]!r}; there are '
                           f'{table.column_names}')
    order = np.argsort(table['index'].to_numpy(), kind='stable') \
        if 'index' in table.column_names else np.arange(table.num_rows)
    arrays = {name: _column(table, name, folder)[order] for name in (
        state, ACTION, 'episode_index', NEXT, EFFORT, 'next.reward', 'next.done',
        'next.terminated', 'next.success') if name in table.column_names}
    episode = arrays['episode_index'].astype(np.int64)
    last = np.r_[np.diff(episode) != 0, True]
    ended = arrays.get('next.terminated', arrays.get('next.success', np.zeros(len(episode), bool)))
    terminations = ended.astype(bool) & last
    fields: dict[str, NDArray[Any]] = {
        'observations': arrays[state], 'actions': arrays[ACTION], 'episode': episode,
        'terminations': terminations, 'truncations': last & ~terminations}
    for theirs, ours in ((NEXT, 'next_observations'), (EFFORT, 'efforts'),
                         ('next.reward', 'rewards')):
        if theirs in arrays:
            fields[ours] = arrays[theirs]
    own = info.get(OURS, {})
    names = features.get(state, {}).get('names')
    attributes = {'source': f'lerobot {folder.name}', 'fps': info.get('fps'),
                  'robot_type': info.get('robot_type'),
                  **(own if isinstance(own, dict) else {})}
    if isinstance(names, list):
        attributes.setdefault('observation_names', names)
    return fields, attributes


def _column(table: Any, name: str, folder: Path) -> NDArray[Any]:
    try:
        return np.asarray(table[name].to_pylist())
    except (ValueError, TypeError) as error:
        raise DatasetError(f'{folder}/data: column {name!r}: rows of different lengths: '
                           f'{error}') from None


def dataset_of_lerobot(folder: Path) -> Dataset:
    """
    Return the demonstrations of a LeRobot data set.

    Some data sets lack the state after the last action of an episode; that action is then left
    out. Efforts are 0 where the data set has none.

    :raises DatasetError: as `read_lerobot`, or no transition is left
    :raises ImportError: pyarrow is not installed
    """
    fields, attributes = read_lerobot(folder)
    if fields['observations'].ndim != 2 or fields['actions'].ndim != 2:
        raise DatasetError(f'{folder}: observation.state has shape '
                           f'{fields["observations"].shape}, action {fields["actions"].shape}: '
                           'rows of numbers are expected')
    last = fields['terminations'] | fields['truncations']
    if 'next_observations' not in fields:
        following = np.r_[np.arange(1, len(last)), len(last) - 1]
        fields['next_observations'] = fields['observations'][following]
        keep = ~last
        ends = np.r_[last[1:], True] & keep
        terminated = np.r_[fields['terminations'][1:], False] & ends
        fields = {name: values[keep] for name, values in fields.items()}
        fields['terminations'] = terminated[keep]
        fields['truncations'] = (ends & ~terminated)[keep]
    if not len(fields['actions']):
        raise DatasetError(f'{folder}: no transition in it')
    _, episode = np.unique(fields['episode'], return_inverse=True)
    efforts = fields.get('efforts', np.zeros(
        (len(fields['actions']), len(attributes.get('joints', [])) or fields['actions'].shape[1])))
    return Dataset(
        observations=fields['observations'].astype(np.float32),
        actions=fields['actions'].astype(np.float32),
        next_observations=fields['next_observations'].astype(np.float32),
        efforts=efforts.astype(np.float32), terminations=fields['terminations'],
        truncations=fields['truncations'], episode=episode.astype(np.int64),
        attributes=attributes)
