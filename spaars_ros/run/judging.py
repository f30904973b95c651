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
from std_msgs.msg import Float32
from std_msgs.msg import Float64MultiArray

from spaars_ros.data.schema import Flag
from spaars_ros.interrupts import Interrupts
from spaars_ros.policy.judge import Judge
from spaars_ros.policy.judge import JudgeError
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import StepReader
from spaars_ros.ros.qos import QOS

TOPIC = 'judge/success'
BEAT = 0.1
"""s between two messages while no step comes, so that subscribers see that the node lives."""
STALE = 1.0
"""s after which the result of the last step is no longer valid."""


class Judging:
    """
    Value to publish after each record, 0 before the first record and after an episode's end.

    The next episode must not start with the success of the previous one.
    """

    def __init__(self, judge: Judge, clock: Callable[[], float] = time.monotonic) -> None:
        self._judge, self._clock = judge, clock
        self._reader = StepReader()
        self._newest = -1
        self._value, self._heard = 0.0, -STALE
        self.failure = ''
        """Reason why the classifier cannot evaluate these records, '' while it can."""

    def hear(self, message: Float64MultiArray) -> float | None:
        """Take a record; return the value to publish, None for a record received before."""
        schema, row = self._reader.read(message)
        sequence = int(schema.get(row, 'sequence'))
        if sequence <= self._newest and self._newest - sequence < 10_000:
            return None  # resent for a learner that missed it
        self._newest, self._heard = sequence, self._clock()
        if schema.get(row, 'flag') != Flag.RUNNING:
            self._value = 0.0
        else:
            try:
                self._value = self._judge(row[schema.fields['observation']])
            except JudgeError as error:
                self.failure, self._value = str(error), 0.0
        return self._value

    def value(self) -> float:
        """Return the value to publish while no record comes; 0 when the last one is `STALE`."""
        return self._value if self._clock() - self._heard < STALE else 0.0


def judge_run(namespace: str, *, judge: Path, say: Callable[[str], None],
              interrupts: Interrupts) -> None:
    """
    Publish the success probability of a run's states until interrupted.

    :param judge: ONNX file of the classifier
    :param say: prints a line for the operator
    :raises JudgeError: the file cannot be used, or does not fit the observation of this run
    """
    judging = Judging(Judge(judge))
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
