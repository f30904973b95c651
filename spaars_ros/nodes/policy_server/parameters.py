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
    Param('robot', 'panda', 'robot file: path, or name of a shipped file'),
    Param('task', 'reach', 'task file: path, or name of a shipped file'),
    Param('bundle', '', 'policy bundle to start with'),
    Param('run_dir', 'runs/latest', 'run folder; it contains the spool of step records'),
    Param('seed', 0, 'seed of goals and exploration noise', low=0, high=2**31),
    Param('trigger', 'timer', 'what triggers a tick: a timer at the control rate, or each '
          'joint_states message. joint_states is for simulated time: without messages nothing is '
          'sent until they are stale', choices=('timer', 'joint_states')),
    Param('command_interface', '', "content of `command`; '' takes it from the robot file",
          choices=('', 'forward_velocity', 'forward_position', 'joint_trajectory')),
    Param('max_observation_age', 0.2, 'joint_states older than this stop the robot', unit='s',
          low=0.001, high=60.0),
    Param('clock_timeout', 2.0, 'with use_sim_time: a /clock that does not advance for longer (on '
          'the steady clock) stops the robot, unless the simulation reports on sim/held that the '
          'arm is halted too', unit='s', low=0.1, high=600.0),
    Param('episodes', 0, 'episodes of the whole run, including those of earlier starts; 0: no end',
          low=0, high=2**31),
    Param('reset_service', '', "service that moves the arm to its start pose; '' retraces the "
          'path of the episode'),
    Param('reset_time', 30.0, 'time to wait for the answer of reset_service, which may move the '
          'arm meanwhile', unit='s', low=0.1, high=3600.0),
    Param('joint_states_time', 60.0, 'time to wait for the first joint_states on activate; after '
          'that the robot is stopped and the run ends; 0: no limit', unit='s', low=0.0,
          high=86400.0),
    Param('explore', True, 'whether the policy adds its exploration noise'),
    Param('gross_violation', 2.0, 'a command above this multiple of the velocity limit stops '
          'the robot', low=1.0, high=100.0),
    Param('repeated_violation', 3.0, 'duration of uninterrupted filter interventions that stops '
          'the robot', unit='s', low=0.01, high=3600.0),
    Param('shadow_ticks', 20, 'decisions of a new bundle that are compared with those of the '
          'acting one, without being executed, before it takes over; 0: none', low=0,
          high=100_000),
    Param('shadow_bound', 1.0, 'largest difference of a joint, as a share of the largest action, '
          'that a new bundle may have in nine of ten of these decisions', low=0.0, high=2.0),
    Param('rollback_hold', 400, 'ticks after a rollback in which no new bundle is tried; doubled '
          'by each further rollback, until a version has acted for as long', unit='ticks', low=0,
          high=100_000),
    Param('accept_bundles', True, 'accept bundles from learner/policy; false keeps the bundle '
          'that the server started with, whoever publishes'),
    Param('public_key', '', 'PEM file of an Ed25519 public key: bundles without its signature are '
          "rejected; '' accepts unsigned bundles"),
    Param('out_of_order', 10, 'number of joint_states out of order within `window` that stops the '
          'robot; 0 only counts them', low=0, high=1000),
    Param('deadline', 2.0, 'age of joint_states, when their command is sent, above which a tick '
          'is late', unit='control periods', low=0.1, high=1000.0),
    Param('late', 10, 'number of late ticks within `window` that stops the robot; 0 only counts '
          'them', low=0, high=1000),
    Param('overruns', 10, 'number of ticks within `window` that take longer than the control '
          'period and stop the robot; 0 only counts them', low=0, high=1000),
    Param('window', 50, 'ticks over which `out_of_order`, `late` and `overruns` are counted',
          unit='ticks', low=1, high=1000),
    Param('spike', 2.0, 'a change of position above this multiple of what the velocity limit '
          'allows stops the robot; 0: off', low=0.0, high=100.0),
    Param('frozen', 10, 'consecutive periods with exactly the same position, of a joint that is '
          'commanded to move, that stop the robot; 0: off', unit='control periods', low=0,
          high=1000),
    Param('velocity_mismatch', 0.5, 'difference between the measured velocity and the change of '
          'position, as a share of the velocity limit, that counts as a mismatch; 0: off', low=0.0,
          high=100.0),
    Param('mismatch_ticks', 10, 'consecutive periods with a mismatch that stop the robot',
          unit='control periods', low=1, high=1000),
    Param('external_motion', 'record', 'reaction when the arm moves without being commanded to: '
          'record (only a mark in the record; no transition is learned from it), pause (until it '
          'is left alone), or stop', choices=('record', 'pause', 'stop')),
    Param('cost_monitor', 'warn', 'reaction when the cost monitor is silent: off, warn (in the '
          'diagnostics), or stop', choices=('off', 'warn', 'stop')),
    Param('cost_timeout', 2.0, 'time without the cost of a step after which the cost monitor '
          'counts as silent', unit='s', low=0.01, high=600.0),
    Param('learner', 'ignore', 'reaction when the learner is silent, as when the link to its '
          'machine is cut: ignore (the arm continues with its last policy), or stop',
          choices=('ignore', 'stop')),
    Param('learner_timeout', 10.0, 'time without a report of the learner after which it counts '
          'as silent', unit='s', low=0.5, high=3600.0),
    Param('max_episode_cost', 0.0, 'cost of a constraint in an episode above which the robot is '
          'stopped; 0: off', unit='cost per episode', low=0.0, high=1e9, live=True),
    Param('budget', 'warn', 'reaction when an episode has spent the limit of a constraint: off; '
          'warn (a mark in the record); or hold (the pretrained policy acts, slowly and outside '
          'the margin of the zones, and the episode ends if the cost continues)',
          choices=('off', 'warn', 'hold'), live=True),
    Param('max_backlog', 2000, 'records waiting for the disk above which the robot stops',
          unit='records', low=1, high=50_000),
    Param('person', 'takeover', "effect of a person's commands: off; takeover (while a dead man's "
          'switch is held); drive (to record demonstrations; nobody else acts); or guide (by hand '
          "in the robot's own free-drive; nothing is commanded)",
          choices=('off', 'takeover', 'drive', 'guide')),
    Param('guide_rest', 3.0, 'time at rest that ends an episode of hand guiding; 0: never',
          unit='s', low=0.0, high=3600.0),
    Param('person_age', 0.5, "age of a person's command, or of a held dead man's switch, above "
          'which the arm brakes', unit='s', low=0.02, high=60.0),
    Param('person_lost', 5.0, "time without a message of a held dead man's switch after which the "
          'robot is stopped; 0: off', unit='s', low=0.0, high=3600.0),
    Param('person_reset', '', 'what a person has to put back after each episode, as shown to '
          "them; '' asks nobody"),
    Param('person_reset_time', 0.0, 'time to wait until a person reports ready; 0: no limit',
          unit='s', low=0.0, high=86400.0),
    *(Param(f'joy_{name}', number, f'button of joy {what}; -1: none', low=-1, high=999)
      for name, number, what in (
          ('dead_man', 4, 'to hold while a person acts'),
          ('open', 1, 'to open the gripper: channels to their low end'),
          ('close', 0, 'to close the gripper: channels to their high end'),
          ('success', 3, 'to label the episode a success'),
          ('failure', 2, 'to label it a failure'),
          ('discard', 6, 'to discard it: nothing is learned from it'),
          ('ready', 7, 'to report that things have been put back'))),
    Param('horizon', 0, "ticks per episode, in place of the task's; 0: the task's", unit='ticks',
          low=0, high=10_000_000),
    Param('thread_priority', 0, 'SCHED_FIFO priority of executor and middleware, if the user has '
          'the permission; 0: an ordinary process', low=0, high=99),
    Param('discovery_time', 0.5, 'time to look for another server on the same topics on configure',
          unit='s', low=0.0, high=60.0),
    Param('controller_time', 5.0, 'time to wait on activate for a controller that subscribes to '
          'command and, with use_sim_time, for a /clock that advances', unit='s', low=0.0,
          high=600.0),
)
"""Parameters of the policy server node."""
