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

"""Run `spaars check` on simulated arms over real nodes, with each wiring fault."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import re
import tempfile
from typing import Any

import numpy as np
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from benchmarks.tables import write_table
from spaars_ros.commissioning.check import need_timeout
from spaars_ros.commissioning.check import WiringNode
from spaars_ros.commissioning.simulated import simulated_arm
from spaars_ros.commissioning.simulated import TIMEOUT
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.ros.qos import QOS
from spaars_ros.run.domain import free_domain
from spaars_ros.sim.fault_table import DEFAULTS

ROBOTS = ('panda', 'ur5e', 'so101')
DEGREES = 57.2958
FAULTS: dict[str, tuple[str, dict[str, float], str]] = {
    'none': ('as the robot file says', {}, ''),
    'order': ("joints 2 and 4 obey each other's commands", {'swap': 2.0, 'swap_with': 4.0},
              'another order'),
    'sign': ('joint 3 moves against its command', {'flip': 3.0}, 'its sign is wrong'),
    'double': ('joint 1 moves twice as far', {'scale': 2.0, 'scale_joint': 1.0},
               'times as far as commanded'),
    'half': ('joint 5 moves half as far', {'scale': 0.5, 'scale_joint': 5.0},
             'times as far as commanded'),
    'degrees': ('the controller takes rad for degrees, the wrong way round', {'scale': DEGREES},
                'times as far as commanded'),
    'radians': ('the controller takes degrees', {'scale': 1.0 / DEGREES}, 'does not move'),
    'dead': ('joint 2 does not obey', {'scale': 0.0, 'scale_joint': 2.0}, 'does not move'),
    'nobody': ('commands get lost', {'command_drop': 1.0}, 'does not move'),
    'unsubscribed': ('nobody subscribes to command', {'unsubscribed': 1.0}, 'nobody subscribes'),
    'late': ('commands are obeyed 0.3 s late', {'command_delay': 0.3}, 'follows its command'),
    'no_timeout': ('the controller keeps the last command', {'command_timeout': 0.0},
                   'goes on without commands'),
    'pushed': ('something else moves joint 1', {'push': 0.1}, 'without a command'),
    'silent': ('no joint_states', {'drop': 1.0}, 'no joint_states of'),
    'frozen': ('joint_states that never change', {'frozen': 64.0}, 'does not move'),
    'velocity_zero': ('velocities of 0', {'velocity_zero': 1.0}, 'reports a velocity of'),
    'velocity_empty': ('no velocities', {'velocity_empty': 1.0}, 'no velocity'),
    'velocity_nan': ('velocities that are NaN', {'velocity_nan': 1.0}, 'no velocity'),
    'split': ('joint_states in two parts', {'split': 3.0}, ''),
    'gripper': ("a gripper's joints among them", {'gripper': 1.0}, ''),
}
"""Name -> text, parameters `fault.<name>` of the sim, expected message; '': passes."""
UNDER_POSITION_CONTROL = {
    # A position controller holds the arm at a position, or returns it there, with any wiring.
    'order': 'another order|the order of the joints is wrong', 'sign': 'sign', 'pushed': 'without',
}
"""Expected messages (regular expressions) for arms with position commands, if different."""
NOT_MODELLED = ('double', 'half', 'degrees', 'radians', 'late')
"""Faults of velocities in the simulation; a position controller corrects them or oscillates."""
DANGEROUS = 0.15
"""rad; no joint with unverified wiring may move this far."""


def run(names: Sequence[str] = ROBOTS, only: Sequence[str] = (),
        say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """
    Check each arm with each fault, in a separate ROS domain; return a row per check.

    :param names: robot files
    :param only: names of faults; empty: all
    :raises ValueError: unknown fault or robot
    """
    for name in only:
        if name not in FAULTS:
            raise ValueError(f'--fault {name}: known are {", ".join(FAULTS)}')
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', ROS_DOMAIN_ID=str(free_domain()))
    rows = []
    for name in names:
        robot = load_robot(name)
        with _arm(robot) as faulty:
            for fault in only or FAULTS:
                if fault in NOT_MODELLED and _takes_positions(robot):
                    continue
                row = {'robot': name, 'fault': fault, **faulty(fault)}
                rows.append(row)
                say(f'{name:10} {fault:14} {"right" if row["right"] else "WRONG"}  '
                    f'{row["furthest"]:.3f} rad  {row["said"]}')
    return rows


@contextmanager
def _arm(robot: Robot) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Run a simulated arm; yield a function that checks it with a fault."""
    keeper = WiringNode(robot)

    def call(kind: Any, name: str, request: Any) -> Any:
        client: Any = keeper.node.create_client(kind, name)
        client.wait_for_service(10.0)
        future = client.call_async(request)
        keeper.executor.spin_until_future_complete(future, 10.0)
        keeper.node.destroy_client(client)
        return future.result()

    def faulty(fault: str) -> dict[str, Any]:
        _, values, words = FAULTS[fault]
        if _takes_positions(robot):
            words = UNDER_POSITION_CONTROL.get(fault, words)
        # First reset the arm without a fault; then set the fault.
        for given in ({}, values):
            call(SetParameters, 'sim/set_parameters', SetParameters.Request(parameters=[
                Parameter(name, value=float(value)).to_parameter_msg()
                for name, value in _parameters(given).items()]))
            if given is not values:
                call(Trigger, 'sim/reset', Trigger.Request())
        return _checked(robot, words)
    try:
        with tempfile.TemporaryDirectory(prefix='spaars_wiring_') as folder, \
                simulated_arm(keeper, Path(folder), {}):
            yield faulty
    finally:
        keeper.close()


