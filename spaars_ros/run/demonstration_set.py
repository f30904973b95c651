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

"""Demonstration set with its robot and task: load, summarise, check, merge and split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.dataset import concatenate
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import DatasetError
from spaars_ros.data.demonstrations import load_demonstrations
from spaars_ros.data.lerobot import dataset_of_lerobot
from spaars_ros.data.oddities import unchanging
from spaars_ros.data.plausible import contradiction
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.contract import action_differences
from spaars_ros.robot.contract import Contract
from spaars_ros.robot.resources import expanded
from spaars_ros.run.folder import CONFIG
from spaars_ros.run.folder import RunFolder
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import TopView
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

LEROBOT = 'lerobot:'
FEW = 5
"""Steps; a shorter episode is hardly a demonstration."""
SATURATED = 0.25
"""Fraction of steps with an action on its bound above which an episode counts as clipped."""


@dataclass
class DemonstrationSet:
    """Demonstrations, with the robot and task that they were made with where known."""

    where: str
    data: Dataset
    task: Task | None
    """None: neither given nor found; rewards and costs are then unknown."""

    @property
    def starts(self) -> list[int]:
        """Return the index of the first transition of each episode."""
        return np.flatnonzero(
            np.diff(self.data.episode, prepend=self.data.episode[0] - 1)).tolist()

    @property
    def slices(self) -> list[slice]:
        """Return the slice of transitions of each episode."""
        starts = self.starts
        return [slice(low, high) for low, high in zip(starts, [*starts[1:], len(self.data)])]

    @property
    def period(self) -> float:
        """Return the time between two transitions in s; 1 when it is not known."""
        if self.task is not None:
            return self.task.robot.period
        text = self.data.attributes.get('contract')
        return 1.0 / Contract.model_validate_json(text).rate if text else 1.0

    @property
    def outcomes(self) -> list[str]:
        """Return the outcome of each episode: its label, else the task's own judgement."""
        said = list(map(str, self.data.attributes.get('outcomes', [])))
        if len(said) != len(self.slices):
            said = ['unlabelled'] * len(self.slices)
        return [self._judged(part) if word == 'unlabelled' else word
                for word, part in zip(said, self.slices)]

    def _judged(self, part: slice) -> str:
        if self.task is None:
            return 'unlabelled'
        judged = self.task.judge(Episode(
            self.states(part), np.asarray(self.data.actions[part], np.float64)))
        return judged.name.lower() if judged else 'unlabelled'

    def states(self, part: slice) -> NDArray[Any]:
        """Return the observations of an episode (T + 1, n), the last one included."""
        return np.concatenate([self.data.observations[part],
                               self.data.next_observations[part][-1:]]).astype(np.float64)

    @property
    def rewards(self) -> NDArray[np.float64]:
        """Return the rewards (N,), 0 when the task is not known."""
        data = self.data
        if self.task is None:
            return np.zeros(len(data))
        return np.asarray(self.task.reward(*(np.asarray(each, np.float64) for each in (
            data.observations, data.actions, data.next_observations))))

    @property
    def costs(self) -> NDArray[np.float64]:
        """Return the constraint costs (N, C), C = 0 when the task is not known."""
        if self.task is None:
            return np.zeros((len(self.data), 0))
        data = self.data
        return np.asarray(self.task.constraint_costs(*(np.asarray(each, np.float64) for each in (
            data.next_observations, data.actions, data.efforts))))

    def chosen(self, episodes: Sequence[int]) -> 'DemonstrationSet':
        """Return a set of the given episodes; raises DatasetError when none is given."""
        if not episodes:
            raise DatasetError(f'{self.where}: no episode is left')
        parts = [self.slices[number] for number in episodes]
        places = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        arrays = {name: getattr(self.data, name)[places] for name in (
            'observations', 'actions', 'next_observations', 'efforts', 'terminations',
            'truncations')}
        outcomes = self.outcomes
        return DemonstrationSet(self.where, Dataset(
            **arrays, episode=np.repeat(np.arange(len(parts)),
                                        [part.stop - part.start for part in parts]),
            attributes={**self.data.attributes,
                        'outcomes': [outcomes[number] for number in episodes]}), self.task)


