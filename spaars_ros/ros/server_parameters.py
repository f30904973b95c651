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

"""The parameters of the policy server."""

from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable

PARAMETERS = ParameterTable(
    Param('robot', 'panda', 'robot file: a path, or the name of one that ships'),
    Param('task', 'reach', 'task file: a path, or the name of one that ships'),
    Param('bundle', '', 'policy bundle to start with: a file'),
    Param('run_dir', 'runs/latest', 'run folder; the spool of step records is in it'),
    Param('seed', 0, 'seed of goals and exploration noise', low=0, high=2**31),
    Param('trigger', 'timer', 'what makes a tick: a timer at the control rate, or the arrival '
          'of joint_states', choices=('timer', 'joint_states')),
    Param('command_interface', '', "what `command` carries; '' takes the robot file's",
          choices=('', 'forward_velocity', 'forward_position', 'joint_trajectory')),
    Param('max_observation_age', 0.2, 'older joint_states stop the robot', unit='s',
          low=0.001, high=60.0),
    Param('episodes', 0, 'episodes of the whole run, those of earlier starts included; 0 for no '
          'end', low=0, high=2**31),
    Param('reset_service', '', "service that puts the arm at its start; '' goes back along the "
          "episode's path"),
    Param('explore', True, 'whether the policy adds its exploration noise'),
    Param('gross_violation', 2.0, 'a command above this multiple of the velocity limit stops '
          'the robot', low=1.0, high=100.0),
    Param('repeated_violation', 3.0, 'uninterrupted filter interventions that stop the robot',
          unit='s', low=0.01, high=3600.0),
    Param('max_backlog', 2000, 'records that may wait for the disk before the robot stops',
          unit='records', low=1, high=50_000),
    Param('discovery_time', 0.5, 'wait for another server on the same topics on configure',
          unit='s', low=0.0, high=60.0),
)
"""The policy server's."""
