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


"""Performance before and after a run, measured on the run's own episodes on the robot."""

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
    Return evaluations, in the form of `evaluate`, of the run's first and last recorded episodes.

    The robot makes no extra motion: the first episodes act with the pretrained policy anyway.
    Both evaluations include the exploration noise of training. Aborted episodes are left out. Each
    covers at most `evaluation_episodes` episodes, and no episode is in both.

    :param version: version of the bundle that the run began with
    :return: before: the first episodes, up to the first one with a newer bundle, {} for none;
        after: the last fifth, None for none
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
    """Return the lines for the operator at the end of a run."""
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