def open_set(name: str, robot: str = '', task: str = '') -> DemonstrationSet:
    """
    Load demonstrations from an HDF5 file, a run folder, or lerobot:FOLDER.

    :param robot: robot file; '': that of the run, or the shipped one that the set names
    :param task: task file; '': likewise
    :raises DatasetError, ConfigError: the message names file and field
    """
    path = expanded(name.removeprefix(LEROBOT))
    if not path.exists():
        raise DatasetError(f'{name}: no such file or folder')
    made: Task | None = None
    if path.is_dir() and (path / CONFIG).exists() and not (robot or task):
        made = RunFolder.resume(str(path)).task
    elif robot or task:
        made = _task_of(robot, task)
    if name.startswith(LEROBOT):
        data = dataset_of_lerobot(path)
        if made is not None:
            data.check(made.robot, made, name)
    else:
        data = load_demonstrations(path, None if made is None else made.robot, made)
    if made is None:
        made = _known_task(data)
    return DemonstrationSet(name, data, made)


def _task_of(robot: str, task: str) -> Task:
    settings = load_task(task or 'reach')
    return make_task(load_robot(robot or settings.robot or 'panda'), settings)


def _known_task(data: Dataset) -> Task | None:
    """Return the shipped task that a set names if the data fit it, else None."""
    names = [str(data.attributes.get(each, '')) for each in ('robot', 'task')]
    try:
        made = _task_of(*names) if all(names) else None
        if made is not None:
            data.check(made.robot, made)
    except (ConfigError, DatasetError, OSError):
        return None
    return made


def table_of(some: DemonstrationSet) -> list[dict[str, Any]]:
    """
    Return one row per episode: number, steps, seconds, outcome, return, cost, saturated.

    Cost is that of the first constraint. Return and cost are None where unknown. Saturated is the
    fraction of steps with an arm action on its bound, |a| > 0.999.
    """
    rewards, costs, outcomes = some.rewards, some.costs, some.outcomes
    rows = []
    for number, (part, outcome) in enumerate(zip(some.slices, outcomes)):
        # Arm only: the action of an open or closed gripper is on its bound by design.
        arm = None if some.task is None else some.task.spec.action.width
        actions = np.abs(some.data.actions[part, :arm])
        rows.append({
            'episode': number, 'steps': part.stop - part.start,
            'seconds': (part.stop - part.start) * some.period, 'outcome': outcome,
            'return': float(rewards[part].sum()) if some.task is not None else None,
            'cost': float(costs[part, 0].sum()) if costs.shape[1] else None,
            'saturated': float((actions > 0.999).any(axis=1).mean())})
    return rows


def summary_of(some: DemonstrationSet) -> dict[str, Any]:
    """
    Return summary statistics of a set.

    For a task with a top view also the coverage: the tip's lowest and highest coordinates in m,
    and the number of 2 cm cells that it visited.
    """
    rows = table_of(some)
    outcomes = [row['outcome'] for row in rows]
    kept = some.data.attributes
    summary: dict[str, Any] = {
        'robot': kept.get('robot'), 'task': kept.get('task'), 'source': kept.get('source'),
        'episodes': len(rows), 'transitions': len(some.data),
        'seconds': len(some.data) * some.period,
        'steps_least': min(row['steps'] for row in rows),
        'steps_most': max(row['steps'] for row in rows),
        'outcomes': {word: outcomes.count(word) for word in sorted(set(outcomes))},
        'cost_mean': float(np.mean([row['cost'] for row in rows]))
        if rows[0]['cost'] is not None else None,
        'saturated': float(np.mean([row['saturated'] for row in rows]))}
    if isinstance(some.task, TopView):
        tips = np.concatenate([some.task.tip(some.states(part)) for part in some.slices])
        summary['tip_low'], summary['tip_high'] = tips.min(0).tolist(), tips.max(0).tolist()
        summary['tip_cells'] = len(np.unique(np.floor(tips / 0.02), axis=0))
    return summary