def _takes_positions(robot: Robot) -> bool:
    return robot.control.command_interface != 'forward_velocity'


def _parameters(faults: dict[str, float]) -> dict[str, float]:
    wanted = {**DEFAULTS, **faults}
    timeout = wanted.pop('command_timeout', TIMEOUT)
    return {**{f'fault.{name}': value for name, value in wanted.items()},
            'command_timeout': timeout}


def _checked(robot: Robot, words: str) -> dict[str, Any]:
    """Check the arm; return whether the check named the fault, and how far a joint moved."""
    checker = WiringNode(robot)
    seen: list[Any] = []
    checker.node.create_subscription(
        JointState, 'sim/state', lambda msg: seen.append(np.array(msg.position)),
        QOS['joint_states'])
    try:
        record = checker.run()
    finally:
        checker.close()
    need_timeout(record)
    places = np.array(seen) if seen else np.zeros((1, 1))
    furthest = float(np.abs(places - places[0]).max())
    said = '; '.join(record['faults'])
    named = record['passed'] if not words else bool(re.search(words, said))
    return {'named': named, 'furthest': furthest, 'passed': record['passed'],
            'right': bool(named and (not words or furthest < DANGEROUS)),
            'said': said or 'passed'}


def tabulate(rows: Sequence[dict[str, Any]]) -> Path:
    """Write the table of the documentation; return its file."""
    robots = list(dict.fromkeys(row['robot'] for row in rows))
    by_name = {(row['robot'], row['fault']): row for row in rows}
    cells = []
    for fault in dict.fromkeys(row['fault'] for row in rows):
        about, _, words = FAULTS[fault]
        found = [by_name[robot, fault] for robot in robots if (robot, fault) in by_name]
        cells.append([f'`{fault}`', about, f'"{words}"' if words else 'passes',
                      f'{sum(row["right"] for row in found)} of {len(found)}',
                      ', '.join(f'{row["furthest"]:.3f}' for row in found)])
    return write_table(
        'wiring', ['fault', 'what it is', 'what the check says', 'arms where it does',
                   f'furthest any joint moved, rad ({", ".join(robots)})'], cells,
        command='spaars bench wiring --tables', seeds=[],
        note=f'simulated arms over real nodes; right is the cause named and no joint moved by '
             f'{DANGEROUS} rad; a joint that is right moves by 0.05. An arm that takes positions '
             f'is tried without {", ".join(NOT_MODELLED)}, which the simulation makes of '
             'velocities')
