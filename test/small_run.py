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

"""Common setup of tests of complete runs: a small training file, demonstrations, a bundle."""

from pathlib import Path
import time
from typing import Any

import yaml

from spaars_ros.data.dataset import save_dataset
from spaars_ros.learning.online.pretrain import pretrain
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

TRAINING: dict[str, Any] = {
    'width': 16, 'heads': 2, 'latent_dim': 3, 'batch': 32, 'cvae_steps': 40, 'iql_steps': 40,
    'align_steps': 20, 'utd': 0.5, 'warmup_steps': 40, 'critic_steps': 20,
    'min_latent_steps': 60, 'max_latent_steps': 120, 'push_every': 40, 'checkpoint_every': 80,
}
OF_ALGORITHM: dict[str, dict[str, Any]] = {
    'spaars': {},
    'spaars-supe': {'skill_length': 4, 'skill_dim': 4, 'skill_width': 16, 'skill_steps': 40,
                    'skill_iql_steps': 40, 'skill_heads': 3},
    'spar': {'spar_base_steps': 20, 'spar_candidates': 4}}
HORIZON = 40


def prepare(folder: Path, algorithm: str = 'spaars') -> Path:
    """Write training.yaml, task.yaml, demonstrations.h5 and initial.spaars; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    demonstrations = folder / 'demonstrations.h5'
    shipped = yaml.safe_load(Path(load_task_path()).read_text())
    (folder / 'task.yaml').write_text(yaml.safe_dump({**shipped, 'horizon': HORIZON}))
    (folder / 'training.yaml').write_text(yaml.safe_dump(
        {**TRAINING, 'algorithm': algorithm, **OF_ALGORITHM[algorithm],
         'demonstrations': str(demonstrations)}))
    robot = load_robot('panda')
    task = ReachTask(robot, load_task(str(folder / 'task.yaml')))
    dataset = collect(robot, load_task(str(folder / 'task.yaml')), episodes=6, seed=0)
    save_dataset(dataset, demonstrations)
    training = load_training(str(folder / 'training.yaml'))
    save_bundle(pretrain(robot, task, training, dataset, seed=0), folder / 'initial.spaars')
    return folder


def load_task_path() -> str:
    """Return the path of the shipped task file of reach."""
    from spaars_ros.robot.config import share_directory
    return str(share_directory() / 'config' / 'task' / 'reach.yaml')


def until(condition: Any, seconds: float, what: str = '') -> None:
    """Wait until a condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f'timed out: {what}'
        time.sleep(0.05)
