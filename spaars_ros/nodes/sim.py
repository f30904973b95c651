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

"""The simulated arm behind the topics of a robot with ros2_control."""

from array import array
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

from spaars_ros.config import load_robot
from spaars_ros.config import load_task
from spaars_ros.data.schema import Array
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.codecs import command_stamp
from spaars_ros.ros.codecs import decode_command
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.codecs import MAY_BE_NONFINITE
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.qos import QOS
from spaars_ros.sim.arm import Arm
from spaars_ros.sim.tasks import ReachTask

RESEND = 0.2
"""s of wall time without an answer after which lockstep publishes the same state again."""
LEARNER_SILENCE = 5.0
"""s of wall time without progress after which a learner counts as gone."""
IDLE = 3
"""Equal progress reports after which a learner counts as idle."""

PARAMETERS = ParameterTable(
    Param('robot', 'panda', 'robot file: a path, or a name from config/robot'),
    Param('task', 'reach', 'task file: a path, or a name from config/task'),
    Param('seed', 0, 'seed of the start poses', low=0, high=2**31),
    Param('real_time_factor', 0.0, 'simulated s a second; 0 is lockstep, as fast as the nodes '
          'answer', low=0.0, high=100.0),
    Param('max_lead', 16, 'lockstep: control periods that the arm may be ahead of the learner',
          low=1, high=100_000),
    Param('command_interface', '', "what `command` carries; '' takes the robot file's",
          choices=('', 'forward_velocity', 'forward_position', 'joint_trajectory')),
    Param('start_stamp', 1.0, 'stamp of the first joint_states', unit='s', low=0.0, high=1e9),
    Param('first_reset', 0, 'start poses to skip, for a run that goes on', low=0, high=2**31),
)


