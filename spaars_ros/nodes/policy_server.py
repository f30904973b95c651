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

"""The policy server: newest observation to safe command, at the control rate."""

from functools import partial
import gc
from pathlib import Path
import time
import traceback
from typing import Any

from rclpy.client import Client
from rclpy.duration import Duration
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import Trigger

from spaars_ros.config import load_robot
from spaars_ros.config import load_task
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.control import ControlLoop
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import JointStateReader
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.commands import CommandWriter
from spaars_ros.ros.intake import BundleIntake
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.replayer import StepReplayer
from spaars_ros.ros.reporter import ServerReporter
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.stop import Stop
from spaars_ros.safety.stop import StopLatch
from spaars_ros.safety.supervisor import Phase
from spaars_ros.safety.supervisor import Supervisor
from spaars_ros.safety.watchdog import Order
from spaars_ros.safety.watchdog import Watchdog
from spaars_ros.sim.tasks import ReachTask

RESET_TIMEOUT = 10.0  # s of wall time for the reset service to answer
EARLY = 0.9  # of a period: joint_states that come sooner make no tick
LATE = 1.5  # periods without an answer after which a stopped server brakes by itself
BRAKING_TIME = 2.0  # s: bound of the braking profile on deactivate

PARAMETERS = ParameterTable(
    Param('robot', 'panda', 'robot file: a path, or the name of one that ships'),
    Param('task', 'reach', 'task file: a path, or the name of one that ships'),
    Param('bundle', '', 'policy bundle to start with: a file'),
    Param('run_dir', 'runs/latest', 'run folder; the spool of step records is in it'),
    Param('seed', 0, 'seed of goals and exploration noise', low=0, high=2**31),
    Param('trigger', 'timer', 'what makes a tick: a timer at the control rate, or the arrival '
          'of joint_states', choices=('timer', 'joint_states')),
    Param('command_interface', '', "what `command` carries; '' takes the robot file's",
          choices=('', 'forward_velocity', 'forward_position', 'joint_trajectory')),
    Param('max_observation_age', 0.2, 'older joint_states stop the robot', unit='s',
          low=0.001, high=60.0),
    Param('episodes', 0, 'episodes of the whole run, those of earlier starts included; 0 for no '
          'end', low=0, high=2**31),
    Param('reset_service', '', "service that puts the arm at its start; '' goes back along the "
          "episode's path"),
    Param('explore', True, 'whether the policy adds its exploration noise'),
    Param('gross_violation', 2.0, 'a command above this multiple of the velocity limit stops '
          'the robot', low=1.0, high=100.0),
    Param('repeated_violation', 3.0, 'uninterrupted filter interventions that stop the robot',
          unit='s', low=0.01, high=3600.0),
    Param('max_backlog', 2000, 'records that may wait for the disk before the robot stops',
          unit='records', low=1, high=50_000),
    Param('discovery_time', 0.5, 'wait for another server on the same topics on configure',
          unit='s', low=0.0, high=60.0),
)


