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

"""Parameters of the simulation node."""

from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.parameters import RUN
from spaars_ros.sim.fault_table import DEFAULTS
from spaars_ros.sim.fault_table import FAULTS

FAULT = 'fault.'
"""Prefix of the parameters that set faults."""

PARAMETERS = ParameterTable(
    RUN,
    Param('robot', 'panda', 'robot file: path, or name of a shipped file'),
    Param('task', 'reach', 'task file: path, or name of a shipped file'),
    Param('seed', 0, 'seed of the start poses and of the faults', low=0, high=2**31),
    Param('real_time_factor', 0.0, 'simulated s per s; 0 is lockstep: as fast as the nodes answer',
          low=0.0, high=100.0),
    Param('stamps', 'simulated', 'clock of the stamps: simulated, as on /clock, or system, as on '
          'a robot; system needs a real_time_factor of 1', choices=('simulated', 'system')),
    Param('max_lead', 16, 'lockstep: control periods that the arm may be ahead of the learner',
          low=1, high=100_000),
    Param('command_interface', '', "content of `command`; '' takes it from the robot file",
          choices=('', 'forward_velocity', 'forward_position', 'joint_trajectory')),
    Param('command_timeout', 0.0, 'time without a command after which the arm stops; 0: never, '
          'like forward_command_controller. Not for lockstep', unit='s', low=0.0, high=60.0,
          live=True),
    Param('thread_priority', 0, 'SCHED_FIFO priority of executor and middleware, if the user has '
          'the permission; 0: an ordinary process', low=0, high=99),
    Param('start_stamp', 1.0, 'stamp of the first joint_states', unit='s', low=0.0, high=1e9),
    Param('first_reset', 0, 'start poses to skip, for a run that is continued', low=0, high=2**31),
    Param('faults', '', 'YAML file of timed faults, a list of {at: s, for: s, set: {<fault>: '
          "value}}; '' for none"),
    *(Param(FAULT + fault.name, DEFAULTS[fault.name], fault.description, unit=fault.unit,
            low=fault.low, high=fault.high, live=True) for fault in FAULTS),
)
"""Parameters of the simulation node."""
