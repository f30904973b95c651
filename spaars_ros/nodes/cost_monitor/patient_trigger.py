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

"""Client of a Trigger service that repeats a request until it is answered."""

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

ASK_AGAIN = 0.5
"""s of wall time before an unanswered request is sent again."""


class PatientTrigger:
    """
    Call a Trigger service once per key, and again until it is answered.

    :param insist: repeat a refused request, too, until it succeeds
    :param answered: called with key, success and message of each answer
    """

    def __init__(self, node: Node, service: str, *, insist: bool,
                 answered: Callable[[int, bool, str], None]) -> None:
        self.client: 'Client[Any, Any]' = node.create_client(Trigger, service)
        self.done: set[int] = set()
        """Keys that are answered."""
        self._insist = insist
        self._answered = answered
        self._asked = (-1, 0.0)

    def ask(self, key: int) -> None:
        """Request for a key >= 0, unless answered or recently requested; do not wait."""
        asked, at = self._asked
        now = time.monotonic()
        if key in self.done or (asked == key and now - at <= ASK_AGAIN) \
                or not self.client.service_is_ready():
            return
        self._asked = (key, now)
        self.client.call_async(Trigger.Request()).add_done_callback(partial(self._on_answer, key))

    def forget(self, key: int | None = None) -> None:
        """Forget that a key was answered or requested; None: all keys."""
        if key is None:
            self.done.clear()
        self.done.discard(-1 if key is None else key)
        if key is None or self._asked[0] == key:
            self._asked = (-1, 0.0)

    def _on_answer(self, key: int, future: 'Future[Any]') -> None:
        answer = future.result()
        if answer is None:
            self._answered(key, False, 'no answer')
            return
        if answer.success or not self._insist:
            self.done.add(key)
        self._answered(key, bool(answer.success), str(answer.message))
