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

"""Simulation node: a simulated arm with the topics of a robot with ros2_control."""

import time
from typing import Any
from typing import Union

from builtin_interfaces.msg import Time
import numpy as np
from rclpy.clock import Clock
from rclpy.clock import ClockType  # type: ignore[attr-defined]
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from spaars_ros.data.schema import Array
from spaars_ros.nodes.sim.camera_publishers import CameraPublishers
from spaars_ros.nodes.sim.channel_reader import ChannelReader
from spaars_ros.nodes.sim.command_reader import CommandReader
from spaars_ros.nodes.sim.parameters import FAULT
from spaars_ros.nodes.sim.parameters import PARAMETERS
from spaars_ros.nodes.sim.source_publishers import SourcePublishers
from spaars_ros.nodes.sim.state_writer import StateWriter
from spaars_ros.nodes.sim.state_writer import time_of
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.codecs import command_stamp
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.robot_description import RobotDescription
from spaars_ros.sim.arm import SceneError
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.sim.faults import FaultInjector
from spaars_ros.sim.faults import FaultScript
from spaars_ros.sim.pace import LearnerPace
from spaars_ros.tasks.protocols import scene_of
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

MOST_AHEAD = 20  # periods
PACE = ('received', 'owed', 'stamp')
"""Fields of learner/progress that determine the pace of the arm."""
RESEND = 0.2
"""s of wall time without an answer before lockstep publishes the same state again."""


