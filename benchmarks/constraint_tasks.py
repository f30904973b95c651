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

"""Tasks of `spaars bench constraints`: environment, data and settings."""

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
"""Settings of the arm's task, as in config/training/spaars.yaml."""
REACH_WARM: dict[str, Any] = {
    'offline_share': 0.5, 'actor_rate': 0.1, 'demonstration_weight': 3.0}
"""
Settings for a start from demonstrations (marvel.md).

A policy that learns fast from its own data loses the start within 500 steps, and one that only
maximises its values within ten episodes.
"""
BULLET = 'bullet'
"""Name of the peer environment with bullet-safety-gym."""


@dataclass(frozen=True)
class ConstraintTask:
    """One task of the benchmark."""

    name: str
    steps: int
    """Steps per episode."""
    limit: float
    """Limit of the cost per episode."""
    make_env: Callable[[], 'gymnasium.Env[Any, Any]']
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that override the training file."""
    warm: dict[str, Any] = field(default_factory=dict)
    """Settings that override these, for methods that start from an offline policy."""
    files: list[str] = field(default_factory=list)
    """Further inputs of a row (robot, task, data), as text or digest."""

    def training(self, algorithm: str, **changes: Any) -> Training:
        """Return the settings of an algorithm on this task."""
        return load_training('marvel', **{
            **self.settings, 'algorithm': algorithm, 'cost_limit': self.limit,
            'episode_steps': self.steps, **changes})

    def score(self, ret: float) -> float | None:
        """Return the normalised return; None if the task has no reference."""
        return SAFE_TASKS[self.name].score(ret) if self.name in SAFE_TASKS else None


def find_task(name: str, peers: Path) -> ConstraintTask:
    """Return a task by name; raises ValueError if unknown, PeerError if the peer is missing."""
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
    Return the offline data of a task.

    The data of the arm are its demonstrations. Those of bullet-safety-gym come from scripted
    drivers, of which some keep the limit and some do not, because the published data sets are not
    available everywhere. They are made once and kept in `folder`.

    :param episodes: episodes of the scripted drivers
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
