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

"""A policy server with a MuJoCo arm over real topics, for tests."""

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from domains import DOMAINS
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import Trigger

from spaars_ros.data.schema import RobotState
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.policy_server.node import PolicyServer
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.codecs import encode_state
from spaars_ros.ros.codecs import NANO
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

OK = TransitionCallbackReturn.SUCCESS


@pytest.fixture(scope='module')
def bundle() -> Bundle:
    robot = load_robot()
    return untrained_bundle(robot, ReachTask(robot, load_task()), load_training())


@pytest.fixture(scope='module')
def bundle_file(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bundle') / 'initial.spaars'
    save_bundle(bundle, path)
    return path


def newer(bundle: Bundle, version: int, **changes: Any) -> bytes:
    manifest = bundle.manifest.model_copy(update={'version': version, **changes})
    return Bundle(manifest, bundle.graphs, bundle.golden_outputs).to_bytes()


class Rig(Node):
    """A MuJoCo arm on the wall clock, which records all messages of the server."""

    def __init__(self, server: PolicyServer) -> None:
        super().__init__('rig')
        self.robot = load_robot()
        self.arm = Arm(self.robot)
        self.velocity = np.zeros(7)
        self.follow = True
        self.mutate: Callable[[JointState], JointState | None] = lambda msg: msg
        self.commands: list[Float64MultiArray] = []
        self.asked: list[int] = []
        self.steps: list[dict[str, Any]] = []
        self.statuses: list[dict[str, str]] = []
        self.diagnostics: list[Any] = []
        self.codec: ArrayCodec | None = None
        self.server = server
        self.states = self.create_publisher(JointState, 'joint_states', QOS['joint_states'])
        self.policy = self.create_publisher(UInt8MultiArray, 'learner/policy',
                                            QOS['learner/policy'])
        self.fetch = self.create_publisher(Float64MultiArray, 'learner/fetch',
                                           QOS['learner/fetch'])
        self.create_subscription(Float64MultiArray, 'command', self._on_command,
                                 QOS['command'])
        self.hearing = self.create_subscription(
            Float64MultiArray, 'policy_server/step', self._on_step, QOS['policy_server/step'])
        self.create_subscription(
            DiagnosticArray, 'policy_server/status',
            lambda msg: self.statuses.append(values_of(msg.status[0])),
            QOS['policy_server/status'])
        self.create_subscription(DiagnosticArray, '/diagnostics',
                                 lambda msg: self.diagnostics.append(msg.status[0]),
                                 QOS['/diagnostics'])
        self.timer = self.create_timer(self.robot.period, self.move)
        self.executor_ = SingleThreadedExecutor()
        self.executor_.add_node(self)
        self.executor_.add_node(server)

    def move(self) -> None:
        self.arm.step(self.velocity)
        state = self.arm.state()
        msg = encode_state(RobotState(self.get_clock().now().nanoseconds, state.position,
                                      state.velocity, state.effort), self.robot.joints)
        changed = self.mutate(msg)
        if changed is not None:
            self.states.publish(changed)
            stamp = changed.header.stamp
            self.asked.append(stamp.sec * NANO + stamp.nanosec)

    def _on_command(self, msg: Float64MultiArray) -> None:
        self.commands.append(msg)
        if self.follow:
            self.velocity = np.array(msg.data)

    def _on_step(self, msg: Float64MultiArray) -> None:
        self.codec = self.codec or ArrayCodec.of_message(msg)
        self.steps.append(self.codec.decode(msg))

    def spin_until(self, true: Callable[[], Any], timeout: float = 10.0) -> None:
        end = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < end, f'not within {timeout} s; status {self.statuses[-1:]}'
            self.executor_.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor_.spin_once(timeout_sec=0.02)

    def call(self, name: str) -> Trigger.Response:
        client = self.create_client(Trigger, name)
        self.spin_until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.spin_until(future.done)
        self.destroy_client(client)
        return future.result()

    @property
    def code(self) -> str:
        return self.statuses[-1]['code'] if self.statuses else ''

    @property
    def standing(self) -> bool:
        return bool(self.commands) and not any(self.commands[-1].data)


@pytest.fixture
def start(bundle_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
          ) -> Iterator[Callable[..., Rig]]:
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=next(DOMAINS))
    rigs: list[Rig] = []

    def make(active: bool = True, **overrides: Any) -> Rig:
        server = PolicyServer(**{'bundle': str(bundle_file), 'run_dir': str(tmp_path / 'run'),
                                 'trigger': 'joint_states', 'discovery_time': 0.0,
                                 'max_observation_age': 2.0, **overrides})
        rig = Rig(server)
        rigs.append(rig)
        if active:
            assert server.trigger_configure() == OK
            assert server.trigger_activate() == OK
            rig.spin_until(lambda: len(rig.steps) > 5)
        return rig

    yield make
    for rig in rigs:
        rig.server.finish()
        rig.executor_.shutdown(timeout_sec=1.0)
        rig.server.destroy_node()
        rig.destroy_node()
    rclpy.try_shutdown()
