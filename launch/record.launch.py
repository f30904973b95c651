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

"""Record a person's demonstrations: ros2 launch spaars_ros record.launch.py sim:=true."""

from launch import LaunchDescription

from spaars_ros.run.launch_graph import ARGUMENTS
from spaars_ros.run.launch_graph import launch_description
from spaars_ros.run.launch_graph import OF_RECORDINGS

NOT_HERE = ('training', 'bundle', 'demonstrations', 'evaluate_in_sim')


def generate_launch_description() -> LaunchDescription:
    """Start every node but the learner; ends with the number of episodes, or Ctrl-C."""
    arguments = [name for name in ARGUMENTS if name not in NOT_HERE]
    return launch_description('record', [*arguments, *OF_RECORDINGS], learner=False,
                              episodes='0', real_time_factor='1.0')
