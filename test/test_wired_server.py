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

"""A policy server on a robot that is wired wrongly, half measured, or moved by a hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from server_rig import OK
from server_rig import Rig
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from spaars_ros.ros.qos import QOS

pytestmark = pytest.mark.timeout(120)

pytest_plugins = ['server_rig']


def push(rig: Rig, speed: float) -> None:
    """Add to the first joint's velocity from now on."""
    step = type(rig.arm).step
    rig.arm.step = lambda velocity: step(  # type: ignore[method-assign]
        rig.arm, velocity + np.eye(7)[0] * speed)


def test_steps_in_which_a_hand_moves_the_arm_are_marked_and_the_run_pauses(
        start: Callable[..., Rig]) -> None:
    rig = start(external_motion='pause')
    assert not any(step['external_motion'][0] for step in rig.steps)
    push(rig, 0.8)
    rig.spin_until(lambda: rig.statuses[-1]['phase'] == 'PAUSED')
    rig.spin_until(lambda: any(step['external_motion'][0] for step in rig.steps))
    rig.spin_for(0.3)
    ended = len(rig.steps)
    rig.spin_for(1.5)
    assert rig.statuses[-1]['phase'] == 'PAUSED' and len(rig.steps) == ended and rig.standing
    push(rig, 0.0)
    rig.spin_until(lambda: len(rig.steps) > ended + 5, 30.0)
    assert rig.code == ''


@pytest.mark.parametrize('said', ['ok', '', '7'])
def test_any_success_of_a_reset_counts_and_the_next_state_is_the_start(
        start: Callable[..., Rig], tmp_path: Path, said: str) -> None:
    """The reset service of somebody else's robot knows nothing of stamps."""
    task = tmp_path / 'short.yaml'
    text = (Path(__file__).parents[1] / 'config/task/reach.yaml').read_text()
    task.write_text(text.replace('horizon: 100', 'horizon: 8').replace('hold: 10', 'hold: 2'))
    rig = start(active=False, task=str(task), reset_service='arm/reset')
    asked = []

    def reset(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        asked.append(rig.arm.state().stamp_ns)
        rig.arm.reset(np.asarray(rig.robot.home))
        response.success, response.message = True, said
        return response

    rig.create_service(Trigger, 'arm/reset', reset)
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: rig.steps and rig.steps[-1]['episode'][0] == 2, 20.0)
    assert len(asked) == 2 and rig.code == ''


def test_no_joint_states_is_said_after_a_second_and_stops_after_a_while(
        start: Callable[..., Rig]) -> None:
    rig = start(active=False, joint_states_time=3.0)
    rig.mutate = lambda msg: None
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: any('no joint_states on /joint_states' in status.message
                               and '/rig publishes it' in status.message
                               for status in rig.diagnostics))
    rig.spin_until(lambda: rig.code == 'NO_JOINT_STATES')
    assert not rig.call('policy_server/reset').success
    rig.mutate = lambda msg: msg
    rig.spin_until(lambda: rig.server._responder.monitors.stamps.newest_ns is not None)
    assert rig.call('policy_server/reset').success
    rig.spin_until(lambda: len(rig.steps) > 3)


def test_joint_states_in_two_messages_and_a_grippers_drive_the_arm(
        start: Callable[..., Rig]) -> None:
    rig = start(active=False)

    def split(msg: JointState) -> JointState:
        for part in (slice(4, 7), slice(0, 0)):
            rig.states.publish(JointState(
                header=msg.header, name=msg.name[part] or ['finger'],
                position=msg.position[part] or [0.0], velocity=msg.velocity[part] or [0.0],
                effort=msg.effort[part] or [0.0]))
        return JointState(header=msg.header, name=msg.name[:4], position=msg.position[:4],
                          velocity=msg.velocity[:4], effort=msg.effort[:4])

    rig.mutate = split
    assert rig.server.trigger_configure() == OK and rig.server.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.steps) > 20)
    assert rig.code == ''


def test_nobody_on_command_is_refused_and_stops_a_run(start: Callable[..., Rig]) -> None:
    """The run would end with its budget done, and the arm never moved."""
    rig = start(active=False, controller_time=0.2)
    listening = next(each for each in rig.subscriptions if each.topic_name == '/command')
    rig.destroy_subscription(listening)
    assert rig.server.trigger_configure() == OK
    assert rig.server.trigger_activate() != OK
    again = rig.create_subscription(Float64MultiArray, 'command', rig._on_command, QOS['command'])
    assert rig.server.trigger_activate() == OK
    rig.spin_until(lambda: len(rig.steps) > 5)
    rig.destroy_subscription(again)
    rig.spin_until(lambda: rig.code == 'NO_SUBSCRIBER')


def test_swapped_joints_stop_the_running_server_and_are_named(start: Callable[..., Rig]) -> None:
    rig = start()
    step = type(rig.arm).step
    order = [0, 1, 3, 2, 4, 5, 6]
    rig.arm.step = lambda velocity: step(rig.arm, velocity[order])  # type: ignore[method-assign]
    rig.spin_until(lambda: rig.code == 'WRONG_WIRING', 15.0)
    assert 'panda_joint3 moves panda_joint4' in rig.statuses[-1]['text'] \
        or 'panda_joint4 moves panda_joint3' in rig.statuses[-1]['text']
    rig.spin_until(lambda: rig.standing)
