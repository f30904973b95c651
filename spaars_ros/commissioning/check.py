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

"""Wiring check over topics: read the arm's states, and drive it through `WiringCheck`."""

from datetime import datetime
from datetime import timezone
import math
from pathlib import Path
import tempfile
import time
from typing import Any
from typing import Protocol

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState

from spaars_ros.commissioning.controller import controller_faults
from spaars_ros.commissioning.wiring import WiringCheck
from spaars_ros.data.schema import Array
from spaars_ros.nodes.policy_server.command_writer import CommandWriter
from spaars_ros.robot.config import Robot
from spaars_ros.ros.qos import QOS
from spaars_ros.run.check_record import robot_digest

FIRST_STATE = 5.0
"""s until all joints have reported, and until a controller subscribes."""
SILENT = 0.5
"""s without joint_states that end the check."""
LEAD = 0.05
"""rad that a position command may be ahead of the arm: as far as a joint is moved on purpose."""

QUESTION = ('Each joint of {name} will move by 0.05 rad and back, one after the other, at no more '
            'than 0.1 rad/s.\nIs its surrounding free, and are you at the emergency stop?')


class Motion(Protocol):
    """Source of commands for an arm, one command per measurement."""

    done: bool
    astray: bool
    """Whether the arm just moved differently from its command."""

    def tick(self, position: Array, velocity: Array, now: float) -> Array | None:
        """
        Return the command (d,) rad/s after a measurement; None sends nothing.

        :param position: (d,) rad
        :param velocity: (d,) rad/s as reported, NaN where it is not
        :param now: s on a steady clock
        """


class WiringNode:
    """
    Separate node of the check: joint_states in, command out.

    :param robot: the robot file
    :param namespace: of the node
    :param interface: command interface; '' takes the robot file's
    :param remappings: pairs of topic names
    """

    def __init__(self, robot: Robot, *, namespace: str = '', interface: str = '',
                 remappings: tuple[tuple[str, str], ...] = ()) -> None:
        self.robot = robot
        self.interface = interface or robot.control.command_interface
        self._context = rclpy.Context()
        renamed = [part for source, target in remappings for part in ('-r', f'{source}:={target}')]
        rclpy.init(args=['--ros-args', '--disable-external-lib-logs', *renamed],
                   context=self._context,
                   signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node('wiring_check', namespace=namespace, context=self._context)
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)
        size = len(robot.joints)
        self._place = {name: number for number, name in enumerate(robot.joints)}
        self._position, self._velocity, self._effort = (np.full(size, np.nan) for _ in range(3))
        self._messages = 0
        self._stamp, self._heard = 0, np.full(size, -math.inf)
        self.node.create_subscription(JointState, 'joint_states', self._on_state,
                                      QOS['joint_states'])
        self._writer: CommandWriter | None = None

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def run(self) -> dict[str, Any]:
        """Check, and return the record of the check; the last command sent is zero."""
        check = WiringCheck(self.robot)
        faults = self.move(check)
        effort = bool(np.isfinite(self._effort).all())
        if not faults and not effort and any(
                'torque' in constraint.terms for constraint in self.robot.constraints):
            faults = ['joint_states has no effort for every joint, and a constraint of the robot '
                      'file has the term torque']
        joints = [each.as_dict() for each in check.results]
        faults += check.faults
        faults += [f'{each.joint} {text}' for each in check.results for text in each.faults]
        return {'robot': self.robot.name, 'digest': robot_digest(self.robot),
                'when': datetime.now(timezone.utc).isoformat(timespec='seconds'),
                'passed': check.done and not faults, 'faults': faults, 'joints': joints,
                'timeout': check.timeout, 'timeout_planned': self.robot.control.timeout,
                'effort_reported': effort, 'interface': self.interface}

    @property
    def position(self) -> Array:
        """Return the newest measured position (d,) rad."""
        return self._position.copy()

    def move(self, motion: Motion) -> list[str]:
        """Drive the arm by a motion until it is done; return the faults found around it."""
        faults = self.wait_for_states() or self._before_motion()
        if faults:
            return faults
        try:
            return self._drive(motion)
        finally:
            self._rest()

    def wait_for_states(self) -> list[str]:
        """Wait until every joint has reported, or time is up; return faults of joint_states."""
        states = self.node.resolve_topic_name('joint_states')
        self._spin_until(lambda: bool(np.isfinite(self._heard).all()))
        missing = [name for name, number in self._place.items()
                   if not math.isfinite(self._heard[number])]
        if missing:
            count = self.node.count_publishers(states)
            return [f'no joint_states of {", ".join(missing)} within {FIRST_STATE:.0f} s on '
                    f'{states} (best effort, volatile), which {count} node(s) publish']
        odd = [name for name, number in self._place.items()
               if not math.isfinite(self._position[number])]
        return [f'the position of {", ".join(odd)} on {states} is not a finite number'] \
            if odd else []

    def _before_motion(self) -> list[str]:
        """Return the faults found before the first command."""
        command = self.node.resolve_topic_name('command')
        if not self._spin_until(lambda: not self.node.count_publishers(command)):
            return [f'{self.node.count_publishers(command)} other node(s) publish on {command}: '
                    'end them first']
        self._writer = CommandWriter(self.node, self.robot, self.interface, lead=LEAD)
        self._writer.start()
        if not self._spin_until(lambda: self.node.count_subscribers(command) > 0):
            return [f'nobody subscribes to {command}: is the controller active, and is this its '
                    'topic?']
        return controller_faults(self.node, command, self.robot.joints, self.interface,
                                 self._spin_until)

    def _drive(self, motion: Motion) -> list[str]:
        assert self._writer is not None
        period, due, ticks = self.robot.period, time.monotonic(), 0
        while True:
            due = max(due + period, time.monotonic())
            self._spin_until_due(due, fresh=motion.astray and self._holds_places)
            now, ticks = time.monotonic(), ticks + 1
            if now - self._heard.min() > SILENT:
                return [f'joint_states stayed away for {SILENT} s']
            if not np.isfinite(self._position).all():
                return ['a position on joint_states is not a finite number']
            # A position command advances by nominal periods, however long they last.
            clock = now if self.interface == 'forward_velocity' else ticks * period
            command = motion.tick(self._position.copy(), self._velocity.copy(), clock)
            if motion.astray:
                self._writer.start()  # position commands restart from the arm's position
            if command is not None:
                self._writer.send(command, self._position, self._stamp)
            if motion.done:
                return []

    def _rest(self) -> None:
        if self._writer is not None and np.isfinite(self._position).all():
            for _ in range(3):
                # A position command starts from the arm's actual position, not from the commanded
                # one.
                self._spin_until_due(time.monotonic() + self.robot.period,
                                     fresh=self._holds_places)
                self._writer.start()
                self._writer.send(np.zeros(len(self._place)), self._position, self._stamp)

    @property
    def _holds_places(self) -> bool:
        return self.interface != 'forward_velocity'

    def _spin_until_due(self, due: float, *, fresh: bool) -> None:
        """
        Handle callbacks until `due`, s on the monotonic clock.

        :param fresh: return as soon as a state arrives. A position that is a period old is not the
            place to stay: an arm sent back to it overshoots.
        """
        heard = self._messages
        while (left := due - time.monotonic()) > 0.0 and not (fresh and self._messages > heard):
            self.executor.spin_once(timeout_sec=left)

    def _spin_until(self, true: Any) -> bool:
        end = time.monotonic() + FIRST_STATE
        while not true() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
        return bool(true())

    def _on_state(self, msg: JointState) -> None:
        self._stamp = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        self._messages += 1
        now = time.monotonic()
        for index, name in enumerate(msg.name):
            place = self._place.get(name)
            if place is None or index >= len(msg.position):
                continue
            self._position[place], self._heard[place] = msg.position[index], now
            self._velocity[place] = (msg.velocity[index] if index < len(msg.velocity)
                                     else math.nan)
            self._effort[place] = msg.effort[index] if index < len(msg.effort) else math.nan


