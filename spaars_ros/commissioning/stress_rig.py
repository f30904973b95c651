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

"""Complete run for stress tests: the four nodes as processes, observed from outside."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import logging
import os
from pathlib import Path
import time
from types import MappingProxyType
from typing import Any

import numpy as np
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import LoggingSeverity  # type: ignore[attr-defined]
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import UInt8MultiArray
from std_srvs.srv import Trigger
import yaml

from spaars_ros.commissioning.stress_watch import StressWatch
from spaars_ros.data import recording
from spaars_ros.data.reconcile import complete_spool
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.spool import read_spool
from spaars_ros.data.spool import SpoolError
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.qos import QOS
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.kept_files import without_source
from spaars_ros.run.lifecycle_client import ACTIVE
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.run.run_config import RunConfig
from spaars_ros.tasks.registry import load_task

BRING_UP = 60.0
"""s for one node to become active."""
PATIENCE = 45.0
"""s for a run to recover; it takes longer on a busy machine."""
HORIZON = 80
"""Ticks per episode; short, so that the arm is rarely at rest at its target."""
MOVING = 0.1
"""rad/s; a fault begins while the fastest joint moves faster than this."""
TRIGGERS = ('timer', 'joint_states')
"""Triggers of the server's ticks; the first is the one used on a robot."""
SETTINGS: dict[str, dict[str, Any]] = {
    # As on a robot: stamps of the system clock, which the nodes compare with their own.
    'sim': {'stamps': 'system'},
    # So few that a full disk is detected within seconds, and so strict that a dead cost monitor
    # is.
    'policy_server': {'max_backlog': 40, 'cost_monitor': 'stop'},
}
"""Parameters that differ from those of `spaars finetune`."""


TIMEOUT = 0.2
"""s; timeout of a controller that has one."""
PLANNED = TIMEOUT + 0.05
"""s, the robot file's `control.timeout`: the controller checks once per period."""
LEARNING = {'utd': 0.25}
"""Changes to the training constants of the smoke file: the learner receives, learns and pushes as
often, with an eighth of the updates, which are the largest part of a run's cost."""


class StressError(RuntimeError):
    """The run under test did not start or did not answer."""


