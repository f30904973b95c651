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

"""Success classifier as a node: reads step records and publishes the success probability."""

from collections.abc import Callable
import os
from pathlib import Path
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from std_msgs.msg import Float32
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.schema import Flag
from spaars_ros.interrupts import Interrupts
from spaars_ros.policy.judge import Judge
from spaars_ros.policy.judge import JudgeError
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.qos import QOS
from spaars_ros.ros.sources.features import ENCODER
from spaars_ros.ros.sources.features import label
from spaars_ros.run.run_config import robot_of
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of

TOPIC = 'judge/success'
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
BEAT = 0.1
"""s between two messages while no step comes, so that subscribers see that the node lives."""
PATIENCE = 5.0
"""s after the first record for the vectors of the cameras that the classifier was trained on."""
STALE = 1.0
"""s after which the result of the last step is no longer valid."""


class Judging:
    """
    Value to publish after each record, 0 before the first record and after an episode's end.

    The next episode must not start with the success of the previous one. A classifier of the
    vectors of cameras says 0 until it has seen that its encoders made them.
    """

    def __init__(self, judge: Judge, clock: Callable[[], float] = time.monotonic) -> None:
        self._judge, self._clock = judge, clock
        self._reader = StepReader()
        self._newest = -1
        self._value, self._heard = 0.0, -STALE
        self._unseen = set(judge.made_for.eyes if judge.made_for is not None else ())
        self._since: float | None = None
        self.failure = ''
        """Reason why the classifier cannot evaluate these records, '' while it can."""

    def hear(self, message: Float64MultiArray) -> float | None:
        """Take a record; return the value to publish, None for a record received before."""
        schema, row = self._reader.read(message)
        sequence = int(schema.get(row, 'sequence'))
        if sequence <= self._newest and self._newest - sequence < 10_000:
            return None  # resent for a learner that missed it
        self._newest, self._heard = sequence, self._clock()
        self._since = self._heard if self._since is None else self._since
        if schema.get(row, 'flag') != Flag.RUNNING:
            self._value = 0.0
        else:
            try:
                self._value = self._judge(row[schema.fields['observation']])
            except JudgeError as error:
                self.failure, self._value = str(error), 0.0
        if self._unseen:
            self._value = 0.0
            if self._heard - self._since > PATIENCE:
                self.failure = self.failure or self._judge.unseen(sorted(self._unseen))
        return self._value

    def see(self, name: str, digest: str) -> None:
        """Take the digest that a vector of a camera carries."""
        try:
            self._judge.check_vector(name, digest)
        except JudgeError as error:
            self.failure, self._value = str(error), 0.0
        self._unseen.discard(name)

    def value(self) -> float:
        """Return the value to publish while no record comes; 0 when the last one is `STALE`."""
        return self._value if self._clock() - self._heard < STALE else 0.0


def judge_run(namespace: str, *, judge: Path, say: Callable[[str], None],
              interrupts: Interrupts, task: str = '') -> None:
    """
    Publish the success probability of a run's states until interrupted.

    :param judge: ONNX file of the classifier
    :param say: prints a line for the operator
    :param task: task file of the run, to compare its encoders before anything starts; '': they are
        compared by the digests that their vectors carry
    :raises ConfigError: the task file cannot be used
    :raises JudgeError: the file cannot be used, or does not fit the observation of this run
    """
    classifier = Judge(judge)
    topics = {name: eye.topic for name, eye in classifier.made_for.eyes.items()} \
        if classifier.made_for is not None else {}
    if task:
        made = make_task(load_robot(robot_of('', task)), load_task(task))
        classifier.check(made.spec.encoders)
        topics.update((each.name, each.on) for each in cameras_of(made) if each.name in topics)
    judging = Judging(classifier)
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--disable-external-lib-logs'], context=context)
    node: Any = rclpy.create_node(f'judge_{os.getpid()}', namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    border = Border(node.get_logger())
    publisher = node.create_publisher(Float32, TOPIC, QOS[TOPIC])
    spoken = 0.0

    def speak(value: float | None) -> None:
        nonlocal spoken
        if value is not None:
            spoken = time.monotonic()
            publisher.publish(Float32(data=value))
    try:
        node.create_subscription(
            Float64MultiArray, 'policy_server/step',
            border.guarded('policy_server/step', lambda msg: speak(judging.hear(msg))),
            QOS['policy_server/step'])
        for name, topic in topics.items():
            node.create_subscription(
                Float64MultiArray, topic,
                lambda msg, name=name: judging.see(name, label(msg, ENCODER)), NEWEST)
        say(f'{judge}: on {node.resolve_topic_name(TOPIC)}')
        with interrupts.deferred():
            while not interrupts.requested:
                executor.spin_once(timeout_sec=BEAT)
                if judging.failure:
                    raise JudgeError(judging.failure)
                if time.monotonic() - spoken >= BEAT:
                    speak(judging.value())
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.shutdown(context=context)
