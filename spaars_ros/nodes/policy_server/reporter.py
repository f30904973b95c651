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

"""Reports of the policy server: status on change, diagnostics once per second."""

from collections.abc import Mapping
from collections.abc import Sequence
import math
import time

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.control import ControlLoop
from spaars_ros.control.supervisor import Phase
from spaars_ros.data.spool import Spool
from spaars_ros.nodes.policy_server.intake import BundleIntake
from spaars_ros.ros import diagnostics
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.monitors.following import Followed
from spaars_ros.safety.stop import Stop
from spaars_ros.safety.stop import StopLatch


class ServerReporter:
    """Publish `policy_server/status` (latched) and `/diagnostics`."""

    def __init__(self, node: Node, loop: ControlLoop, latch: StopLatch, spool: Spool,
                 intake: BundleIntake, bundle_manager: BundleManager) -> None:
        self._node = node
        self._loop = loop
        self._latch = latch
        self._spool = spool
        self._intake = intake
        self._bundle_manager = bundle_manager
        self.status = node.create_publisher(DiagnosticArray, 'policy_server/status',
                                            QOS['policy_server/status'])
        self.diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics',
                                                 QOS['/diagnostics'])
        self.loop_statistics = diagnostics.LoopStatistics()
        self._learner_topic = node.resolve_topic_name('learner/policy')
        self._learner_seen = False
        self._reported: tuple[object, ...] | None = None
        self._version = -1
        self._swapped = time.monotonic()

    def announce(self, phase: Phase, message: str = '') -> None:
        """Publish the status if it has changed; log a new stop."""
        stop, version = self._latch.stop, self._loop.runtime.manifest.version
        taken_back = self._bundle_manager.rolled_back_from
        now = (stop, phase, version, taken_back, message)
        if now == self._reported:
            return
        if stop is not None and (self._reported is None or self._reported[0] != stop):
            self._node.get_logger().error(f'stop {stop}')
        if version != self._version:
            self._version, self._swapped = version, time.monotonic()
        self._reported = now
        code = stop.code if stop else 'BUDGET_DONE' if phase is Phase.DONE else ''
        values: dict[str, object] = {'code': code, 'phase': phase.name,
                                     'episode': self._loop.episode, 'bundle_version': version,
                                     'steps': self._loop.records.sequence}
        if taken_back >= 0:
            values['rolled_back_from'] = taken_back
        if stop:
            values.update(value=stop.value, threshold=stop.threshold, text=stop.text)
        level = diagnostics.ERROR if stop else diagnostics.OK
        self._send(self.status, diagnostics.status(
            'policy_server', level, str(stop) if stop else message or phase.value, **values))

    def diagnose(self, phase: Phase, counts: Mapping[str, object], silence: Stop | None,
                 followed: Followed | None, missed: Sequence[str],
                 people: Sequence[str] = ()) -> None:
        """
        Publish rate, latency, bundle, learner, spool, monitors and filter counts.

        :param counts: counters of the monitors and of refused messages
        :param silence: stop or warning because the cost monitor is silent; None if it is not
        :param followed: how the arm follows its commands; None if unknown
        :param missed: texts about missing states or sources, or bounds lost on a restart
        :param people: messages to people
        """
        while self._intake.refusals:
            self._node.get_logger().warning(f'bundle refused: {self._intake.refusals.pop(0)}')
        learner = self._node.count_publishers(self._learner_topic) > 0
        self._learner_seen |= learner
        version, stop = self._loop.runtime.manifest.version, self._latch.stop
        level, message = diagnostics.OK, phase.value
        if stop is not None:
            level, message = diagnostics.ERROR, str(stop)
        elif self._spool.error:
            level, message = diagnostics.WARN, f'spool: {self._spool.error}'
        elif people:
            level, message = diagnostics.WARN, people[0]
        elif silence is not None:
            level, message = diagnostics.WARN, str(silence)
        elif missed:
            level, message = diagnostics.WARN, '; '.join(missed)
        elif followed is not None and followed.warning:
            level, message = diagnostics.WARN, followed.warning
        elif self._learner_seen and not learner:
            level, message = diagnostics.WARN, f'learner gone: running bundle version {version}'
        elif self._bundle_manager.rolled_back_from > version:
            level = diagnostics.WARN
            message = (f'rolled back from version {self._bundle_manager.rolled_back_from} to '
                       f'{version}, as policy_server/rollback asked')
        elif self._intake.last_refusal:
            level, message = diagnostics.WARN, f'bundle refused: {self._intake.last_refusal}'
        self._send(self.diagnostics, diagnostics.status(
            diagnostics.full_name(self._node.get_namespace(), 'policy_server: control loop'),
            level, message, **self.loop_statistics.values(),
            lost_ticks=self._loop.records.lost_ticks, episode=self._loop.episode, phase=phase.name,
            stop=stop.code if stop else '', bundle_version=version,
            bundle_age_s=time.monotonic() - self._swapped,
            bundles_accepted=self._intake.accepted, bundles_refused=self._intake.refused,
            bundles_promoted=self._bundle_manager.promoted,
            shadow_version=self._bundle_manager.shadow_version,
            parent_version=self._bundle_manager.parent_version,
            rolled_back_from=self._bundle_manager.rolled_back_from,
            held_ticks=self._bundle_manager.held,
            refusal=self._intake.last_refusal, learner_connected=learner,
            people='; '.join(people), spool_backlog=self._spool.backlog,
            spool_error=self._spool.error or '',
            cost_monitor='' if silence is None else str(silence),
            arm_late_periods='' if followed is None or math.isnan(followed.most)
            else f'{followed.least:g} to {followed.most:g}',
            arm_error='' if followed is None else round(followed.error, 3), **counts,
            **self._loop.filter.counts))

    def _send(self, publisher: object, one: DiagnosticStatus) -> None:
        stamp = self._node.get_clock().now().to_msg()
        publisher.publish(  # type: ignore[attr-defined]
            diagnostics.diagnostic_array(stamp, [one]))
