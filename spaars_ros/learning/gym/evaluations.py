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
"""Periodic evaluations of the deployed policy in a training run."""

from typing import Any

import numpy as np
import torch

from spaars_ros.data.scores import normalised_score
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Env
from spaars_ros.learning.gym.rollout import evaluate
from spaars_ros.learning.gym.training_folder import TrainingFolder
from spaars_ros.learning.gym.versions import Versions


class Evaluations:
    """
    Evaluates the deployed version, always on the same episodes, and keeps the learning curve.

    :param env: evaluation environment, not the one for exploration
    :param episodes: number of episodes per evaluation
    :param folder: gets one line in `curve.jsonl` per evaluation
    """

    def __init__(self, env: Env, boxes: ActionScaler, algorithm: Algorithm, versions: Versions, *,
                 env_id: str, episodes: int, folder: TrainingFolder) -> None:
        self._env, self._boxes, self._algorithm = env, boxes, algorithm
        self._versions = versions
        self._env_id, self._episodes, self._folder = env_id, episodes, folder
        self.curve: list[dict[str, Any]] = []

    def take(self, steps: int, **counters: float | None) -> dict[str, Any]:
        """Evaluate after `steps` environment steps; return the new row of the curve."""
        with self._versions.deployed():
            found = evaluate(self._env, self._boxes, self._algorithm, self._episodes)
            noisy = self._with_noise() if self._algorithm.learns_online and steps else found
        row = {'steps': steps, **counters,
               'return_mean': found['return_mean'], 'return_std': found['return_std'],
               'score': normalised_score(self._env_id, found['return_mean']),
               'cost_mean': found['cost_mean'], 'success': _number(found['success']),
               'raw_share_evaluated': found['raw_share_evaluated'],
               'stalled': found['stalled'], 'stalled_explored': noisy['stalled'],
               'return_explored': noisy['return_mean'],
               'success_explored': _number(noisy['success']),
               **{name: _number(value)
                  for name, value in self._algorithm.diagnostics(steps).items()}}
        self.curve.append(row)
        self._folder.append('curve.jsonl', row)
        return row

    def _with_noise(self) -> dict[str, Any]:
        """Evaluate the deployed version with exploration noise."""
        curriculum = getattr(self._algorithm, 'curriculum', None)
        if curriculum is not None:
            curriculum.tries = False
        try:
            # The evaluation must not change the training run, which draws on the CPU alone.
            with torch.random.fork_rng(devices=[]):
                return evaluate(self._env, self._boxes, self._algorithm, self._episodes,
                                explore=True)
        finally:
            if curriculum is not None:
                curriculum.tries = True

    def summary(self) -> dict[str, Any]:
        """Return the results before the first and after the last online step, and the curve."""
        first, last = [row for row in self.curve if not row['steps']][-1], self.curve[-1]
        return {'score_offline': first['score'], 'score_final': last['score'],
                'return_offline': first['return_mean'], 'return_final': last['return_mean'],
                'success_final': last['success'], 'cost_final': last['cost_mean'],
                'curve': self.curve}


def text_of(row: dict[str, Any], cost_limit: float | None) -> str:
    """Return a row of the curve as text for the terminal."""
    parts = [f'return {row["return_mean"]:.1f}']
    if row['score'] is not None:
        parts.append(f'score {row["score"]:.1f}')
    if cost_limit is not None:
        parts.append(f'cost {row["cost_mean"]:.2f} of {cost_limit:g}')
    if 'phase' in row:
        parts.append(f'raw {row["raw_share_evaluated"]:.0%}')
    return ', '.join(parts)


def _number(value: float) -> float | None:
    """Return a number for JSON: None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None