class SimNode(ManagedNode):
    """
    A MuJoCo arm with joint_states, command, /clock, sim/reset and sim/pause.

    In lockstep every joint_states waits for the command that carries its stamp, and every such
    command makes exactly one step; on the wall clock the last command is held, as a robot does.
    """

    def __init__(self, **overrides: Any) -> None:
        """Declare parameters only."""
        super().__init__('sim', PARAMETERS, overrides=overrides)
        self._made: list[Any] = []
        self._wall = Clock(clock_type=ClockType.STEADY_TIME)

    def configure(self) -> None:
        """Load the arm; raises ConfigError."""
        values = self.values()
        robot = load_robot(values['robot'])
        self._task = ReachTask(robot, load_task(values['task']))
        self._joints = robot.joints
        self._period = robot.period
        self._interface = values['command_interface'] or robot.control.command_interface
        self._factor = values['real_time_factor']
        self._max_lead = values['max_lead']
        self._seed = values['seed']
        self._arm = Arm(robot)
        self._arm.stamp_ns = round(values['start_stamp'] * 1e9)
        self._resets = values['first_reset']
        self._message = encode_state(self._arm.state(), self._joints)
        self._clock_message = ClockMessage(clock=self._message.header.stamp)
        self._paused = False
        self._velocity = np.zeros(len(robot.joints))
        self._answer: Array | None = None
        """Lockstep: the command for the state on the wire, while something holds the step."""
        self._sent = 0.0
        self._learned_ns = 0
        self._same = IDLE
        self._heard_learner = -LEARNER_SILENCE
        self._received = -1.0
        self._states = self.create_publisher(JointState, 'joint_states', QOS['joint_states'])
        self._clock_topic = self.create_publisher(ClockMessage, '/clock', QOS['/clock'])
        kind = JointTrajectory if self._interface == 'joint_trajectory' else Float64MultiArray
        self._made = [
            self._states, self._clock_topic,
            self.create_subscription(kind, 'command', self._on_command, QOS['command']),
            self.create_subscription(Float64MultiArray, 'learner/progress', self._on_progress,
                                     QOS['learner/progress']),
            self.create_service(Trigger, 'sim/reset', self._on_reset),
            self.create_service(SetBool, 'sim/pause', self._on_pause)]

    def activate(self) -> None:
        """Put the arm at its first start pose and begin to publish."""
        self._place()
        wall_period = self._period / self._factor if self._factor else RESEND / 4
        tick = self._on_wall_tick if self._factor else self._on_resend
        self._timer = self.create_timer(wall_period, tick, clock=self._wall)

    def deactivate(self) -> None:
        """Let the arm stand still."""
        self.destroy_timer(self._timer)

    def cleanup(self) -> None:
        """Remove what `configure` made."""
        for made in self._made:
            for destroy in (self.destroy_publisher, self.destroy_subscription,
                            self.destroy_service):
                if destroy(made):
                    break
        self._made = []

    def _place(self) -> int:
        """Put the arm at rest at the next start pose; return the stamp of its state."""
        rng = np.random.default_rng([self._seed, self._resets])
        self._resets += 1
        self._arm.reset(self._task.sample_start(rng))
        self._velocity[:] = 0.0
        self._answer = None
        self._publish()
        return self._arm.stamp_ns

    def _publish(self) -> None:
        """Publish the state as it is; the messages are kept, because making them costs more."""
        state, msg = self._arm.state(), self._message
        seconds, nanoseconds = divmod(state.stamp_ns, NANO)
        msg.header.stamp = self._clock_message.clock = Time(sec=seconds, nanosec=nanoseconds)
        msg.position = array('d', state.position.tobytes())
        msg.velocity = array('d', state.velocity.tobytes())
        msg.effort = array('d', state.effort.tobytes())
        self._clock_topic.publish(self._clock_message)
        self._states.publish(msg)
        self._sent = time.monotonic()

    def _on_command(self, msg: Union[Float64MultiArray, JointTrajectory]) -> None:
        if not self.is_active:
            return
        try:
            velocity = self._to_velocity(msg)
        except CodecError as error:
            self.get_logger().error(f'command ignored: {error}', throttle_duration_sec=1.0)
            return
        if self._factor:
            self._velocity = velocity
            return
        stamp = command_stamp(msg)
        if stamp is None:
            self.get_logger().error(
                'command ignored: in lockstep it has to carry the stamp of the joint_states that '
                'it answers; set real_time_factor above 0', throttle_duration_sec=5.0)
        # Any other stamp answers a state that was stepped already, or one before a reset.
        elif stamp == self._arm.stamp_ns and self._answer is None:
            self._answer = velocity
            self._advance()

    def _to_velocity(self, msg: Union[Float64MultiArray, JointTrajectory]) -> Array:
        """Return joint velocities (d,) rad/s; raises CodecError."""
        d = len(self._joints)
        if isinstance(msg, JointTrajectory):
            if list(msg.joint_names) != list(self._joints) or not msg.points:
                raise CodecError('WRONG_JOINTS', f'{list(msg.joint_names)} with '
                                 f'{len(msg.points)} points, expected {list(self._joints)}')
            goal = Float64MultiArray(data=array('d', msg.points[0].positions))
            return np.asarray((decode_command(goal, d) - self._arm.state().position)
                              / self._period)
        values = decode_command(msg, d)
        if self._interface == 'forward_position':
            return np.asarray((values - self._arm.state().position) / self._period)
        return np.asarray(values)

    def _advance(self) -> None:
        """Lockstep: take the step that is due, unless a pause or the learner holds it."""
        if self._answer is None or self._paused or self._too_far():
            return
        velocity, self._answer = self._answer, None
        self._arm.step(velocity)
        self._publish()

    def _too_far(self) -> bool:
        """Return whether the arm has to wait for the learner."""
        if self._same >= IDLE \
                or time.monotonic() - self._heard_learner > LEARNER_SILENCE:
            return False
        lead = (self._arm.stamp_ns - self._learned_ns) * 1e-9 / self._period
        return lead >= self._max_lead and self.count_publishers('learner/progress') > 0

    def _on_progress(self, msg: Float64MultiArray) -> None:
        try:
            progress = ArrayCodec.of_message(msg).decode(msg, nonfinite=MAY_BE_NONFINITE)
            received, owed, stamp = (float(progress[name][0])
                                     for name in ('received', 'owed', 'stamp'))
        except (CodecError, KeyError) as error:
            self.get_logger().error(f'learner/progress ignored: {error}',
                                    throttle_duration_sec=5.0)
            return
        self._heard_learner = time.monotonic()
        if owed <= 0:
            # The same again and again with nothing owed: the learner waits for records, as in a
            # reset that drives the arm back, so the arm does not wait for the learner.
            self._same = self._same + 1 if received == self._received else 0
            self._received = received
            self._learned_ns = round(stamp * 1e9)
        else:
            self._same = 0  # it has work: the arm waits again, however long it was idle before
        if self.is_active and not self._factor:
            self._advance()

    def _on_resend(self) -> None:
        self._advance()  # a learner that died holds nothing
        if self._answer is None and not self._paused \
                and time.monotonic() - self._sent >= RESEND:
            self._publish()

    def _on_wall_tick(self) -> None:
        if not self._paused:
            self._arm.step(self._velocity)
        self._publish()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response
                  ) -> Trigger.Response:
        response.success = self.is_active
        response.message = str(self._place()) if self.is_active else 'the sim is not active'
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
    """Run the node; returns its exit code."""
    return run_node(SimNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