class SimNode(ManagedNode):
    """
    MuJoCo arm with joint_states, command, /clock, sim/reset, sim/pause and faults.

    In lockstep, each joint_states waits for the command that carries its stamp, and each such
    command makes exactly one step. On the wall clock, the last command is held, as on a robot,
    and `sim/state` has the true state without faults.
    """

    def __init__(self, **overrides: Any) -> None:
        """Declare the parameters."""
        super().__init__('sim', PARAMETERS, overrides=overrides)
        self._commands: Any = None
        self._cameras: Any = None
        self._made: list[Any] = []
        self._border = Border(self.get_logger())
        self._progress_reader = TopicReader('learner/progress', needs=PACE)
        self._wall = Clock(clock_type=ClockType.STEADY_TIME)

    def configure(self) -> None:
        """Load robot, task and scene; raises ConfigError or Refused."""
        values = self._values = self.values()
        self.take_priority(values['thread_priority'])
        robot = load_robot(values['robot'])
        self._task = make_task(robot, load_task(values['task']))
        self._joints = robot.joints
        self._period = robot.period
        self._period_ns = round(1e9 * robot.period)
        self._factor = values['real_time_factor']
        self._system_stamps = values['stamps'] == 'system'
        if self._system_stamps and self._factor != 1.0:
            raise Refused('stamps of the system clock need a real_time_factor of 1')
        self._arm = DrivenArm(robot, seed=values['seed'], scene=scene_of(self._task))
        self._arm.stamp_ns = round(values['start_stamp'] * 1e9)
        self._reader = CommandReader(
            robot.joints, values['command_interface'] or robot.control.command_interface,
            robot.period)
        self._pace = LearnerPace(values['max_lead'], robot.period)
        self._script = FaultScript(values['faults']) if values['faults'] else None
        self._faults = FaultInjector(seed=values['seed'], joints=len(robot.joints),
                                     period=robot.period)
        self._resets = values['first_reset']
        self._paused = False
        self._answer: Array | None = None
        """Lockstep: (d,) rad/s, answer to the published state, while the step is delayed."""
        self._sent = 0.0
        self._open_topics()
        self._set_faults()

    def _open_topics(self) -> None:
        self._clock_message = ClockMessage()
        states, true_states = (self.create_publisher(JointState, name, QOS['joint_states'])
                               for name in ('joint_states', 'sim/state'))
        self._states = StateWriter(states, self._joints)
        self._true_states = StateWriter(true_states, self._joints)
        self._clock_topic = self.create_publisher(ClockMessage, '/clock', QOS['/clock'])
        self._held = self.create_publisher(Time, 'sim/held', QOS['sim/held'])
        self._listen(True)
        self._channels = ChannelReader(self, self._arm, self._task.spec.channels,
                                       self._border.guarded)
        self._sources = SourcePublishers(self, self._task, self._arm, seed=self._values['seed'])
        self._cameras = CameraPublishers(self, self._task, self._arm, seed=self._values['seed'])
        self._description = RobotDescription(self, self._task.robot)
        self._made = [
            *self._description.made, *self._channels.subscriptions, *self._sources.publishers,
            *self._cameras.publishers,
            states, true_states, self._clock_topic, self._held,
            self.create_subscription(
                Float64MultiArray, 'learner/progress',
                self._border.guarded('learner/progress', self._on_progress),
                QOS['learner/progress']),
            self.create_service(Trigger, 'sim/reset', self._on_reset),
            self.create_service(SetBool, 'sim/pause', self._on_pause)]

    def activate(self) -> None:
        """Place the arm at its first start pose and start publishing."""
        # Before the first stamp: garbage collection after it would make all later ones late.
        self.settle()
        self._began_ns: int | None = None
        self._place()
        wall_period = self._period / self._factor if self._factor else RESEND / 4
        tick = self._on_wall_tick if self._factor else self._on_resend
        self._timer = self.create_timer(wall_period, tick, clock=self._wall)

    def deactivate(self) -> None:
        """Stop moving and publishing."""
        self.destroy_timer(self._timer)

    def cleanup(self) -> None:
        """Destroy what `configure` created."""
        self._listen(False)
        if self._cameras is not None:
            self._cameras.close()
        for made in self._made:
            for destroy in (self.destroy_publisher, self.destroy_subscription,
                            self.destroy_service):
                if destroy(made):
                    break
        self._made = []

    def changed(self, values: dict[str, Any]) -> None:
        """Apply faults and the timeout of the controller."""
        self._values = self.values()
        if self._made:
            self._set_faults()

    def _set_faults(self, scripted: dict[str, float] | None = None) -> None:
        """Apply the faults of the parameters, overridden by those of the script."""
        faults = {name.removeprefix(FAULT): value for name, value in self._values.items()
                  if name.startswith(FAULT)}
        faults.update(scripted or {})
        self._scripted = scripted
        self._faults.set(faults)
        self._arm.set(self._faults.values,
                      timeout=self._values['command_timeout'] if self._factor else 0.0)
        self._listen(not faults['unsubscribed'])
        self._states.split, self._states.gripper = int(faults['split']), bool(faults['gripper'])

    def _listen(self, wanted: bool) -> None:
        """Subscribe to `command`, or destroy the subscription."""
        if wanted and self._commands is None:
            self._commands = self.create_subscription(
                self._reader.kind, 'command',
                self._border.guarded('command', self._on_command), QOS['command'])
        elif not wanted and self._commands is not None:
            self.destroy_subscription(self._commands)
            self._commands = None

    def _place(self) -> int:
        """Place the arm at rest at the next start pose; return the published stamp in ns."""
        rng = np.random.default_rng([self._values['seed'], self._resets])
        self._resets += 1
        self._arm.place(
            sample_start(self._task.robot, self._task.settings.start_noise, rng), rng)
        self._faults.clear()
        self._sources.clear()
        self._cameras.clear()
        self._answer = None
        self._publish()
        return self._wire_stamp

    @property
    def _wire_stamp(self) -> int:
        """Return the published stamp of the newest state in ns."""
        return self._arm.stamp_ns + self._faults.offset_ns

    def _publish(self, again: bool = False) -> None:
        """Publish clock, sources, images and state, with the faults applied."""
        if self._system_stamps:
            # Stamps are whole periods apart, as those of a controller's update loop, however late
            # this is. The first stamp is the time itself: rounded, it could be half a period off,
            # and the smallest delay of a later one would then skip a period.
            if self._began_ns is None:
                self._arm.stamp_ns = max(self._arm.stamp_ns, time.time_ns())
            late = round((time.time_ns() - self._arm.stamp_ns) * 1e-9 / self._period)
            self._arm.stamp_ns += max(late, 0) * self._period_ns
        state = self._arm.state()
        if self._began_ns is None:
            self._began_ns = state.stamp_ns
        if self._script is not None:
            scripted = self._script.at((state.stamp_ns - self._began_ns) * 1e-9)
            if scripted != self._scripted:
                self._set_faults(scripted)
        if not self._system_stamps:
            self._clock_message.clock = time_of(self._wire_stamp)
            self._clock_topic.publish(self._clock_message)
        self._sources.send(self._wire_stamp, self._faults.values, again)
        self._cameras.send(self._wire_stamp, self._faults.values, again)
        for seen in self._faults.measured(state, again):
            self._states.send(seen)
        if self._factor:
            self._true_states.send(state)
        self._description.send(state.position, self._wire_stamp)
        self._sent = time.monotonic()

    def _on_command(self, msg: Union[Float64MultiArray, JointTrajectory]) -> None:
        if not self.is_active:
            return
        velocity = self._reader.velocity(msg, self._arm.state().position)
        if self._factor:
            self._arm.obey(velocity)
            return
        stamp = command_stamp(msg)
        if stamp is None:
            self.get_logger().error(
                'command ignored: in lockstep it has to carry the stamp of the joint_states that '
                'it answers; set real_time_factor above 0', throttle_duration_sec=5.0)
        # Any other stamp answers an earlier state, or one before a reset.
        elif stamp == self._wire_stamp and self._answer is None:
            self._answer = velocity
            self._advance()

    def _advance(self) -> None:
        """Lockstep: make the step that is due, unless a pause or the learner delays it."""
        if self._answer is None or self._paused or self._too_far():
            return
        velocity, self._answer = self._answer, None
        self._arm.obey(velocity)
        self._arm.move()
        self._publish()

    def _too_far(self) -> bool:
        """Return whether the arm has to wait for the learner."""
        return self._pace.too_far(self._wire_stamp * 1e-9, time.monotonic()) \
            and self.count_publishers('learner/progress') > 0

    def _on_progress(self, msg: Float64MultiArray) -> None:
        progress = self._progress_reader.read(msg)
        self._pace.heard(**{name: float(progress[name][0]) for name in PACE},
                         now=time.monotonic())
        if self.is_active and not self._factor:
            self._advance()

    def _say_held(self) -> None:
        """Publish that arm and clock stand still, so that nobody takes the silence for a fault."""
        self._held.publish(time_of(self._wire_stamp))

    def _on_resend(self) -> None:
        self._say_held()
        self._advance()  # a learner that died delays nothing
        if self._answer is None and not self._paused \
                and time.monotonic() - self._sent >= RESEND:
            self._publish(again=True)

    def _on_wall_tick(self) -> None:
        if self._system_stamps and self._ahead():
            return
        if self._paused:
            self._say_held()
        else:
            self._arm.move()
        self._publish()

    def _ahead(self) -> bool:
        """
        Return whether the next stamp would be in the future.

        A reset takes one period, between two ticks: without this wait, the stamps would be a
        second ahead of the clock after fifty resets. If they are more than `MOST_AHEAD` periods
        ahead, the clock was set back, and the arm continues.
        """
        ahead = (self._arm.stamp_ns + self._period_ns - time.time_ns()) / self._period_ns
        return 0.5 < ahead < MOST_AHEAD

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        response.success = self.is_active
        try:
            response.message = str(self._place()) if self.is_active else 'the sim is not active'
        except SceneError as error:
            self.get_logger().error(f'no reset: {error}')
            response.success, response.message = False, str(error)
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response
                  ) -> SetBool.Response:
        self._paused = bool(request.data)
        response.success = True
        response.message = 'paused' if self._paused else 'running'
        if self.is_active and not self._factor:
            self._advance()
        return response


def main(args: list[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run_node(SimNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