class PolicyServer(ManagedNode):
    """Subscribes joint_states and learner/policy; publishes command, step and status."""

    def __init__(self, **overrides: Any) -> None:
        super().__init__('policy_server', PARAMETERS, overrides=overrides)
        self._opened: list[Any] = []
        self._entities: list[Any] = []
        # Of the process, not of an activation: a latched stop survives the lifecycle.
        self._latch = StopLatch()

    def configure(self) -> None:
        """Load robot, task, bundle and spool; raises what is wrong with them."""
        p = self._values = self.values()
        robot = self._robot = load_robot(p['robot'])
        settings = load_task(p['task'])
        task = ReachTask(robot, settings)
        if not p['bundle']:
            raise Refused('parameter bundle is empty: name a policy bundle file')
        check = partial(check_bundle, robot=robot, task=settings.name,
                        observation_dim=task.observation_dim)
        runtime = check(load_bundle(Path(p['bundle'])))
        latent = runtime.manifest.latent_dim
        self._refuse_second(own=0, wait=p['discovery_time'])
        schema = StepSchema(observation=task.observation_dim, latent=latent,
                            action=len(robot.joints))
        self._spool = Spool(Path(p['run_dir']) / 'spool', schema)
        self._opened.append(self._spool)
        last = self._spool.last_row()
        self._loop = ControlLoop(
            robot=robot, task=task, runtime=runtime, seed=p['seed'], explore=p['explore'],
            safety_filter=SafetyFilter(robot, gross=p['gross_violation'],
                                       repeated=p['repeated_violation']),
            first_episode=0 if last is None else int(schema.get(last, 'episode')) + 1,
            first_sequence=self._spool.count)
        if last is not None:
            # It counts over the whole run, and a summary takes the greatest.
            self._loop.lost_ticks = int(schema.get(last, 'lost_ticks'))
        self._intake = BundleIntake(partial(check, latent_dim=latent), period=robot.period,
                                    version=runtime.manifest.version)
        self._opened.append(self._intake)
        # Only a torque cost needs the measured effort.
        self._reader = JointStateReader(robot.joints, effort=any(
            'torque' in constraint.terms for constraint in robot.constraints))
        self._open_topics(schema)

    def _open_topics(self, schema: StepSchema) -> None:
        p, make = self._values, self._entities.append
        self._writer = CommandWriter(
            self, self._robot, p['command_interface'] or self._robot.control.command_interface)
        self._codec = ArrayCodec(schema)
        self._steps = self.create_publisher(Float64MultiArray, 'policy_server/step',
                                            QOS['policy_server/step'])
        self._reporter = ServerReporter(self, self._loop, self._latch, self._spool, self._intake)
        self._replayer = StepReplayer(self._spool, lambda row: self._steps.publish(
            self._codec.encode(row)))
        self._opened.append(self._replayer)
        for publisher in (self._writer.publisher, self._steps, self._reporter.status,
                          self._reporter.diagnostics):
            make(publisher)
        make(self.create_subscription(UInt8MultiArray, 'learner/policy',
                                      lambda msg: self._intake.offer(msg.data),
                                      QOS['learner/policy']))
        make(self.create_subscription(Float64MultiArray, 'learner/fetch', self._on_fetch,
                                      QOS['learner/fetch']))
        make(self.create_service(Trigger, 'policy_server/estop', self._on_estop))
        make(self.create_service(Trigger, 'policy_server/reset', self._on_reset))
        make(self.create_subscription(JointState, 'joint_states', self._on_joint_states,
                                      QOS['joint_states']))
        self._reset_client: 'Client[Any, Any] | None' = None
        if p['reset_service']:
            self._reset_client = self.create_client(Trigger, p['reset_service'])
            make(self._reset_client)

    def activate(self) -> None:
        """Begin with the next measured state."""
        self._refuse_second(own=1, wait=0.0)
        p = self._values
        self._super = Supervisor(self._robot, self._loop, self._latch, episodes=p['episodes'],
                                 service=bool(p['reset_service']))
        self._watchdog = Watchdog(p['max_observation_age'])
        self._timed = p['trigger'] == 'timer'
        self._malformed: Stop | None = None
        self._sent: tuple[int, Array | None] = (0, None)
        self._sent_at = time.monotonic()
        self._braked_at = 0.0
        self._first_slot: int | None = None
        self._slot = 0
        self._reset_deadline: float | None = None
        self._writer.start()
        # A full collection takes several ms, and what is loaded now stays.
        gc.collect()
        gc.freeze()
        self._timers_on = [self.create_timer(self._robot.period, self._on_timer),
                           self.create_timer(1.0, self._diagnose)]
        self._reporter.announce(self._super.phase)

    def deactivate(self) -> None:
        """Come to rest; the zero command is the last message on the wire."""
        try:
            for timer in self._timers_on:
                self.destroy_timer(timer)
            self._record(self._super.abort())
        except Exception:  # a record may be lost, the arm may not go on moving
            self.get_logger().error(f'no closing record: {traceback.format_exc()}')
        end = time.monotonic() + BRAKING_TIME
        while True:
            command = self._super.brake()
            if time.monotonic() > end:
                command = command * 0.0
            self._send(command)
            if not command.any():
                break
            time.sleep(self._robot.period)
        for publisher in (self._writer.publisher, self._steps):
            publisher.wait_for_all_acked(Duration(seconds=0.5))
        self._reporter.announce(self._super.phase, 'not active')

    def cleanup(self) -> None:
        """Close threads, spool and topics."""
        while self._opened:
            self._opened.pop().close()
        for entity in self._entities:
            for destroy in (self.destroy_publisher, self.destroy_subscription,
                            self.destroy_service, self.destroy_client):
                if destroy(entity):
                    break
        self._entities.clear()

    def _refuse_second(self, own: int, wait: float) -> None:
        """Raise when somebody else publishes commands to this robot."""
        topic = self.resolve_topic_name('command')
        end = time.monotonic() + wait
        while True:
            others = self.count_publishers(topic) - own
            if others > 0:
                raise Refused(f'{others} other publisher(s) on {topic}: a second policy server '
                              'on the same robot')
            if time.monotonic() >= end:
                return
            time.sleep(0.05)

    def _second_cause(self) -> Stop | None:
        """Return a stop when somebody else has begun to command this robot."""
        topic = self.resolve_topic_name('command')
        count = self.count_publishers(topic)
        return None if count <= 1 else Stop(
            'SECOND_SERVER', count, 1, f'publishers on {topic}: a second policy server on the '
            'same robot')

    def _on_joint_states(self, msg: JointState) -> None:
        arrived = time.monotonic()
        if not self.is_active:
            return
        try:
            state = self._reader.read(msg)
        except CodecError as error:
            stamp = msg.header.stamp.sec * NANO + msg.header.stamp.nanosec
            self._malformed = Stop(error.code, 0.0, 0.0, error.text)
            self._trip(self._malformed)
            self._brake_malformed(stamp)
            return
        self._malformed = None
        order = self._watchdog.take(state.stamp_ns)
        if order is Order.OLD:
            return
        self._state = state
        jump = self._watchdog.take_jump()
        if jump is not None:
            self._trip(jump)
        if self._timed:
            return
        stamp, command = self._sent
        if order is Order.SAME and stamp == state.stamp_ns and command is not None:
            # The answer was lost: the same again, no new record. Not as a new command: one that
            # a stop left moving has to brake however often its stamp is repeated.
            self._writer.send(command, state.position, stamp)
        elif (state.stamp_ns - stamp) * 1e-9 >= EARLY * self._robot.period or command is None \
                or state.stamp_ns < stamp:
            self._tick(arrived)

    def _brake_malformed(self, stamp: int) -> None:
        """
        Brake at most once a period, however many malformed joint_states come in one.

        Where their stamps say nothing about the time, the timer brakes.
        """
        gap = (stamp - self._sent[0]) * 1e-9
        if not self._timed and (self._sent[1] is None or EARLY * self._robot.period <= gap
                                <= self._values['max_observation_age']):
            self._send(self._super.brake(), stamp)

    def _on_timer(self) -> None:
        begin = time.monotonic()
        now = self.get_clock().now().nanoseconds
        cause = self._watchdog.check(now) if self._watchdog.newest_ns is not None else None
        if cause is not None:
            self._trip(cause)
        if self._reset_deadline is not None and begin > self._reset_deadline:
            self._reset_deadline = None
            self._trip(Stop('RESET_FAILED', RESET_TIMEOUT, RESET_TIMEOUT,
                            f's without an answer of {self._values["reset_service"]}'))
        if self._timed:
            self._count_slots(now)
            fresh = self._watchdog.newest_ns not in (None, self._sent[0])
            if fresh and self._super.latch.stop is None:
                self._tick(begin)
            else:
                self._keep_on(now)
        elif self._super.latch.stop is not None and (
                begin - self._sent_at > LATE * self._robot.period
                or self._sent_at == self._braked_at):
            # Nobody asks any more, but the arm has to stop; once begun, on every tick.
            self._send(self._super.brake())
            self._braked_at = self._sent_at

    def _keep_on(self, now: int) -> None:
        """Send what a period of the timer needs that has no new joint_states to answer."""
        stop, phase = self._super.latch.stop, self._super.phase
        if self._super.state is None or (stop is None and phase is Phase.RESETTING):
            return  # nothing is known about the arm yet, or the reset service drives it
        if stop is not None or phase is not Phase.RUNNING:
            self._send(self._super.brake())
        elif self._sent[1] is not None:
            self._loop.lost_ticks += 1
            held = self._super.hold(self._watchdog.age(now))
            self._send(held.command)
            if held.stop is not None:
                self._trip(held.stop)

    def _count_slots(self, now: int) -> None:
        """Count the periods that the timer missed, by the phase that it keeps."""
        if self._first_slot is None or now < self._first_slot:
            self._first_slot, self._slot = now, 0
        slot = round((now - self._first_slot) * 1e-9 / self._robot.period)
        self._loop.lost_ticks += max(0, slot - self._slot - 1)
        self._slot = slot

    def _tick(self, begin: float) -> None:
        state = self._state
        runtime = self._intake.take()
        if runtime is not None:
            self._loop.swap(runtime)
        running = self._super.phase is Phase.RUNNING
        if running and not self._timed and self._sent[0]:
            gap = round((state.stamp_ns - self._sent[0]) * 1e-9 / self._robot.period)
            self._loop.lost_ticks += max(0, gap - 1)
        answer = self._super.answer(state)
        self._send(answer.command, state.stamp_ns)
        end = time.monotonic()
        self._loop.latency = end - begin
        self._reporter.loop_statistics.add(end, end - begin)
        self._record(answer.record)
        if self._super.take_reset_request():
            self._call_reset()
        self._reporter.announce(self._super.phase)

    def _send(self, command: Array | None, stamp: int | None = None) -> None:
        stamp = self._sent[0] if stamp is None else stamp
        self._sent = (stamp, command)
        if command is not None:
            state = self._super.state
            self._writer.send(command, None if state is None else state.position, stamp)
            self._sent_at = time.monotonic()

    def _record(self, record: Array | None) -> None:
        if record is None:
            return
        self._steps.publish(self._codec.encode(record))
        if not self._spool.append(record) or self._spool.backlog > self._values['max_backlog']:
            cause = self._spool_cause()
            if cause is not None:
                self._trip(cause)

    def _spool_cause(self) -> Stop | None:
        backlog, limit = self._spool.backlog, self._values['max_backlog']
        return None if backlog <= limit else Stop(
            'SPOOL', backlog, limit, f'records wait for the disk: {self._spool.error}')

    def _trip(self, stop: Stop) -> None:
        """Latch a stop, close the episode, say so."""
        self._record(self._super.trip(stop))
        self._reporter.announce(self._super.phase)

    def _on_estop(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        response.success = self.is_active
        response.message = 'stopped' if self.is_active else 'the policy server is not active'
        if self.is_active:
            self._trip(Stop('ESTOP', 1.0, 0.0, 'policy_server/estop was called'))
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        if not self.is_active:
            response.message = 'the policy server is not active'
            return response
        now = self.get_clock().now().nanoseconds
        cause = self._super.resume(self._malformed or self._watchdog.check(now)
                                   or self._spool_cause() or self._second_cause())
        response.success = cause is None
        response.message = 'running' if cause is None else f'the cause persists: {cause}'
        if cause is None:
            self._writer.start()
            self._reset_deadline = None
        self._reporter.announce(self._super.phase)
        return response

    def _call_reset(self) -> None:
        assert self._reset_client is not None
        self._reset_deadline = time.monotonic() + RESET_TIMEOUT
        self._reset_client.call_async(Trigger.Request()).add_done_callback(self._on_reset_done)

    def _on_reset_done(self, future: 'Future[Any]') -> None:
        answer = future.result()
        if not self.is_active or self._super.phase is not Phase.RESETTING or answer is None:
            return
        self._reset_deadline = None
        if not answer.success or not answer.message.isdigit():
            self._trip(Stop('RESET_FAILED', 0.0, 1.0, f'{self._values["reset_service"]} '
                            f'answered {answer.message!r}'))
            return
        self._super.reset_done(int(answer.message))
        self._writer.start()
        if not self._timed and self._state.stamp_ns >= int(answer.message):
            self._tick(time.monotonic())

    def _diagnose(self) -> None:
        # Also while running: two that are configured at the same time do not see each other.
        second = self._second_cause()
        if second is not None:
            self._trip(second)
        self._reporter.diagnose(self._super.phase, self._watchdog.out_of_order)

    def _on_fetch(self, msg: Float64MultiArray) -> None:
        if len(msg.data) != 2:
            self.get_logger().error(f'learner/fetch has {len(msg.data)} values, expected 2')
        elif not self._replayer.request(int(msg.data[0]), int(msg.data[1])):
            self.get_logger().warning('learner/fetch: too many requests wait')


def main(args: list[str] | None = None) -> int:
    """Run the node; returns its exit code."""
    return run_node(PolicyServer, args)


if __name__ == '__main__':
    raise SystemExit(main())
