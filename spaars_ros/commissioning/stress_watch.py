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

"""Observer of a run from outside while a fault lasts."""

from dataclasses import dataclass
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.schema import Array
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.zones import distance
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.diagnostics import own_name
from spaars_ros.ros.diagnostics import printable
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.ros.qos import QOS

LOST = 3
"""Lost ticks since the fault began that count as detection; a busy machine loses one without
it."""
AT_REST = 0.01
"""rad/s; below this a joint counts as at rest."""
RISING = {'out_of_order': 1, 'bundles_refused': 1, 'motion_findings': 1, 'late_ticks': LOST,
          'overruns': LOST}
"""Counters of the server's diagnostics, and the increase that counts as detection."""


@dataclass(frozen=True)
class Sample:
    """True state of the arm at a time."""

    time: float
    """s, system clock."""
    position: Array
    velocity: Array


def seconds(stamp: Any) -> float:
    """Return a message's stamp in s."""
    return float(stamp.sec + 1e-9 * stamp.nanosec)


class StressWatch:
    """
    Observe the true state, the server's status, all diagnostics, steps and progress.

    Times are those of the messages' stamps, on the system clock, because this process may be late.

    :param node: in the namespace of the run
    :param robot: the robot file
    """

    def __init__(self, node: Node, robot: Robot) -> None:
        self.samples: list[Sample] = []
        self.code = ''
        """The stop that the server has latched; '' while it has none."""
        self.phase = ''
        self.newest = -1
        """Sequence number of the newest step seen."""
        self.index = -1
        """Its index in its episode."""
        self.step_stamp = 0.0
        """s, system clock, stamp of its state."""
        self.step_message: Float64MultiArray | None = None
        """Message of the newest step."""
        self.received = -1
        self._since = 0.0
        self._detected: tuple[float, str] | None = None
        self._stop_seen = False
        self._counters: dict[str, float] = {}
        self._counters_before: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._said_before: dict[str, str] = {}
        self._lost_ticks = self._lost_before = 0.0
        self._namespace = node.get_namespace()
        self._robot = robot
        self._kinematics = Kinematics(robot)
        self._low, self._high = np.asarray(robot.limits.position).T
        self._fastest = np.asarray(robot.limits.velocity)
        self.border = Border(node.get_logger())
        self._steps = StepReader(joints=len(robot.joints))
        self._progress = TopicReader('learner/progress', needs=('received',))
        self._states = JointStateReader(robot.joints, effort=False)
        for kind, topic, take, quality in (
                (JointState, 'sim/state', self._on_state, 'joint_states'),
                (DiagnosticArray, 'policy_server/status', self._on_status, ''),
                (DiagnosticArray, '/diagnostics', self._on_diagnostics, ''),
                (Float64MultiArray, 'policy_server/step', self._on_step, ''),
                (Float64MultiArray, 'learner/progress', self._on_progress, '')):
            node.create_subscription(kind, topic, self.border.guarded(topic, take),
                                     QOS[quality or topic])

    def begin(self) -> None:
        """Start to observe a fault: discard samples, and remember the present counters."""
        self.samples.clear()
        self._since = time.time()
        self._detected, self._stop_seen = None, False
        self._lost_before = self._lost_ticks
        self._said_before, self._counters_before = dict(self._said), dict(self._counters)

    def detect(self, what: str, at: float | None = None, stop: bool = False) -> None:
        """
        Note what detected the fault; the first detection counts, but a stop has precedence.

        :param what: text for the row
        :param at: s on the system clock; None: now
        :param stop: whether it is a stop
        """
        after = (time.time() if at is None else at) - self._since
        if self._since and after >= 0.0 and not self._stop_seen \
                and (stop or self._detected is None):
            self._detected, self._stop_seen = (after, what), stop

    @property
    def detected(self) -> tuple[float | None, str]:
        """Return s from the fault to its detection, or None, and what detected it."""
        return self._detected if self._detected is not None else (None, '')

    @property
    def follows(self) -> bool:
        """Return whether no warning about the arm's motion is active, as after a fault."""
        return not any('the arm moves' in warning for warning in self._said.values())

    @property
    def speed(self) -> float:
        """Return the largest joint speed at present, rad/s."""
        return float(np.abs(self.samples[-1].velocity).max()) if self.samples else 0.0

    @property
    def stopped(self) -> float | None:
        """Return s from the start of the fault until the arm's lasting rest, or None."""
        at = None
        for sample in self.samples:
            if np.abs(sample.velocity).max() >= AT_REST:
                at = None
            elif at is None:
                at = sample.time - self._since
        return at

    @property
    def rested(self) -> float:
        """Return for how long the arm has been at rest under a latched stop, s; 0 without."""
        at = self.stopped if self.code else None
        return 0.0 if at is None else self.samples[-1].time - self._since - at

    def replace_samples(self, rows: Array) -> None:
        """Replace the samples by rows (m, 1 + 2 d) of StateLog since the fault began."""
        joints = len(self._robot.joints)
        self.samples = [Sample(float(row[0]), row[1:1 + joints], row[1 + joints:])
                        for row in rows if row[0] >= self._since]

    def margins(self) -> dict[str, float | None]:
        """
        Return the least distance to joint limits (rad) and of the tip to keep-out zones (m).

        The key speed is the greatest speed of a joint, as a share of its limit. A value is None
        where there is no sample or no zone.
        """
        if not self.samples:
            return {'joint': None, 'zone': None, 'speed': None}
        positions = np.stack([sample.position for sample in self.samples])
        room = np.minimum(positions - self._low, self._high - positions)
        tips = np.stack([self._kinematics.tip(position) for position in positions])
        clearance = distance(self._robot.keep_out, tips)
        return {'joint': float(room.min()),
                'zone': float(clearance.min()) if np.isfinite(clearance).any() else None,
                'speed': float(max((np.abs(sample.velocity) / self._fastest).max()
                                   for sample in self.samples))}

    def _on_state(self, msg: JointState) -> None:
        state = self._states.read(msg)
        if state is not None:
            self.samples.append(Sample(seconds(msg.header.stamp), state.position, state.velocity))

    def _on_status(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            values = values_of(status)
            self.code, self.phase = values.get('code', ''), values.get('phase', '')
            if self.code:
                self.detect(f'stop {self.code}', seconds(msg.header.stamp), stop=True)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        at = seconds(msg.header.stamp)
        for status in msg.status:
            name = own_name(self._namespace, status.name)
            if not name:
                continue  # another run's
            for key, text in values_of(status).items():
                if key in RISING and text.isascii() and text.isdigit():
                    self._counters[key] = float(text)
                    risen = float(text) - self._counters_before.get(key, 0.0)
                    if risen >= RISING[key]:
                        self.detect(f'diagnostics: {key} {risen:+g}', at)
            warning = printable(status.message) if status.level > b'\x00' else ''
            self._said[name] = warning
            # A warning from before the fault has another cause, and a warning of an episode's cost
            # is no detection of a fault.
            if warning and not name.startswith('cost_monitor') \
                    and warning != self._said_before.get(name):
                self.detect(f'diagnostics of {name.split(":")[0]}: {warning}', at)

    def _on_step(self, msg: Float64MultiArray) -> None:
        schema, row = self._steps.read(msg)
        fields = schema.view(row)
        if int(fields['sequence']) <= self.newest:
            return
        self.newest, self.index = int(fields['sequence']), int(fields['index'])
        self.step_message = msg
        self.step_stamp = float(fields['stamp'])
        self._lost_ticks = float(fields['lost_ticks'])
        if self._lost_ticks >= self._lost_before + LOST:
            self.detect(f'step: lost_ticks {self._lost_ticks - self._lost_before:+g}',
                        self.step_stamp)

    def _on_progress(self, msg: Float64MultiArray) -> None:
        self.received = int(self._progress.read(msg)['received'][0])
