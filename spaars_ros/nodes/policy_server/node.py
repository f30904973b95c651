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

"""Policy server node: newest observation to safe command, at the control rate."""

from collections.abc import Callable
from functools import partial
import time
import traceback
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.nodes.policy_server.arm_reset import ArmReset
from spaars_ros.nodes.policy_server.command_writer import CommandWriter
from spaars_ros.nodes.policy_server.cost_listener import CostListener
from spaars_ros.nodes.policy_server.exclusive import ExclusiveCommand
from spaars_ros.nodes.policy_server.intake import MAX_OFFER
from spaars_ros.nodes.policy_server.learner_listener import LearnerListener
from spaars_ros.nodes.policy_server.parameters import PARAMETERS
from spaars_ros.nodes.policy_server.parts import Parts
from spaars_ros.nodes.policy_server.people import People
from spaars_ros.nodes.policy_server.persistent_state import PersistentState
from spaars_ros.nodes.policy_server.replayer import StepReplayer
from spaars_ros.nodes.policy_server.reporter import ServerReporter
from spaars_ros.nodes.policy_server.responder import Responder
from spaars_ros.nodes.policy_server.services import ServerServices
from spaars_ros.nodes.policy_server.simulated_time import SimulatedTime
from spaars_ros.nodes.policy_server.source_gate import SourceGate
from spaars_ros.nodes.policy_server.state_silence import StateSilence
from spaars_ros.nodes.policy_server.step_log import StepLog
from spaars_ros.ros.borders import Border
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import decode_range
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.raw_take import LargeBytes
from spaars_ros.ros.sources.source_set import SourceSet
from spaars_ros.safety.monitors.monitors import Monitors
from spaars_ros.safety.stop import Stop
from spaars_ros.safety.stop import StopLatch
from spaars_ros.tasks.sources import sources_of


