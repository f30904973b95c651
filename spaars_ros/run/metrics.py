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

"""Access to a task's metrics in evaluations, summaries and scored episodes."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from spaars_ros.tasks.spec import MetricSpec


def mean_of(spec: MetricSpec, result: Mapping[str, Any] | None) -> float | None:
    """Return the mean of a metric in an evaluation, None when it was not measured."""
    if not result:
        return None
    # Evaluations of version 0.1.0 have only the flat keys.
    value = result.get('metrics', {}).get(spec.name, result.get(f'{spec.name}_mean'))
    return None if value is None else float(value)


def metrics_summary(specs: Sequence[MetricSpec], before: Mapping[str, Any] | None,
                    after: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `metrics` of summary.json, plus NAME_before and NAME_after of flat metrics."""
    summary: dict[str, Any] = {'metrics': {
        spec.name: {'before': mean_of(spec, before), 'after': mean_of(spec, after),
                    'unit': spec.unit, 'better': spec.better} for spec in specs}}
    for spec in specs:
        if spec.flat:
            for when in ('before', 'after'):
                summary[f'{spec.name}_{when}'] = summary['metrics'][spec.name][when]
    return summary


def value_of(spec: MetricSpec, episode: Mapping[str, Any]) -> float:
    """Return a metric of one scored episode, NaN when the episode has none."""
    value = episode.get('metrics', {}).get(spec.name)
    return float('nan') if value is None else float(value)
