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

"""Scoring of episodes from recorded steps: numbers and paths."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

from spaars_ros.constraints.costs import transition_costs
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Budget
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import TopView


def _episodes(schema: StepSchema, rows: Array) -> Iterator[tuple[int, Array]]:
    """Yield (episode, its records in order) for each episode with at least one transition."""
    _, once = np.unique(schema.get(rows, 'sequence'), return_index=True)
    rows = rows[once]
    number = schema.get(rows, 'episode')
    for part in np.split(rows, np.flatnonzero(np.diff(number)) + 1):
        if len(part) > 1 and schema.get(part[-1], 'flag') == Flag.ABORTED \
                and schema.get(part[-1], 'stamp') == schema.get(part[-2], 'stamp'):
            part = part[:-1]  # closed between two ticks: a repeated state
        if len(part) > 1:
            yield int(schema.get(part[0], 'episode')), part


def episodes_from_steps(schema: StepSchema, rows: Array, task: Task,
                        multipliers: Mapping[int, float] | None = None) -> list[dict[str, Any]]:
    """
    Return one dict per episode, scored from its records (m, width) alone.

    Keys: episode, steps, return, success, cost and limit (first constraint), multiplier (from
    `multipliers`, since records do not contain it; otherwise NaN), raw_share, human_share,
    takeovers (number of times a person began to act), interventions (number of records that the
    filter changed), bundle_version, budget (name of the worst Budget in the episode), ended (name
    of a Flag), outcome (name of an Outcome), metrics (name -> value), and again those metrics that
    the task's spec marks as flat.

    :param multipliers: episode -> multiplier
    """
    result = []
    for episode, part in _episodes(schema, rows):
        observations = part[:, schema.fields['observation']]
        actions = part[:-1, schema.fields['action']]
        rewards = task.reward(observations[:-1], actions, observations[1:])
        intervened = schema.get(part[:-1], 'intervention')
        costs = transition_costs(task, task.robot.constraints, schema, part).sum(axis=0)
        mode = schema.get(part[:-1], 'mode')
        given = schema.get(part[1:], 'reward_given') > 0
        rewards = np.where(given, schema.get(part[1:], 'reward'), rewards)
        flag = Flag(int(schema.get(part[-1], 'flag')))
        whole = Episode(observations, actions, flag,
                        Outcome(int(schema.get(part[-1], 'outcome'))))
        outcome = task.judge(whole)
        metrics = {name: float(metric.value) for name, metric in task.metrics(whole).items()}
        result.append({
            'episode': episode,
            'steps': len(part) - 1,
            'return': float(np.sum(rewards)),
            'success': outcome is Outcome.SUCCESS,
            'cost': float(costs[0]) if len(costs) else 0.0,
            'limit': float(task.constraint_limits[0]) if len(costs) else float('inf'),
            'multiplier': float((multipliers or {}).get(episode, float('nan'))),
            'raw_share': float(np.mean(mode == Mode.RAW)),
            'human_share': float(np.mean(mode == Mode.HUMAN)),
            'takeovers': int(np.count_nonzero(np.diff(mode == Mode.HUMAN, prepend=False)
                                              & (mode == Mode.HUMAN))),
            'interventions': int(np.count_nonzero(intervened)),
            'bundle_version': int(schema.get(part[-2], 'bundle_version')),
            'budget': Budget(int(schema.get(part, 'budget').max())).name.lower()
            if 'budget' in schema.fields else 'within',
            'ended': flag.name.lower(), 'outcome': outcome.name.lower(), 'metrics': metrics,
            **{spec.name: metrics[spec.name] for spec in task.spec.metrics if spec.flat},
        })
    return result


def paths_from_steps(schema: StepSchema, rows: Array, task: Task) -> list[dict[str, Any]]:
    """
    Return the path of each episode: tip (T, 3) m, raw (T,) bool and target (3,) m.

    Empty for a task without `TopView`.
    """
    if not isinstance(task, TopView):
        return []
    result = []
    for _, part in _episodes(schema, rows):
        observations = part[:, schema.fields['observation']]
        result.append({'tip': task.tip(observations),
                       'raw': schema.get(part, 'mode') == Mode.RAW,
                       'target': task.target(observations[0])})
    return result
