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
"""Cost limits of a run, from robot file, training file or command line."""

import math
from typing import Any

from spaars_ros.training_file import Training

THRESHOLDS = ('cpq', 'marvel')
"""Algorithms that derive thresholds from the training file's `cost_limit`."""
UNCONSTRAINED = ('bc', 'iql', 'rlpd', 'sac', 'plas', 'td3-bc')
"""Algorithms without multipliers, which cannot hold a cost limit."""


def agreed_limits(training: Training, task: Any, given: float | None, steps: int | None = None
                  ) -> tuple[Training, list[float]]:
    """
    Return the training file and the cost limits (C) per episode of a run, made consistent.

    With an arm the limits come from the robot file, else from `given`. Without either, for an
    algorithm of `THRESHOLDS`, the limit comes from the training file if that sets one. For such
    an algorithm the returned training file also has the limit and the steps per episode.

    :param task: task of an arm, with its `constraint_limits`; None for other environments
    :param given: requested cost limit
    :param steps: steps per episode, if the environment has a time limit
    :raises ValueError: two sources differ; `given` is set for an algorithm without constraints;
        or an algorithm of `THRESHOLDS` has other constraints than one limit on the episode's sum
    """
    limits = [] if given is None else [float(given)]
    if task is not None:
        limits = [float(limit) for limit in task.constraint_limits]
        if given is not None and not (limits and math.isclose(given, limits[0])):
            raise ValueError(f'cost limit {given:g}: the robot file has '
                             f'{f"{limits[0]:g}" if limits else "no constraint"}')
    if given is not None and training.algorithm in UNCONSTRAINED:
        raise ValueError(f'cost limit {given:g}: {training.algorithm} holds none; spaars, marvel, '
                         'cpq and sac-lagrangian do')
    if training.algorithm not in THRESHOLDS:
        return training, limits
    if task is not None:
        steps = int(task.horizon)
        kinds = [constraint.kind for constraint in task.robot.constraints]
        if len(limits) > 1 or any(kind != 'episode' for kind in kinds):
            raise ValueError(f'{training.algorithm} holds one limit on the cost per episode, the '
                             f'robot file has {", ".join(kinds)}')
    if steps is not None:
        if 'episode_steps' in training.model_fields_set and training.episode_steps != steps:
            raise ValueError(f'episode_steps {training.episode_steps} in the training file, an '
                             f'episode here has {steps}')
        training = training.model_copy(update={'episode_steps': steps})
    named = training.cost_limit if 'cost_limit' in training.model_fields_set else None
    if named is not None and not limits:
        return training, [named]
    if named is not None and not math.isclose(named, limits[0]):
        raise ValueError(f'cost_limit {named:g} in the training file, but the run holds '
                         f'{limits[0]:g}: give one, or both alike')
    if not limits:
        return training, []
    return training.model_copy(update={'cost_limit': limits[0]}), limits
