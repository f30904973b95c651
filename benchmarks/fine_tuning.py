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

"""Setup of a fine-tuning run in process."""

from dataclasses import dataclass
from typing import Any

from spaars_ros.data.dataset import load_dataset
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import pretrain
from spaars_ros.policy.bundle import Bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.resources import resolve
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import for_task
from spaars_ros.training_file import load_training
from spaars_ros.training_file import Training


@dataclass(frozen=True)
class Begun:
    """Robot, task, pretrained bundle and learner before the first episode."""

    robot: Robot
    task: Task
    training: Training
    bundle: Bundle
    """Pretrained bundle."""
    tuner: FineTuner


def begin(task: str, training: str, seed: int, overrides: dict[str, Any] | None = None,
          start: Bundle | None = None) -> Begun:
    """
    Pretrain from the demonstrations of the task, and create the learner.

    :param overrides: settings that override the training file
    :param start: pretrained bundle; None: pretrain one
    """
    settings = load_task(task)
    robot = load_robot(settings.robot or 'panda')
    made = make_task(robot, settings)
    wanted = for_task(load_training(training, **(overrides or {})), made.action_dim,
                      settings.demonstrations)
    data = load_dataset(resolve(wanted.demonstrations), robot, made)
    bundle = start or pretrain(robot, made, wanted, data, seed=seed)
    return Begun(robot, made, wanted, bundle, FineTuner(
        bundle, robot=robot, task=made, training=wanted, demonstrations=data, seed=seed))
