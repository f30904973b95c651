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

"""The algorithms that a robot can run, by name."""

from collections.abc import Callable

from spaars_ros.learning.algorithms.spaars.robot_spaars import RobotSpaars
from spaars_ros.learning.algorithms.spar.robot_spar import RobotSpar
from spaars_ros.learning.algorithms.supe.robot_supe import RobotSupe
from spaars_ros.learning.core.robot_algorithm import RobotAlgorithm
from spaars_ros.learning.core.robot_algorithm import RobotSetup
from spaars_ros.training_file import check_robot_runs

ROBOT_ALGORITHMS: dict[str, Callable[[RobotSetup], RobotAlgorithm]] = {
    'spaars': RobotSpaars, 'spaars-supe': RobotSupe, 'spar': RobotSpar}


def make_robot_algorithm(setup: RobotSetup) -> RobotAlgorithm:
    """
    Return the algorithm that a training file names, with networks from torch's generator.

    :raises ConfigError: `spaars train` has it, the robot has not; the message lists those it has
    """
    check_robot_runs(setup.training)
    return ROBOT_ALGORITHMS[setup.training.algorithm](setup)
