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

"""Load generator: an arm that publishes joint_states at a fixed rate and times the answers."""

from collections.abc import Callable
import math
import time

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import Robot
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.ros.codecs import command_stamp
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.qos import QOS
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.base import Task


class LoadGenerator:
    """
    Publish joint_states at the control rate, and time from joint_states to command.

    The bare node gets the same message half a period later, so that both are timed in the same
    run under the same load. Stamps are nominal, as those of a controller. A slot that this process
    missed by more than half a period is skipped and counted in `skipped`.

    :param node: node in the namespace of the nodes under test
    :param slots: number of control periods
    """

    def __init__(self, node: Node, robot: Robot, task: Task, slots: int) -> None:
        self.period = robot.period
        self.joints = robot.joints
        self.hops = np.full(slots, np.nan)
        """(slots,) s, latency of the policy server; NaN: no answer."""
        self.bare_hops = np.full(slots, np.nan)
        """(slots,) s, latency of the bare node; NaN: no answer."""
        self.published = np.zeros(slots, dtype=bool)
        self.excused = np.zeros(slots, dtype=bool)
        """(slots,), slots during a reset, in which the server need not answer."""
        self.skipped = 0
        self.resets = 0
        self._arm = Arm(robot)
        self._task = task
        self._rng = np.random.default_rng(0)
        self._command = np.zeros(len(robot.joints))
        self._next = 0
        self._sent = 0.0
        self._bare_sent = 0.0
        self.stamp_0 = 0
        self._states = node.create_publisher(JointState, 'joint_states', QOS['joint_states'])
        self._bare = node.create_publisher(JointState, 'bare/joint_states', QOS['joint_states'])
        node.create_subscription(Float64MultiArray, 'command', self._on_command, QOS['command'])
        node.create_subscription(Float64MultiArray, 'bare/command', self._on_bare,
                                 QOS['command'])
        node.create_service(Trigger, 'sim/reset', self._on_reset)

    def run(self, executor: SingleThreadedExecutor,
            tend: Callable[[], None] = lambda: None) -> None:
        """
        Publish all slots on the wall clock; return after the last one.

        :param tend: called in every slot
        """
        # Stamps of the system clock, since the watchdog of the server compares them with it.
        self.stamp_0 = time.time_ns()
        start = time.perf_counter()
        for slot in range(len(self.hops)):
            due = start + slot * self.period
            tend()
            self._spin_until(executor, due)
            if time.perf_counter() - due > 0.5 * self.period:
                self.skipped += 1
                continue
            self._next = slot
            state = self._arm.state()
            message = encode_state(RobotState(
                self.stamp(slot), state.position, state.velocity, state.effort), self.joints)
            self.published[slot] = True
            self._sent = time.perf_counter()
            self._states.publish(message)
            self._spin_until(executor, due + 0.5 * self.period)
            self._bare_sent = time.perf_counter()
            self._bare.publish(message)
            self._spin_until(executor, due + 0.8 * self.period)
            self._arm.step(self._command)

    def stamp(self, slot: int) -> int:
        """Return the stamp of a slot in ns."""
        return self.stamp_0 + round(slot * self.period * 1e9)

    def slots_of(self, stamps: Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the slots (m,) of stamps (m,) in s."""
        return np.rint((stamps - self.stamp_0 * 1e-9) / self.period).astype(np.int64)

    @staticmethod
    def _spin_until(executor: SingleThreadedExecutor, until: float) -> None:
        while (left := until - time.perf_counter()) > 0.0:
            executor.spin_once(timeout_sec=left)

    def _slot(self, msg: Float64MultiArray) -> int | None:
        stamp = command_stamp(msg)
        if stamp is None:
            return None
        slot = round((stamp - self.stamp_0) * 1e-9 / self.period)
        return slot if 0 <= slot <= self._next else None

    def _on_command(self, msg: Float64MultiArray) -> None:
        now = time.perf_counter()
        slot = self._slot(msg)
        if slot is not None and math.isnan(self.hops[slot]):
            # An answer after the next state was sent is late by complete periods.
            self.hops[slot] = now - self._sent + (self._next - slot) * self.period
        self._command = np.asarray(msg.data, dtype=np.float64)

    def _on_bare(self, msg: Float64MultiArray) -> None:
        now = time.perf_counter()
        slot = self._slot(msg)
        if slot is not None:
            self.bare_hops[slot] = now - self._bare_sent + (self._next - slot) * self.period

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        """Place the arm at a start pose; its first state is that of the next slot."""
        self._arm.reset(sample_start(self._task.robot, self._task.settings.start_noise, self._rng))
        self._command = np.zeros_like(self._command)
        self.resets += 1
        self.excused[max(self._next - 1, 0):self._next + 1] = True
        response.success = True
        response.message = str(self.stamp(self._next + 1))
        return response
