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
"""Drift of SPAR off the data manifold, measured on policies trained offline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.drift_of import measure_drift
from spaars_ros.learning.algorithms.spar.spar_agent import SparAgent
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.gym.load_data import find_data
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.training_file import load_training

STATES = 2000
"""Number of states of the data over which the drift is averaged."""


def run(*, env: str, data: str, seeds: list[int], training: str, overrides: dict[str, Any],
        out: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """
    Return a row per projection and seed: `measure_drift`, and the return after offline training.

    A run that is in `out` is not trained again.

    :param env: Gymnasium id
    :param data: as for `spaars train --data`
    :raises ValueError: no data are given
    """
    rows = []
    for seed in seeds:
        for projection in ('mlp', 'proj'):
            settings = load_training(training, **{
                **overrides, 'algorithm': 'spar', 'spar_projection': projection})
            transitions = find_data(env, data, settings)
            if transitions is None:
                raise ValueError('spar starts from a data set, and none was given: name --data')
            trainer = Trainer(env, transitions, training=settings, seed=seed, steps=0,
                              out=out / f'{env}-{projection}-{seed}')
            summary = trainer.run(say=say)
            places = np.random.default_rng(seed).integers(0, len(transitions.observations),
                                                          STATES)
            states = trainer.normaliser(transitions.observations[places])
            agent = trainer.algorithm.agent
            assert isinstance(agent, SparAgent)
            found = measure_drift(agent, Batch({'observation': torch.from_numpy(states)}))
            geometry = trainer.algorithm.diagnostics(0)
            rows.append({'env': env, 'seed': seed, 'projection': projection, **found,
                         'fragmented': geometry['fragmented'],
                         'return': summary['return_final']})
            trainer.close()
    return rows