def prepare(folder: Path, seed: int = 0, start: Path | None = None, which: str = '', *,
            training: str = 'smoke', learning: Mapping[str, Any] = LEARNING) -> RunFolder:
    """
    Return a run folder with a quickly pretrained policy.

    :param folder: for the run
    :param seed: of the run
    :param start: file of that policy; written where it is missing, for other runs
    :param which: task file; '': the default task
    :param training: training file
    :param learning: training constants in place of the file's
    :raises OSError: a file cannot be written
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = folder / 'task.yaml'
    settings = load_task(which) if which else load_task()
    task.write_text(yaml.safe_dump(
        {**settings.model_dump(mode='json', exclude_none=True), 'horizon': HORIZON}))
    start = start or folder / 'pretrained.spaars'
    arm = without_source(load_robot(settings.robot or 'panda'))
    arm['control']['timeout'] = PLANNED
    robot = folder / 'arm.yaml'
    robot.write_text(yaml.safe_dump(arm))
    run = RunFolder(RunConfig(
        out=str(folder / 'run'), robot=str(robot), task=str(task),
        training=training, bundle=str(start),
        overrides=dict(learning), episodes=0, real_time_factor=1.0, seed=seed))
    if not start.exists():
        # Torch is needed here only.
        from spaars_ros.learning.online.pretrain import pretrain
        save_bundle(pretrain(run.robot, run.task, run.training, run.demonstrations(), seed=0),
                    start)
    run.claim(resume=False)
    run.begin()
    run.place_bundle(start)
    return run


class StressRig:
    """
    The nodes of one run, a client for all of them, and the observer of the run.

    :param run: the run folder, from `prepare`
    :param wrap: changes a node's description, for instance to run it on another host
    :param more: additional processes, without a lifecycle
    :param trigger: of the policy server: timer, or joint_states
    :param server: parameters of the policy server in place of these
    """

    def __init__(self, run: RunFolder,
                 wrap: Callable[[NodeDescription], NodeDescription] = lambda node: node,
                 more: Sequence[NodeDescription] = (), *, trigger: str = TRIGGERS[0],
                 server: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.run = run
        self.seed = run.options.seed
        # The recording is read while it is written: an incomplete end is expected.
        logging.getLogger(recording.__name__).setLevel(logging.ERROR)
        options = run.options
        # In a separate namespace, in case others use this domain.
        settings = RunSettings(
            out=str(run.path), robot=options.robot, task=options.task, episodes=0,
            real_time_factor=1.0, use_sim_time=False, namespace=f'stress_{os.getpid()}',
            seed=options.seed)
        own = {**SETTINGS, 'policy_server': {
            **SETTINGS['policy_server'], 'trigger': trigger, **server}}
        graph = [wrap(dataclasses.replace(node, respawn=True, parameters={
            **node.parameters, **own.get(node.name, {})})) for node in describe(settings)]
        self.names = [node.name for node in graph]
        self.processes = Processes(settings, [*graph, *more])
        # Signals are handled by the command, not by rclpy, which would raise an exception.
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node('stress', namespace=settings.namespace)
        # It also hears what it sends on purpose, and rejects it like all nodes.
        self.node.get_logger().set_level(LoggingSeverity.FATAL)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.watch = StressWatch(self.node, run.robot)
        self.client = LifecycleClient(self.node, self.executor)
        self._bundles = self.node.create_publisher(UInt8MultiArray, 'learner/policy',
                                                   QOS['learner/policy'])

    def start(self) -> None:
        """Start and activate every node; raise LifecycleError or OSError."""
        self.processes.start()
        for name in self.names:
            self.client.bring_up(name, BRING_UP)

    def close(self) -> None:
        """End every process and leave the graph."""
        self.processes.stop()
        self.executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, seconds: float) -> None:
        """Listen for some time, s."""
        self.until(lambda: False, seconds)

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Listen until a condition holds or `seconds` are over; return whether it holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.executor.spin_once(timeout_sec=min(left, 0.02))
        return True

    def call(self, kind: Any, name: str, request: Any, seconds: float = 3.0) -> Any:
        """Return a service's answer, None when there is none in time."""
        client: Any = self.node.create_client(kind, name)
        try:
            if not self.until(client.service_is_ready, seconds):
                return None
            future = client.call_async(request)
            return future.result() if self.until(future.done, seconds) else None
        finally:
            self.node.destroy_client(client)

    def set_sim(self, values: Mapping[str, float]) -> None:
        """Set parameters of the sim; raise StressError when it rejects them."""
        answer = self.call(SetParameters, 'sim/set_parameters', SetParameters.Request(
            parameters=[Parameter(name, value=float(value)).to_parameter_msg()
                        for name, value in values.items()]))
        wrong = 'no answer' if answer is None else ', '.join(
            result.reason for result in answer.results if not result.successful)
        if wrong:
            raise StressError(f'sim does not take {dict(values)}: {wrong}')

    def reset(self, seconds: float = PATIENCE) -> bool:
        """Call policy_server/reset until it is granted; return whether it was."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self.call(Trigger, 'policy_server/reset', Trigger.Request())
            if answer is not None and answer.success:
                return True
            self.spin(0.3)
        return False

    def publish_bundle(self, data: bytes) -> None:
        """Publish bytes as the learner publishes a bundle."""
        from spaars_ros.ros.codecs import encode_bytes
        self.until(lambda: self._bundles.get_subscription_count() > 0, 3.0)
        self._bundles.publish(encode_bytes(data))

    def wait_until_moving(self) -> None:
        """Wait until an episode runs and the arm moves; raise StressError after 30 s."""
        def moves() -> bool:
            if self.watch.code:
                self.reset()  # a busy machine can stop the robot without an injected fault
            return not self.watch.code and self.watch.index >= 5 \
                and time.time() - self.watch.step_stamp < 0.3 and self.watch.speed > MOVING
        if not self.until(moves, 30.0):
            raise StressError(f'the arm does not move: stop {self.watch.code or "none"}, '
                              f'phase {self.watch.phase}')

    def steps_go_on(self, seconds: float) -> bool:
        """Return whether a new step is seen within `seconds`, without a stop."""
        before = self.watch.newest
        return self.until(lambda: self.watch.newest > before and not self.watch.code, seconds)

    def restart(self, name: str) -> bool:
        """Restart and activate a node that died; return whether it is active."""
        if name == 'policy_server':
            # It continues the numbers of its spool, which may lack the last published steps.
            complete_spool(self.run.path)
        deadline = time.monotonic() + BRING_UP
        while name in self.processes.poll():
            if time.monotonic() > deadline:
                return False
            self.spin(0.2)
        self.client.bring_up(name, BRING_UP)
        return self.client.state(name) == ACTIVE

    def transitions_lost(self, seconds: float = 15.0) -> int:
        """
        Return how many steps up to the newest one seen are missing in the recording, or changed.

        Wait up to `seconds` for the learner to fetch and write the missing steps.
        """
        newest = self.watch.newest
        deadline = time.monotonic() + seconds
        self.until(lambda: self.watch.received > newest, seconds)
        while True:
            lost = self._missing(newest)
            if not lost or time.monotonic() > deadline:
                return lost
            self.spin(0.1)

    def _missing(self, newest: int) -> int:
        wanted = newest + 1
        try:
            schema, rows = read_steps(self.run.recording)
            _, spooled = read_spool(self.run.path / 'spool')
        except (RecorderError, SpoolError, OSError):
            return wanted
        sequences = schema.get(rows, 'sequence').astype(int)
        there = np.unique(sequences[sequences <= newest])
        known = sequences < len(spooled)
        same = (rows[known] == spooled[sequences[known]]) | np.isnan(rows[known])
        return int(wanted - len(there) + np.count_nonzero(~same.all(axis=1)))
