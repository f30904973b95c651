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
"""Sweep: `spaars train` for every combination of settings and seeds, with a result table."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
import json
from pathlib import Path
import re
from typing import Any

import numpy as np
from scipy import stats

from spaars_ros.run.workers import Workers

SUMMARY = 'summary.json'
LEAST = 4
"""Minimum number of seeds for a confidence interval."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    env: str
    data: str
    training: str
    settings: tuple[tuple[str, Any], ...]
    """(key, value) pairs that replace settings of the training file."""
    seed: int
    steps: int
    evaluate_every: int
    evaluation_episodes: int
    out: str
    envs: int = 1
    """Environments explored at the same time."""

    @property
    def name(self) -> str:
        """Return the settings as text, which is also the name of their folder."""
        text = ','.join(f'{key}={value}' for key, value in self.settings) or 'as it is'
        return re.sub(r'[^\w=.,+ -]', '_', text)

    @property
    def folder(self) -> Path:
        """Return the folder of the run."""
        return Path(self.out) / self.name / f'seed_{self.seed}'


def grid(choices: Mapping[str, Sequence[Any]]) -> list[tuple[tuple[str, Any], ...]]:
    """Return every combination of the choices, each as (key, value) pairs."""
    return [tuple(zip(choices, values)) for values in product(*choices.values())]


def run_trial(trial: Trial) -> dict[str, Any]:
    """Run a trial and return its summary; an interrupted one continues from its checkpoint."""
    done = trial.folder / SUMMARY
    if done.exists():
        kept: dict[str, Any] = json.loads(done.read_text())
        return kept
    from spaars_ros.data.files import write_whole
    from spaars_ros.learning.gym.load_data import find_data
    from spaars_ros.learning.gym.trainer import Trainer
    from spaars_ros.training_file import load_training
    training = load_training(trial.training, **dict(trial.settings))
    trainer = Trainer(trial.env, find_data(trial.env, trial.data, training), training=training,
                      seed=trial.seed, out=trial.folder, steps=trial.steps,
                      evaluate_every=trial.evaluate_every,
                      evaluation_episodes=trial.evaluation_episodes, envs=trial.envs)
    try:
        summary = trainer.run()
    finally:
        trainer.close()
    write_whole(done, json.dumps(summary).encode())
    return summary


def sweep(trials: Sequence[Trial], workers: Workers, say: Callable[[str], None]
          ) -> list[dict[str, Any]]:
    """
    Run the trials and return one row per combination of settings, the best first.

    Keys: settings; seeds; returns (at the end, one per seed); iqm (interquartile mean); low and
    high (95 % bootstrap interval of the iqm; None below four seeds or for equal returns); scores
    (D4RL-normalised, None without a reference); seconds.

    :raises ValueError: runs failed; raised after the others are done, and names each
    """
    found: dict[Trial, dict[str, Any]] = {}
    failures = []
    for trial, result in workers.each(run_trial, trials):
        if isinstance(result, Exception):
            failures.append(f'{trial.name}, seed {trial.seed}: {result}')
            say(f'failed: {failures[-1]}')
            continue
        found[trial] = result
        say(f'{len(found)} of {len(trials)}: {trial.name}, seed {trial.seed}: return '
            f'{result["curve"][-1]["return_mean"]:.1f}, {result["seconds"]:.0f} s')
    rows = [_row([(trial, found[trial]) for trial in trials
                  if trial.settings == settings and trial in found])
            for settings in dict.fromkeys(trial.settings for trial in found)]
    if failures:
        raise ValueError('; '.join(failures))
    return sorted(rows, key=lambda row: -row['iqm'])


def interquartile_mean(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """
    Return the interquartile mean and the ends of its 95 % bootstrap interval.

    The ends are None for fewer than `LEAST` values, or when all values are equal.
    """
    mean = float(stats.trim_mean(values, 0.25))
    if len(values) < LEAST or np.ptp(values) == 0.0:
        return mean, None, None
    found = stats.bootstrap((np.asarray(values),), lambda x, axis: stats.trim_mean(
        x, 0.25, axis=axis), method='percentile', rng=np.random.default_rng(0))
    return mean, float(found.confidence_interval.low), float(found.confidence_interval.high)


def _row(runs: Sequence[tuple[Trial, dict[str, Any]]]) -> dict[str, Any]:
    returns = [float(summary['curve'][-1]['return_mean']) for _, summary in runs]
    mean, low, high = interquartile_mean(returns)
    return {'settings': dict(runs[0][0].settings), 'seeds': [trial.seed for trial, _ in runs],
            'returns': returns, 'iqm': mean, 'low': low, 'high': high,
            'scores': [summary['score_final'] for _, summary in runs],
            'seconds': float(sum(summary['seconds'] for _, summary in runs))}
