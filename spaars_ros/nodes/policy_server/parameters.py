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

"""Parameters of the policy server node."""

from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.parameters import RUN

PARAMETERS = ParameterTable(
    RUN,
    Param('robot', 'panda', 'robot file: a path, or the name of one that ships'),
    Param('task', 'reach', 'task file: a path, or the name of one that ships'),
    Param('bundle', '', 'policy bundle to start with: a file'),
    Param('run_dir', 'runs/latest', 'run folder; the spool of step records is in it'),
    Param('seed', 0, 'seed of goals and exploration noise', low=0, high=2**31),
    Param('trigger', 'timer', 'what makes a tick: a timer at the control rate, or the arrival '
          'of joint_states, which is for simulated time: where they stay away nothing is sent '
          'until they are stale', choices=('timer', 'joint_states')),
    Param('command_interface', '', "what `command` carries; '' takes the robot file's",
          choices=('', 'forward_velocity', 'forward_position', 'joint_trajectory')),
    Param('max_observation_age', 0.2, 'older joint_states stop the robot', unit='s',
          low=0.001, high=60.0),
    Param('clock_timeout', 2.0, 'with use_sim_time: /clock that stands for longer, on the steady '
          'clock, stops the robot, unless the simulation says on sim/held that the arm stands '
          'with it', unit='s', low=0.1, high=600.0),
    Param('episodes', 0, 'episodes of the whole run, those of earlier starts included; 0 for no '
          'end', low=0, high=2**31),
    Param('reset_service', '', "service that puts the arm at its start; '' goes back along the "
          "episode's path"),
    Param('reset_time', 30.0, 'wait for the answer of reset_service, which may move the arm '
          'meanwhile', unit='s', low=0.1, high=3600.0),
    Param('joint_states_time', 60.0, 'wait for the first joint_states on activate; then it is a '
          'stop, and the run ends; 0 for no end', unit='s', low=0.0, high=86400.0),
    Param('explore', True, 'whether the policy adds its exploration noise'),
    Param('gross_violation', 2.0, 'a command above this multiple of the velocity limit stops '
          'the robot', low=1.0, high=100.0),
    Param('repeated_violation', 3.0, 'uninterrupted filter interventions that stop the robot',
          unit='s', low=0.01, high=3600.0),
    Param('shadow_ticks', 20, 'decisions of a new bundle that are compared with those of the '
          'running one, and not executed, before it takes over; 0 for none',
          low=0, high=100_000),
    Param('shadow_bound', 1.0, 'largest difference of a joint, as a share of the greatest '
          'action, that a new bundle may have on nine of ten of these decisions',
          low=0.0, high=2.0),
    Param('rollback_hold', 400, 'ticks after a rollback in which no bundle is tried; doubled by '
          'every further one, until a version has acted for as long', unit='ticks', low=0,
          high=100_000),
    Param('accept_bundles', True, 'take bundles from learner/policy; false keeps the one that the '
          'server began with, whoever publishes'),
    Param('public_key', '', "PEM file of an Ed25519 public key: bundles that it did not sign are "
          "refused; '' takes unsigned ones"),
    Param('out_of_order', 10, 'joint_states out of order within `window` that stop the robot; 0 '
          'only counts them', low=0, high=1000),
    Param('deadline', 2.0, 'joint_states older than this when their command is sent make a late '
          'tick', unit='control periods', low=0.1, high=1000.0),
    Param('late', 10, 'late ticks within `window` that stop the robot; 0 only counts them',
          low=0, high=1000),
    Param('overruns', 10, 'ticks within `window` that take longer than the control period and '
          'stop the robot; 0 only counts them', low=0, high=1000),
    Param('window', 50, 'what `out_of_order`, `late` and `overruns` are counted in',
          unit='ticks', low=1, high=1000),
    Param('spike', 2.0, 'a position that is further away than this multiple of the velocity '
          'limit allows stops the robot; 0 is off', low=0.0, high=100.0),
    Param('frozen', 10, 'so many running in which a joint that is commanded to move has exactly '
          'the same position stop the robot; 0 is off', unit='control periods', low=0, high=1000),
    Param('velocity_mismatch', 0.5, 'difference between measured velocity and change of '
          'position, as a share of the velocity limit, that is odd; 0 is off', low=0.0,
          high=100.0),
    Param('mismatch_ticks', 10, 'so many running with such a difference stop the robot',
          unit='control periods', low=1, high=1000),
    Param('external_motion', 'record', 'what follows when something else moves the arm than its '
          'commands: only a mark in the record, which no transition is learned from; a pause '
          'until it is left alone; or a stop', choices=('record', 'pause', 'stop')),
    Param('cost_monitor', 'warn', 'what follows when the cost monitor is silent: nothing, a '
          'warning in the diagnostics, or a stop', choices=('off', 'warn', 'stop')),
    Param('cost_timeout', 2.0, 'a step without its cost for longer means that the cost monitor '
          'is silent', unit='s', low=0.01, high=600.0),
    Param('max_episode_cost', 0.0, 'a constraint above this in an episode stops the robot; 0 is '
          'off', unit='cost per episode', low=0.0, high=1e9, live=True),
    Param('budget', 'warn', 'what follows when an episode has spent the limit of a constraint: '
          "nothing; a mark in the record; or the pretrained policy, slow and outside the zones' "
          'margin, and the end of the episode where cost goes on', choices=('off', 'warn', 'hold'),
          live=True),
    Param('max_backlog', 2000, 'records that may wait for the disk before the robot stops',
          unit='records', low=1, high=50_000),
    Param('person', 'takeover', "what people's commands do: nothing; take over while a dead man's "
          'switch is held; drive, where nobody else does, to record demonstrations; or guide the '
          "arm by hand in the robot's own free-drive, where nothing is commanded",
          choices=('off', 'takeover', 'drive', 'guide')),
    Param('guide_rest', 3.0, 'rest that ends an episode of hand guiding; 0 for never', unit='s',
          low=0.0, high=3600.0),
    Param('person_age', 0.5, "a person's command, or a held dead man's switch, that is older "
          'brakes the arm', unit='s', low=0.02, high=60.0),
    Param('person_lost', 5.0, "a held dead man's switch that is not heard of for longer is a "
          'stop; 0 is off', unit='s', low=0.0, high=3600.0),
    Param('person_reset', '', 'what a person has to put back after each episode, as they are '
          "told; '' asks nobody"),
    Param('person_reset_time', 0.0, 'wait for that, until a person says ready; 0 for no end',
          unit='s', low=0.0, high=86400.0),
    *(Param(f'joy_{name}', number, f'button of joy {what}; -1 for none', low=-1, high=999)
      for name, number, what in (
          ('dead_man', 4, 'that is held while a person acts'),
          ('open', 1, 'that opens the gripper: channels to their low end'),
          ('close', 0, 'that closes the gripper: channels to their high end'),
          ('success', 3, 'that says that the episode succeeded'),
          ('failure', 2, 'that says that it failed'),
          ('discard', 6, 'that says that nothing is to be learned from it'),
          ('ready', 7, 'that says that a person has put things back'))),
    Param('horizon', 0, "ticks of an episode, where it is not the task's; 0: the task's",
          unit='ticks', low=0, high=10_000_000),
    Param('thread_priority', 0, 'SCHED_FIFO priority of executor and middleware, where the '
          'user may have it; 0 is an ordinary process', low=0, high=99),
    Param('discovery_time', 0.5, 'wait for another server on the same topics on configure',
          unit='s', low=0.0, high=60.0),
    Param('controller_time', 5.0, 'wait on activate for a controller that subscribes to command, '
          'and with use_sim_time for a /clock that goes on', unit='s', low=0.0, high=600.0),
)
"""Parameters of the policy server node."""
