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


"""How good a policy was before and after a run, as the run's own episodes on the robot say."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spaars_ros.data.schema import Flag
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.liveview import duration
from spaars_ros.tasks.base import average_metrics
from spaars_ros.tasks.scoring import paths_from_steps


def measured_on_robot(folder: RunFolder, version: int
                      ) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """
    Return what `evaluate` returns, of the run's first and last episodes, as they were recorded.

    Nothing is moved for it: the first episodes act with the pretrained policy anyway. Both have
    the exploration noise of training; an episode that a stop cut short is in neither.

    :param version: of the bundle that the run began with; before is what it alone decided
    :return: before, {} where no episode was its; after, of the last fifth, None of nothing
    """
    schema, rows = folder.recorded()
    if schema is None:
        return {}, None
    scored = folder.episodes()
    paths: list[Any] = [*paths_from_steps(schema, rows, folder.task)] or [None] * len(scored)
    both = [(score, path) for score, path in zip(scored, paths)
            if score['ended'] != Flag.ABORTED.name.lower()]
    most = folder.options.evaluation_episodes
    of_first = [score['bundle_version'] <= version for score, _ in both]
    count = of_first.index(False) if False in of_first else len(both)
    first = both[:min(count, most)]
    last = both[max(len(first), len(both) - min(max(len(both) // 5, 1), most)):]
    return _means(folder, first) or {}, _means(folder, last)


def _means(folder: RunFolder, both: Sequence[Any]) -> dict[str, Any] | None:
    scores = [score for score, _ in both]
    if not scores:
        return None
    return {'success': float(np.mean([score['success'] for score in scores])),
            'return_mean': float(np.mean([score['return'] for score in scores])),
            'cost_mean': float(np.mean([score['cost'] for score in scores])),
            'metrics': average_metrics(folder.task.spec.metrics, scores),
            'episodes': scores, 'paths': [path for _, path in both if path is not None]}


def closing_lines(folder: RunFolder, summary: dict[str, Any]) -> list[str]:
    """Return what the operator reads when the run is over."""
    def change(key: str, form: str, scale: float = 1.0) -> str:
        return ' -> '.join('not measured' if summary[f'{key}_{when}'] is None
                           else format(scale * summary[f'{key}_{when}'], form)
                           for when in ('before', 'after'))
    cost = summary['cost_last_fifth']
    return [
        f'ended: {summary["ended"]}, {summary["episodes"]} episodes, '
        f'{summary["online_steps"]} steps in {duration(summary["wall_seconds"])}',
        f'success   {change("success", ".0%")}',
        *_where(summary),
        *(f'{spec.label:9s} {spec.change(summary["metrics"][spec.name])}'
          for spec in folder.task.spec.metrics),
        f'cost      {"-" if cost is None else format(cost, ".2f")} per episode in the last fifth, '
        f'limit {summary["cost_limit"]}',
        f'report    {folder.path / "report.html"}']


def _where(summary: dict[str, Any]) -> list[str]:
    if summary['measured_on'] != 'robot':
        return []
    return [f'          on the robot, exploring: {summary["episodes_before"]} first episodes, of '
            f'the pretrained policy, and {summary["episodes_after"]} last ones']
