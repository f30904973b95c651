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

"""Client of the service that moves the arm to its start pose."""

from collections.abc import Callable
import time
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from spaars_ros.ros.codecs import MAX_STAMP_DIGITS
from spaars_ros.safety.stop import Stop


class ArmReset:
    """
    Call the reset service and wait for its answer without blocking.

    If the message of a successful answer is a number, as that of `sim/reset`, it is the stamp of
    the first state after the reset. Otherwise that state is the next one.

    :param name: service name
    :param timeout: s of wall time to wait for the answer
    :param done: called with the stamp in ns of the first joint_states after the reset; None: the
        next ones
    :param failed: called with the stop if the reset failed
    """

    def __init__(self, node: Node, name: str, *, timeout: float,
                 done: Callable[[int | None], None], failed: Callable[[Stop], None]) -> None:
        self.client: 'Client[Any, Any]' = node.create_client(Trigger, name)
        self._name = name
        self._timeout = timeout
        self._done = done
        self._failed = failed
        self._deadline: float | None = None
        self._asked: 'Future[Any] | None' = None

    def call(self) -> None:
        """Request a reset."""
        self._deadline = time.monotonic() + self._timeout
        self._asked = self.client.call_async(Trigger.Request())
        self._asked.add_done_callback(self._on_answer)

    def cancel(self) -> None:
        """Stop waiting; a late answer is ignored."""
        self._deadline = self._asked = None

    def check(self, now: float) -> None:
        """Fail if the answer is overdue at `now`, s on the monotonic clock."""
        if self._deadline is not None and now > self._deadline:
            self.cancel()
            self._failed(Stop('RESET_FAILED', self._timeout, self._timeout,
                              f's (reset_time) without an answer of {self._name}'))

    def _on_answer(self, future: 'Future[Any]') -> None:
        answer = future.result()
        if future is not self._asked or answer is None:
            return
        self.cancel()
        if answer.success:
            number = answer.message
            stamped = number.isascii() and number.isdecimal() and len(number) <= MAX_STAMP_DIGITS
            self._done(int(number) if stamped else None)
        else:
            self._failed(Stop('RESET_FAILED', 0.0, 1.0, f'{self._name} answered '
                              f'{answer.message!r}'))
