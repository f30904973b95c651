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

"""Observer of a run's topics for the conductor and the live view."""

from collections import deque
from collections.abc import Callable
import os
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Float64MultiArray

from spaars_ros.constraints.run_watch import RunWatch
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import PHASES
from spaars_ros.data.schema import StepSchema
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.diagnostics import ERROR
from spaars_ros.ros.diagnostics import own_name
from spaars_ros.ros.diagnostics import printable
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import STOPPED
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.scoring import episodes_from_steps

LATENCIES = 400
"""Ticks over which the percentiles of the loop latency are computed."""
PROGRESS = ('received', 'recorded', 'updates', 'owed', 'phase', 'bundle_version')
ORDER = ('sequence', 'episode', 'index', 'stamp')
MULTIPLIER = ('multiplier', 'limit')
PAUSED = 'learning is paused, steps are recorded; continue with: spaars resume'


def reset_command(namespace: str) -> str:
    """Return the hint with the command that clears a stop of this run from any terminal."""
    place = namespace.strip('/')
    return (f'continue with: spaars reset --domain {os.environ.get("ROS_DOMAIN_ID") or 0}'
            + (f' --namespace {place}' if place else ''))


class RunObserver:
    """
    Subscriber to steps, progress, multipliers and status that keeps a LiveState up to date.

    Lost messages do no harm: the report is made from the recording.
    """

    def __init__(self, node: Node, task: Task, state: LiveState, *,
                 steps: QoSProfile | None = None,
                 seen: Callable[[StepSchema, Array], None] | None = None) -> None:
        """
        Subscribe to the topics of a run.

        :param steps: QoS profile for step records that may lose some; an episode with a missing
            record is then not scored. None: the profile of the topic
        :param seen: called with schema and row of each new record
        """
        self.state = state
        self.unscored = 0
        """Number of episodes not scored, because a record was missing."""
        self._lossy, self._seen = steps is not None, seen
        self.stop = ''
        """Message of the policy server's latched stop, '' for none."""
        self.stopped_at = 0.0
        self.budget_done = False
        self.asking = ''
        """Manual reset that the run waits for, '' for none."""
        self.next_sequence = 0
        self.steps: int | None = None
        """Number of records made according to the server's status, None when it gives none."""
        self.received = 0
        self.recorded = 0
        self.pushed = 0
        """Version of the newest bundle of the learner."""
        self.learner_hears = False
        """Whether the learner has found the policy server."""
        self.learner_fault = False
        """Whether the learner reports that it has stopped learning."""
        self.learner_words = ''
        """Reason of the fault from the learner's diagnostics, '' until they give one."""
        self.faulted_at = 0.0
        self.heard_learner = 0.0
        self.heard: dict[str, float] = {}
        """Node -> time of its last message, s on the monotonic clock."""
        self.heard_step = 0.0
        self._task = task
        self._namespace = node.get_namespace()
        self._remedy = reset_command(self._namespace)
        """Hint with the command that clears a stop once its cause is gone."""
        self._schema: StepSchema | None = None
        self._rows: list[Any] = []
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self.border = Border()
        self._steps = StepReader()
        self._order = RunWatch()
        self._progress = TopicReader('learner/progress', needs=PROGRESS)
        self._multipliers = TopicReader('cost_monitor/multiplier', needs=MULTIPLIER)
        for kind, topic, take in (
                (Float64MultiArray, 'policy_server/step', self._on_step),
                (Float64MultiArray, 'learner/progress', self._on_progress),
                (Float64MultiArray, 'cost_monitor/multiplier', self._on_multiplier),
                (DiagnosticArray, 'policy_server/status', self._on_status),
                (DiagnosticArray, '/diagnostics', self._on_diagnostics)):
            profile = steps if steps is not None and topic == 'policy_server/step' else QOS[topic]
            node.create_subscription(kind, topic, self._guarded(topic, take), profile)

    @property
    def learner_done(self) -> bool:
        """Return whether the learner has received every step and owes no update."""
        return self.received >= (self.next_sequence if self.steps is None else self.steps) \
            and self.state.owed == 0

    def _on_step(self, msg: Float64MultiArray) -> None:
        self._schema, row = self._steps.read(msg)
        get, state = self._schema.get, self.state
        sequence = int(get(row, 'sequence'))
        if sequence < self.next_sequence or not self._order.take(
                {name: float(get(row, name)) for name in ORDER}):
            return  # resent for a learner that missed it, or an implausible number
        self.next_sequence = sequence + 1
        if not self.heard_step:
            state.started = time.monotonic()  # exclude the start of the nodes from the pace
        self.heard_step = time.monotonic()
        if self._rows and get(row, 'episode') != get(self._rows[0], 'episode'):
            self._rows.clear()
        self._rows.append(row)
        self._latencies.append(float(get(row, 'latency')))
        state.lost_ticks = int(get(row, 'lost_ticks'))
        state.bundle_version = int(get(row, 'bundle_version'))
        if self._seen is not None:
            self._seen(self._schema, row)
        if get(row, 'flag'):
            self._close_episode()
        else:
            state.step += 1

    def _close_episode(self) -> None:
        assert self._schema is not None
        rows = np.stack(self._rows)
        self._rows.clear()
        state = self.state
        if self._lossy and not np.array_equal(self._schema.get(rows, 'index'),
                                              np.arange(len(rows))):
            self.unscored += 1
            return
        for episode in episodes_from_steps(self._schema, rows, self._task):
            episode['multiplier'] = state.multiplier
            state.interventions += episode['interventions']
            state.episodes.append(episode)
        p50, p99 = np.percentile(self._latencies, (50, 99))
        state.latency_p50_ms, state.latency_p99_ms = 1e3 * float(p50), 1e3 * float(p99)

    def _guarded(self, topic: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
        refused = self.border.refused

        def call(msg: Any) -> None:
            before = refused[topic]
            guarded(msg)
            if refused[topic] > before:
                self.state.message = self.border.last
        guarded = self.border.guarded(topic, take)
        return call

    def _on_progress(self, msg: Float64MultiArray) -> None:
        fields = self._progress.read(msg)
        self.heard_learner = self.heard['learner'] = time.monotonic()
        self.received, self.recorded = int(fields['received'][0]), int(fields['recorded'][0])
        self.pushed = int(fields['bundle_version'][0])
        self.state.updates, self.state.owed = int(fields['updates'][0]), int(fields['owed'][0])
        fault = bool(fields.get('fault', (0.0,))[0])
        if fault and not self.learner_fault:
            # Earlier diagnostics may be about something else.
            self.faulted_at, self.learner_words = self.heard_learner, ''
        self.learner_fault = fault
        self._take_pause(bool(fields.get('paused', (0.0,))[0]))
        if self.state.phase in ('starting', *PHASES):
            self.state.phase = PHASES[min(max(int(fields['phase'][0]), 0), 2)]

    def _take_pause(self, paused: bool) -> None:
        if paused != self.state.paused:
            self.state.paused = paused
            self.state.message = PAUSED if paused else 'learning continues'

    def _on_multiplier(self, msg: Float64MultiArray) -> None:
        fields = self._multipliers.read(msg)
        if len(fields['multiplier']):
            self.state.multiplier = float(fields['multiplier'][0])
            self.state.limit = float(fields['limit'][0])

    def _on_status(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            values = values_of(status)
            code, steps = values.get('code', ''), values.get('steps', '')
            self.steps = int(steps) if steps.isascii() and steps.isdigit() else None
            self.budget_done = code == 'BUDGET_DONE'
            stop = '' if code in ('', 'BUDGET_DONE') else printable(status.message)
            if stop and not self.stop:
                self.stopped_at = time.monotonic()
            self.stop = stop
            asks = values.get('phase') == 'ASKING' and not stop
            self.asking = printable(status.message) if asks else ''
            self.state.message = f'{STOPPED}{stop}; {self._remedy}' if stop else self.asking

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            name = own_name(self._namespace, status.name)
            if not name:
                continue  # of another run
            node = name.partition(':')[0]
            self.heard[node] = time.monotonic()
            if node == 'learner':
                self.learner_hears = values_of(status).get('policy_server') == 'heard'
            if self.learner_fault and node == 'learner' and status.level == ERROR:
                self.learner_words = printable(status.message)
            if not self.stop and status.level > b'\x00' \
                    and node in ('learner', 'cost_monitor', 'policy_server', 'encoder'):
                self.state.message = printable(f'{name}: {status.message}')
