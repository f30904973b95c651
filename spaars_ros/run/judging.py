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

"""A classifier at work: hears step records, and says on a topic how likely the task is done."""

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
"""s between two messages while no step comes: whoever listens has to see that it lives."""
STALE = 1.0
"""s after which the last step says nothing any more."""


class Judging:
    """
    What is published after each record: 0 before the first, and from an episode's end on.

    An episode that begins must not find the success of the one before.
    """

    def __init__(self, judge: Judge, clock: Callable[[], float] = time.monotonic) -> None:
        self._judge, self._clock = judge, clock
        self._reader = StepReader()
        self._newest = -1
        self._value, self._heard = 0.0, -STALE
        self.failure = ''
        """Why the classifier cannot judge these records, '' while it can."""

    def hear(self, message: Float64MultiArray) -> float | None:
        """Take a record; return what is to be said, None for one that was heard before."""
        schema, row = self._reader.read(message)
        sequence = int(schema.get(row, 'sequence'))
        if sequence <= self._newest and self._newest - sequence < 10_000:
            return None  # sent again for a learner that missed it
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
        """Return what is said while no record comes."""
        return self._value if self._clock() - self._heard < STALE else 0.0


def judge_run(namespace: str, *, judge: Path, say: Callable[[str], None],
              interrupts: Interrupts) -> None:
    """
    Judge a run's states until interrupted.

    :raises JudgeError: the file cannot be used, or not for what this run observes
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