def findings_of(some: DemonstrationSet) -> list[tuple[str, str]]:
    """Return findings to review before learning, as (level, text); level: 'wrong' or 'look'."""
    rows, data = table_of(some), some.data
    found: list[tuple[str, str]] = []
    names = list(map(str, data.attributes.get('observation_names', [])))
    found += [('look', line) for line in unchanging(data.observations, names)]
    odd = '' if some.task is None else contradiction(data.observations, names, some.task.robot)
    found += [('wrong', odd)] if odd else []
    short = [row['episode'] for row in rows if row['steps'] < FEW]
    if short:
        found.append(('look', f'episodes {_some(short)} have fewer than {FEW} steps: discard '
                              'them?'))
    full = [row['episode'] for row in rows if row['saturated'] > SATURATED]
    if full:
        found.append(('look', f'episodes {_some(full)}: more than {SATURATED:.0%} of the actions '
                              'are on their bound: demonstrate slower, or raise '
                              'control.action_scale'))
    still = [row['episode'] for row, part in zip(rows, some.slices)
             if not np.abs(data.actions[part]).max() > 1e-3]
    if still:
        found.append(('wrong', f'episodes {_some(still)}: nothing moves'))
    seen: dict[bytes, int] = {}
    for row, part in zip(rows, some.slices):
        content = np.ascontiguousarray(data.actions[part], np.float32).tobytes()
        if content in seen:
            found.append(('wrong', f'episode {row["episode"]} is episode {seen[content]} once '
                                   'more'))
        seen.setdefault(content, row['episode'])
    outcomes = [row['outcome'] for row in rows]
    if 'success' not in outcomes:
        found.append(('look', 'no episode is a success: label them, or there is nothing good to '
                              'imitate'))
    if some.task is None:
        found.append(('look', 'robot and task are not known: name them with --robot and --task '
                              'to check what actions and observations mean'))
    limits = [] if some.task is None else some.task.constraint_limits.tolist()
    if limits:
        over = [row['episode'] for row in rows if row['cost'] > limits[0]]
        if over:
            found.append(('look', f'episodes {_some(over)} cost more than the limit of '
                                  f'{limits[0]:g}'))
    return found


def merge_sets(sets: Sequence[DemonstrationSet]) -> DemonstrationSet:
    """Return one set with all episodes; raises DatasetError when the sets are incompatible."""
    first = sets[0]
    for other in sets[1:]:
        for name in ('robot', 'joints', 'task', 'observation_names', 'action'):
            mine, its = (each.data.attributes.get(name) for each in (first, other))
            if mine is not None and its is not None and not np.array_equal(mine, its):
                raise DatasetError(f'{other.where}: {name} is {its}, in {first.where} it is '
                                   f'{mine}: they cannot be one set')
        contracts = [each.data.attributes.get('contract') for each in (first, other)]
        if all(contracts):
            differ = action_differences(*(Contract.model_validate_json(str(text))
                                          for text in contracts))
            if differ:
                raise DatasetError(f'{other.where}: its actions mean something else than those of '
                                   f'{first.where}: {differ}')
    outcomes = [word for each in sets for word in each.outcomes]
    data = concatenate([each.data for each in sets])
    data.attributes.update(outcomes=outcomes, source='merged: ' + ', '.join(
        Path(each.where).name for each in sets))
    return DemonstrationSet('merged', data, first.task)


def split(some: DemonstrationSet, share: float, seed: int
          ) -> tuple[DemonstrationSet, DemonstrationSet]:
    """
    Split a set at random into a share of its episodes and the rest.

    :param share: fraction of the episodes in the first part
    :raises DatasetError: one part would be empty
    """
    count = len(some.slices)
    size = round(share * count)
    if not 0 < size < count:
        raise DatasetError(f'{some.where}: a share of {share:g} of {count} episodes is {size}: '
                           'both parts need one')
    order = np.random.default_rng(seed).permutation(count)
    return some.chosen(sorted(order[:size].tolist())), some.chosen(sorted(order[size:].tolist()))


def _some(numbers: Sequence[int]) -> str:
    shown = ', '.join(map(str, numbers[:6]))
    return shown + (f' and {len(numbers) - 6} more' if len(numbers) > 6 else '')
