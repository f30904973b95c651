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

"""
Sparse-reward tasks of Meta-World as Gymnasium ids, and noisy demonstrations of them.

Importing this module registers `SpaarsMetaWorld/<task>-v0` for each task of Meta-World. Its
package is in a separate folder beside those of the peers (`spaars bench peers`).
"""

from collections.abc import Callable
from functools import cache
import importlib
from pathlib import Path
import sys
from typing import Any
import warnings

import gymnasium
import numpy as np

from benchmarks.peer_environments import FOLDER
from benchmarks.peer_environments import PeerError
from spaars_ros.data.transitions import save_transitions
from spaars_ros.data.transitions import Transitions

HORIZON = 150
PREFIX = 'SpaarsMetaWorld/'
SHARE = 0.7
"""Factor on the actions of the expert in demonstrations: people are slower."""
CORRELATION = 0.8
"""Correlation of the noise between two steps."""
DEMONSTRATIONS = {
    # task -> noise, bias (standard deviations)
    'door-open': (0.35, 0.15), 'peg-insert-side': (0.15, 0.05), 'pick-place': (0.2, 0.05),
    'drawer-open': (0.3, 0.1)}
"""Settings of the protocol (docs/results/manipulation.md); other tasks have `USUAL`."""
USUAL = (0.2, 0.05)


@cache
def package(folder: Path = FOLDER) -> Any:
    """Return the module metaworld; raises PeerError if it is not installed."""
    place = str(folder.expanduser() / 'metaworld')
    if place not in sys.path:
        sys.path.append(place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return importlib.import_module('metaworld')
    except ImportError as error:
        raise PeerError(f'Meta-World: {error}; install it with: spaars bench peers --only '
                        'metaworld') from None


class SparseMetaWorld(gymnasium.Env[Any, Any]):
    """Task of Meta-World with reward -1 per step until success (terminal), and a time limit."""

    metadata: dict[str, Any] = {'render_modes': []}

    def __init__(self, task: str, horizon: int = HORIZON) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            kind = package().MT1(f'{task}-v3', seed=0)
        self._env, self._starts = kind.train_classes[f'{task}-v3'](), kind.train_tasks
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (39,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self._horizon, self._steps = horizon, 0

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the scene to a start that only the seed determines; return observation (39,)."""
        super().reset(seed=seed)
        # The seed of Meta-World does not determine the start, which comes from a list.
        self._env.set_task(self._starts[int(self.np_random.integers(len(self._starts)))])
        observation, _ = self._env.reset()
        self._steps = 0
        return np.asarray(observation, np.float64), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply an action (4,) in [-1, 1]; info has `success`."""
        observation, _, _, _, info = self._env.step(np.asarray(action, np.float32))
        self._steps += 1
        done = bool(info['success'] > 0)
        return (np.asarray(observation, np.float64), 0.0 if done else -1.0, done,
                self._steps >= self._horizon and not done, {'success': done})

    def close(self) -> None:
        """Close the simulation."""
        self._env.close()


def env_id(task: str) -> str:
    """Return the Gymnasium id of a task, with the module that registers it."""
    return f'{__name__}:{PREFIX}{task}-v0'


def demonstrations(task: str, path: Path, *, episodes: int = 60, seed: int = 0,
                   say: Callable[[str], None] | None = None) -> float:
    """
    Write noisy demonstrations of Meta-World's scripted expert; return their success rate.

    An action is `SHARE` times that of the expert, plus first-order noise, plus a bias per
    episode.

    :raises PeerError: Meta-World is not installed
    :raises ValueError: Meta-World has no such task
    """
    package()
    experts = importlib.import_module('metaworld.policies').ENV_POLICY_MAP
    if f'{task}-v3' not in experts:
        raise ValueError(f'task {task!r}: none of Meta-World; {", ".join(sorted(experts))[:300]}')
    noise, bias = DEMONSTRATIONS.get(task, USUAL)
    env, expert, rng = SparseMetaWorld(task), experts[f'{task}-v3'](), np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {name: [] for name in (
        'observations', 'next_observations', 'actions', 'rewards', 'terminations', 'truncations',
        'episode')}
    succeeded = 0
    for episode in range(episodes):
        observation, _ = env.reset(seed=1000 * (seed + 1) + episode)
        drift, offset, done = np.zeros(4), rng.normal(0.0, bias, 4), False
        while not done:
            drift = CORRELATION * drift \
                + np.sqrt(1.0 - CORRELATION ** 2) * noise * rng.standard_normal(4)
            asked = SHARE * np.clip(expert.get_action(observation), -1.0, 1.0) + drift + offset
            action = np.clip(asked, -1.0, 1.0).astype(np.float32)
            reached, reward, terminated, truncated, _ = env.step(action)
            for name, value in zip(columns, (observation, reached, action, reward, terminated,
                                             truncated, episode)):
                columns[name].append(value)
            observation, done = reached, terminated or truncated
        succeeded += terminated
    env.close()
    types = {'terminations': bool, 'truncations': bool, 'episode': np.int64}
    made: dict[str, Any] = {name: np.asarray(values, types.get(name, np.float32))
            for name, values in columns.items()}
    made['costs'] = np.zeros((len(made['rewards']), 0), np.float32)
    save_transitions(Transitions(**made), path)
    if say is not None:
        say(f'{task}: {episodes} demonstrations, {succeeded / episodes:.0%} succeed')
    return succeeded / episodes


def register() -> None:
    """Register all tasks of Meta-World; if it is missing, the four of the protocol."""
    try:
        package()
        names = [name.removesuffix('-v3') for name in importlib.import_module(
            'metaworld.policies').ENV_POLICY_MAP]
    except PeerError:
        names = list(DEMONSTRATIONS)
    for name in names:
        if f'{PREFIX}{name}-v0' not in gymnasium.registry:
            gymnasium.register(f'{PREFIX}{name}-v0', entry_point=f'{__name__}:SparseMetaWorld',
                               kwargs={'task': name})


register()
