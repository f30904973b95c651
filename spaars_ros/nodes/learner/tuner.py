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

"""Create the fine-tuner from the parameters of the learner node."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaars_ros.data.demonstrations import load_demonstrations
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training


def make_tuner(values: Mapping[str, Any], signer: Signer | None) -> FineTuner:
    """Return a new fine-tuner; an invalid file raises an error that names it."""
    robot = load_robot(values['robot'])
    task = make_task(robot, load_task(values['task']))
    training = load_training(values['training'])
    demonstrations = load_demonstrations(
        resolve(values['demonstrations'] or training.demonstrations), robot, task)
    tuner = FineTuner(load_bundle(Path(values['bundle'])), robot=robot, task=task,
                      training=training, demonstrations=demonstrations, seed=values['seed'])
    tuner.signer = signer
    return tuner
