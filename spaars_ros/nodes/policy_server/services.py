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

"""Services of the policy server: estop, reset, rollback, labels."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.service import Service
from std_srvs.srv import Trigger

from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.bundle_manager import RollbackRefused
from spaars_ros.control.labels import LabelRefused
from spaars_ros.control.labels import READY
from spaars_ros.control.labels import WORDS
from spaars_ros.nodes.policy_server.responder import Responder
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.safety.stop import Stop


class ServerServices:
    """
    Services for the operator and the cost monitor; all are refused while the node is inactive.

    :param responder: returns the responder of the current activation
    :param cause: returns a further cause that prevents a reset, None for none
    :param label: applies the text of a label and returns the result; raises LabelRefused
    """

    def __init__(self, node: ManagedNode, bundle_manager: BundleManager, *,
                 responder: Callable[[], Responder], cause: Callable[[], Stop | None],
                 label: Callable[[str], str]) -> None:
        self._node = node
        self._bundle_manager = bundle_manager
        self._responder = responder
        self._cause = cause
        self._label = label
        answers: dict[str, Callable[[], tuple[bool, str]]] = {
            'reset': self._reset, 'rollback': self._rollback,
            **{f'label_{word}': partial(self._say, word) for word in (*WORDS, READY)}}
        self.made: list[Service[Any, Any]] = [
            node.create_service(Trigger, f'policy_server/{name}', self._guarded(answer))
            for name, answer in answers.items()]
        # A separate group: other callbacks run while its answer waits.
        self.made.append(node.create_service(Trigger, 'policy_server/estop', self._estop,
                                             callback_group=ReentrantCallbackGroup()))

    def _guarded(self, answer: Callable[[], tuple[bool, str]]
                 ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def call(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = (
                answer() if self._node.is_active else (False, 'the policy server is not active'))
            return response
        return call

    async def _estop(self, request: Trigger.Request, response: Trigger.Response
                     ) -> Trigger.Response:
        """Latch a stop; answer once the first braking command is sent."""
        response.success = self._node.is_active
        if not response.success:
            response.message = 'the policy server is not active'
            return response
        self._responder().trip(Stop('ESTOP', 1.0, 0.0, 'policy_server/estop was called'))
        await self._responder().braking()
        response.message = 'stopped'
        return response

    def _reset(self) -> tuple[bool, str]:
        cause = self._responder().resume(self._cause())
        if cause is not None:
            return False, f'the cause persists: {cause}'
        return True, 'running'

    def _say(self, word: str) -> tuple[bool, str]:
        try:
            said = self._label(word)
        except LabelRefused as error:
            return False, str(error)
        self._node.get_logger().info(f'label: {said}')
        self._responder().logbook.announce()
        return True, said

    def _rollback(self) -> tuple[bool, str]:
        try:
            version = self._bundle_manager.rollback()
        except RollbackRefused as error:
            return False, str(error)
        said = f'version {version} was taken back'
        self._node.get_logger().warning(f'policy_server/rollback: {said}')
        self._responder().logbook.announce()
        return True, said