class PolicyServer(ManagedNode):
    """Subscribe to joint_states and learner/policy; publish command, step and status."""

    def __init__(self, **overrides: Any) -> None:
        super().__init__('policy_server', PARAMETERS, overrides=overrides)
        self._opened: list[Any] = []
        self._entities: list[Any] = []
        # One per process, not per activation: a latched stop survives lifecycle transitions.
        self._latch = StopLatch()
        self._memory: PersistentState | None = None
        self._exclusive = ExclusiveCommand(self)
        self._border = Border(self.get_logger())

    def configure(self) -> None:
        """Load robot, task, bundle and spool; raises as `Parts`."""
        p = self._values = self.values()
        self.take_priority(p['thread_priority'])
        self._sim_time = bool(self.get_parameter('use_sim_time').value)
        if p['trigger'] == 'joint_states' and not self._sim_time:
            self.get_logger().warning('trigger joint_states is for simulated time: where '
                                      'joint_states stay away the last command stands until they '
                                      'are stale')
        parts = Parts(p, self.get_logger(), self._opened,
                      partial(self._exclusive.refuse, own=0, wait=p['discovery_time']))
        self._robot, self._loop, self._spool = parts.robot, parts.loop, parts.spool
        self._file_writer, self._memory = parts.file_writer, parts.memory
        self._intake, self._bundle_manager = parts.intake, parts.bundle_manager
        self._reader = parts.reader
        self._open_topics()

    def _open_topics(self) -> None:
        p, make = self._values, self._entities.append
        self._writer = CommandWriter(
            self, self._robot, p['command_interface'] or self._robot.control.command_interface,
            self._loop.actuation.channels, mute=self._loop.guiding is not None)
        self._exclusive.commands = self._loop.guiding is None
        self._steps = self.create_publisher(Float64MultiArray, 'policy_server/step',
                                            QOS['policy_server/step'])
        self._log = StepLog(self._steps, self._spool, p['max_backlog'])
        self._reporter = ServerReporter(self, self._loop, self._latch, self._spool, self._intake,
                                        self._bundle_manager)
        self._replayer = StepReplayer(self._spool, self._log.publish)
        self._opened.append(self._replayer)
        for publisher in (*self._writer.publishers, self._steps, self._reporter.status,
                          self._reporter.diagnostics):
            make(publisher)
        if p['accept_bundles']:
            bundles = LargeBytes(
                self, 'learner/policy', QOS['learner/policy'], most=MAX_OFFER,
                take=self._intake.offer,
                refuse=lambda error: self._border.refuse('learner/policy', error))
            self._opened.append(bundles)
            make(bundles.subscription)
        make(self.create_subscription(
            Float64MultiArray, 'learner/fetch',
            self._border.guarded('learner/fetch', self._on_fetch), QOS['learner/fetch']))
        make(CostListener(self, self._on_cost, self._border).subscription)
        if p['learner'] == 'stop':
            make(LearnerListener(self, self._on_learner, self._border).subscription)
        self._people = People(self, self._loop, p, self._border, self._file_writer.put)
        self._entities.extend(self._people.made)
        services = ServerServices(self, self._bundle_manager, responder=lambda: self._responder,
                                  label=self._people.label,
                                  cause=lambda: self._exclusive.cause() or self._no_states()
                                  or self._writer.cause())
        self._entities.extend(services.made)
        self._watch_sources()
        make(self.create_subscription(JointState, 'joint_states', self._on_joint_states,
                                      QOS['joint_states']))
        self._simulated = SimulatedTime(self, self._on_held) if self._sim_time else None
        if self._simulated is not None:
            make(self._simulated.subscription)
            self._opened.append(self._simulated)
        self._reset: ArmReset | None = None
        if p['reset_service']:
            self._reset = ArmReset(self, p['reset_service'], timeout=p['reset_time'],
                                   done=lambda stamp: self._responder.on_reset_done(stamp),
                                   failed=lambda stop: self._responder.trip(stop))
            make(self._reset.client)

    def _watch_sources(self) -> None:
        """Subscribe to the sources of the task; raises ConfigError if that is impossible."""
        self._gate = SourceGate(self._values['trigger'] == 'joint_states',
                                lambda state, arrived: self._responder.on_state(state, arrived))
        self._sources = SourceSet(
            self, sources_of(self._loop.task), kinematics=self._loop.kinematics,
            tip=self._robot.tip, position=self._gate.position, simulated=self._sim_time,
            now=self._now_ns())
        self._gate.watch(self._sources)
        self._loop.read_sources = self._sources.samples
        self._entities.extend(self._sources.subscriptions)

    def activate(self) -> None:
        """Start acting at the next measured state; raises Refused."""
        self._exclusive.refuse(own=1, wait=0.0)
        p = self._values
        self._exclusive.refuse_unheard(p['controller_time'])
        self._writer.refuse_unheard(p['controller_time'])
        if self._simulated is not None:
            self._simulated.refuse_standing(p['controller_time'])
        self._sources.wait()
        self._responder = Responder(
            robot=self._robot, loop=self._loop, writer=self._writer, log=self._log,
            supervisor=Supervisor(self._robot, self._loop, self._latch, episodes=p['episodes'],
                                  service=bool(p['reset_service']), asking=self._people.asking()),
            monitors=Monitors(self._robot, self.values(), wall=not self._sim_time,
                            contact=self._loop.task.spec.contact),
            now=self._now_ns(), reporter=self._reporter, bundle_manager=self._bundle_manager,
            reset=self._reset, timed=p['trigger'] == 'timer', external=p['external_motion'],
            sources=self._sources)
        self._people.begin(self._responder.supervisor)
        self.settle()
        # A system clock that is set back stops its timers for this time, and simulated time may
        # stop: protection uses the steady clock.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._ticking = self.get_clock() if self._sim_time else steady
        self._timers_on = [
            self.create_timer(self._robot.period, self._on_timer, clock=self._ticking),
            self.create_timer(1.0, self._diagnose, clock=steady)]
        if self._simulated is not None:
            self._simulated.rest(True)
            self._timers_on.append(
                self.create_timer(self._robot.period, self._on_guard, clock=steady))
        self._silence = StateSilence(self, self._reader, p['joint_states_time'])
        self._reporter.announce(self._responder.supervisor.phase)

    def _now_ns(self) -> Callable[[], int]:
        """Return a fast function of the time in ns; rclpy takes 0.03 ms, three times per tick."""
        clock = self.get_clock()
        return (lambda: clock.now().nanoseconds) if self._sim_time else time.time_ns

    def deactivate(self) -> None:
        """Come to rest; the last command sent is zero."""
        try:
            for timer in self._timers_on:
                self.destroy_timer(timer)
            if self._simulated is not None:
                self._simulated.rest(False)
            self._responder.close_episode()
        except Exception:  # a record may be lost, but the arm must stop
            self.get_logger().error(f'no closing record: {traceback.format_exc()}')
        self._responder.sender.come_to_rest()
        for publisher in (self._writer.publisher, self._steps):
            publisher.wait_for_all_acked(Duration(seconds=0.5))
        self._reporter.announce(self._responder.supervisor.phase, 'not active')

    def changed(self, values: dict[str, Any]) -> None:
        """Apply cost limit and budget."""
        if self._memory is not None:
            self._memory.changed(values, self.values())
        if self.is_active and 'max_episode_cost' in values:
            self._responder.monitors.cost.limit = values['max_episode_cost']
        if self.is_active and 'budget' in values:
            self._loop.budget.mode = values['budget']

    def cleanup(self) -> None:
        """Close threads, spool and topics."""
        self._memory = None
        while self._opened:
            self._opened.pop().close()
        for entity in self._entities:
            for destroy in (self.destroy_publisher, self.destroy_subscription,
                            self.destroy_service, self.destroy_client):
                if destroy(entity):
                    break
        self._entities.clear()

    def _on_joint_states(self, msg: JointState) -> None:
        arrived = time.monotonic()
        if not self.is_active:
            return
        try:
            state = self._reader.read(msg)
        except CodecError as error:
            stamp = msg.header.stamp.sec * NANO + msg.header.stamp.nanosec
            self._responder.on_malformed(Stop(error.code, 0.0, 0.0, error.text), stamp)
        else:
            if state is None:
                self._responder.monitors.stamps.behind = ', '.join(self._reader.behind)
                return
            if self._responder.supervisor.phase is Phase.RESETTING:
                self._reader.forget()
            self._gate.on_state(state, arrived)

    def _on_cost(self, sequence: int, episode: int, costs: list[float]) -> None:
        if self.is_active and not self._responder.on_cost(sequence, episode, costs):
            self.get_logger().error(
                f'cost_monitor/cost ignored: step {sequence} of episode {episode} was never '
                'published', throttle_duration_sec=5.0)

    def _on_learner(self) -> None:
        if self.is_active:
            self._responder.monitors.learner.heard(time.monotonic())

    def _on_timer(self) -> None:
        begin = time.monotonic()
        if self._reset is not None:
            self._reset.check(begin)
        self._responder.on_period(begin, self._ticking.now().nanoseconds)

    def _on_guard(self) -> None:
        begin = time.monotonic()
        if self._reset is not None:
            self._reset.check(begin)
        self._responder.on_guard(begin)

    def _on_held(self, stamp: int) -> None:
        if self.is_active:
            self._responder.monitors.clock.hold(stamp)

    def _diagnose(self) -> None:
        # Also while active: two servers configured at the same time do not see each other.
        second = self._exclusive.cause() or self._writer.cause()
        if second is not None:
            self._responder.trip(second)
        self._responder.logbook.probe()
        silent = self._say_silence()
        if self._file_writer.error:
            self.get_logger().warning('what a restart needs is not on disk: '
                                      f'{self._file_writer.error}', throttle_duration_sec=10.0)
        monitors, memory = self._responder.monitors, self._memory
        self._reporter.diagnose(self._responder.supervisor.phase,
                                {**monitors.counts(), **self._border.values(),
                                 **self._sources.counts()},
                                monitors.cost.silence(time.monotonic()),
                                monitors.following.judge(),
                                [silent] if silent else memory.missed() if memory else [],
                                [*self._people.said(), *self._sources.warnings()])

    def _no_states(self) -> Stop | None:
        limit = self._values['joint_states_time']
        return None if self._responder.monitors.stamps.newest_ns is not None \
            else self._sources.absent(limit) if self._gate.position() is not None \
            else self._silence.cause()

    def _say_silence(self) -> str:
        """Report and return why joint_states or sources are missing; stop after the limit."""
        if self._responder.monitors.stamps.newest_ns is not None:
            return ''
        cause, text = self._no_states(), self._silence.text()
        if self._gate.position() is not None:
            text = self._sources.missing()
        if cause is not None:
            self._responder.trip(cause)
        elif text:
            self.get_logger().warning(text, throttle_duration_sec=5.0)
            self._reporter.announce(self._responder.supervisor.phase, text)
        return text

    def _on_fetch(self, msg: Float64MultiArray) -> None:
        if not self._replayer.request(*decode_range(msg)):
            self.get_logger().warning('learner/fetch: too many requests wait',
                                      throttle_duration_sec=5.0)


def main(args: list[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run_node(PolicyServer, args)


if __name__ == '__main__':
    raise SystemExit(main())
