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

"""Tasks of `spaars bench constraints`: environment, data and settings by name."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
import hashlib
import os
from pathlib import Path
from typing import Any

import gymnasium

from benchmarks.peer_environments import how_to_make
from benchmarks.peer_environments import PeerError
from benchmarks.peer_environments import python_of
from benchmarks.safe_drivers import drive
from benchmarks.safe_tasks import SAFE_TASKS
from benchmarks.safe_tasks import SafeTaskEnv
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.transitions import load_transitions
from spaars_ros.data.transitions import save_transitions
from spaars_ros.data.transitions import Transitions
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.run.sources import source_digest
from spaars_ros.sim.env import ArmEnv
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training
from spaars_ros.training_file import Training

REACH: dict[str, Any] = {
    'gamma': 0.97, 'n_step': 3, 'reward_scale': 0.2, 'cost_weight': 1.0, 'shaping': 20.0,
    'relabel': 0.5, 'utd': 2.0, 'entropy': 0.001}
"""What the arm's task has in config/training/spaars.yaml."""
REACH_WARM: dict[str, Any] = {
    'offline_share': 0.5, 'actor_rate': 0.1, 'demonstration_weight': 3.0}
"""Of a start from demonstrations: the policy that learns fast from what it did itself since loses
it within 500 steps, and one that only climbs its values within ten episodes (marvel.md)."""
BULLET = 'bullet'
"""Name of the peer environment that has bullet-safety-gym."""


@dataclass(frozen=True)
class ConstraintTask:
    """A task of the benchmark."""

    name: str
    steps: int
    """An episode."""
    limit: float
    """Cost per episode."""
    make_env: Callable[[], 'gymnasium.Env[Any, Any]']
    settings: dict[str, Any] = field(default_factory=dict)
    """Over the training file."""
    warm: dict[str, Any] = field(default_factory=dict)
    """Over them, for what starts from an offline policy."""
    files: list[str] = field(default_factory=list)
    """What else a row depends on: robot, task and data, as text or digest."""

    def training(self, algorithm: str, **changes: Any) -> Training:
        """Return the settings of an algorithm on this task."""
        return load_training('marvel', **{
            **self.settings, 'algorithm': algorithm, 'cost_limit': self.limit,
            'episode_steps': self.steps, **changes})

    def score(self, ret: float) -> float | None:
        """Return the normalised return, or None where there is no reference."""
        return SAFE_TASKS[self.name].score(ret) if self.name in SAFE_TASKS else None


def find_task(name: str, peers: Path) -> ConstraintTask:
    """Return `reach` or a task of bullet-safety-gym; raises ValueError, PeerError."""
    if name == 'reach':
        robot, settings = load_robot(), load_task('reach')
        return ConstraintTask(
            name, settings.horizon, make_task(robot, settings).constraint_limits[0],
            lambda: ArmEnv(robot, settings), REACH, REACH_WARM,
            [robot.model_dump_json(), settings.model_dump_json(), hashlib.sha256(
                Path(resolve(load_training('marvel').demonstrations)).read_bytes()).hexdigest()])
    if name not in SAFE_TASKS:
        raise ValueError(f'task {name!r}: none of {sorted([*SAFE_TASKS, "reach"])}')
    python = python_of(BULLET, peers)
    if python is None:
        raise PeerError(how_to_make(BULLET, peers))
    task = SAFE_TASKS[name]
    return ConstraintTask(name, task.steps, task.limit, lambda: SafeTaskEnv(name, python))


def offline_data(task: ConstraintTask, peers: Path, folder: Path, *, episodes: int
                 ) -> Transitions | Dataset:
    """
    Return the task's offline data; that of bullet-safety-gym is made once and kept in `folder`.

    The published sets cannot be had everywhere, so ours come from scripted drivers of which some
    keep the limit and some do not; the arm has its demonstrations.
    """
    if task.name == 'reach':
        robot, settings = load_robot(), load_task('reach')
        arm = make_task(robot, settings)
        return load_dataset(resolve(task.training('marvel').demonstrations), robot, arm)
    path = folder / f'data_{task.name}_{episodes}_{source_digest()}.npz'
    if not path.exists():
        python = python_of(BULLET, peers)
        assert python is not None
        partial = folder / f'{path.stem}.{os.getpid()}.npz'
        save_transitions(drive(task.name, python, episodes=episodes, seed=0), partial)
        os.replace(partial, path)
    return load_transitions(path)