def need_timeout(record: dict[str, Any]) -> None:
    """Add a fault to a record whose controller continues without commands."""
    tried = any(each['scale'] is not None and not each['faults'] for each in record['joints'])
    if tried and record['timeout'] is None:
        record['faults'].append(
            'the controller goes on without commands: give it a timeout of a few control periods '
            '(docs/concepts/safety.md), or accept it with --accept-no-timeout')
        record['passed'] = False


def check_wiring(robot: Robot, *, sim: bool, timeout_needed: bool = True, faults: Any = None,
                **node: Any) -> dict[str, Any]:
    """
    Run the check, on the simulated arm or on the present robot; return its record.

    :param robot: the robot file
    :param sim: whether to check the simulated arm
    :param timeout_needed: whether a controller without a timeout is a fault
    :param faults: parameters of the sim
    :param node: arguments of `WiringNode`
    """
    from spaars_ros.commissioning.simulated import simulated_arm
    if sim:
        with tempfile.TemporaryDirectory(prefix='spaars_check_') as folder:
            checker = WiringNode(robot, **node)
            try:
                with simulated_arm(checker, Path(folder), faults or {}):
                    record = checker.run()
            finally:
                checker.close()
    else:
        checker = WiringNode(robot, **node)
        try:
            record = checker.run()
        finally:
            checker.close()
    if timeout_needed:
        need_timeout(record)
    record['simulated'] = sim
    return record


def lines_of(record: dict[str, Any]) -> list[str]:
    """Return a record as a table for people."""
    lines = [f'{"joint":24} {"scale":>7} {"delay":>7}  result']
    for each in record['joints']:
        scale, delay = ('-' if each[key] is None else f'{each[key]:.2f}{unit}'
                        for key, unit in (('scale', ''), ('delay', ' s')))
        state = '; '.join(each['faults']) or ('right' if each['scale'] is not None
                                              else 'not tried')
        lines.append(f'{each["joint"]:24} {scale:>7} {delay:>7}  {state}')
    timeout = record['timeout']
    lines.append('without commands: ' + (
        'keeps moving, or not tried' if timeout is None
        else f'at rest after {timeout:.2f} s'))
    planned = record.get('timeout_planned', 0.0)
    if timeout is not None and timeout > planned:
        lines.append(f'control.timeout in the robot file is {planned:g}: with {timeout:.2f} the '
                     'filter leaves room for a last command that stands so long')
    listed = {f'{each["joint"]} {text}' for each in record['joints'] for text in each['faults']}
    lines += [f'fault: {text}' for text in record['faults'] if text not in listed]
    return [*lines, 'passed' if record['passed'] else 'FAILED: the arm is not to be run like this']
