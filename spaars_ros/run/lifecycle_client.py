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

"""Client of the lifecycle services of other nodes."""

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.task import Future

from spaars_ros.run.neighbours import NeighbourError
from spaars_ros.run.neighbours import Neighbours

UNKNOWN = State.PRIMARY_STATE_UNKNOWN
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE
FINALIZED = State.PRIMARY_STATE_FINALIZED

STATES = {UNKNOWN: 'unknown', UNCONFIGURED: 'unconfigured', INACTIVE: 'inactive',
          ACTIVE: 'active', FINALIZED: 'finalized'}

LEAVING = ('deactivate', 'clean up')
RESEND = 1.0
"""s without a response after which a request may have been lost."""


class LifecycleError(RuntimeError):
    """Node did not reach the requested state; `node` is its name."""

    def __init__(self, node: str, text: str) -> None:
        super().__init__(f'{node}: {text}')
        self.node = node


class LifecycleClient:
    """
    Client that reads and changes the lifecycle states of other nodes.

    :param node: node that owns the clients; only the caller of these methods may spin it
    :param executor: executor that spins `node`
    :param alive: called between waits; raises to abort the wait
    :param run: token that a node must carry before its state is changed; '': any node
    :param ended: returns whether a node has announced its end
    """

    def __init__(self, node: Node, executor: Executor,
                 alive: Callable[[], None] = lambda: None, run: str = '',
                 ended: Callable[[str], bool] = lambda name: False) -> None:
        self._node = node
        self._executor = executor
        self._alive = alive
        self._ended = ended
        self._neighbours = Neighbours(node, run, self.spin) if run else None
        self._clients: dict[tuple[str, str], 'Client[Any, Any]'] = {}

    def state(self, name: str, timeout: float = 2.0) -> int:
        """Return the primary state of a node, UNKNOWN without an answer within `timeout` s."""
        return self.states([name], timeout)[name]

    def states(self, names: Sequence[str], timeout: float = 2.0, *,
               leaving: bool = False) -> dict[str, int]:
        """
        Return the primary states of nodes, UNKNOWN without an answer within `timeout` s.

        :param leaving: do not wait for nodes that have announced their end
        """
        end = time.monotonic() + timeout
        futures: 'dict[str, Future[Any]]' = {}
        while True:
            for name in names:
                client = self._client(name, 'get_state')
                if name not in futures and client.service_is_ready():
                    futures[name] = client.call_async(GetState.Request())
            self.spin(0.02)
            if time.monotonic() > end or all(
                    leaving and self._ended(name) or name in futures and futures[name].done()
                    for name in names):
                break
        states = {}
        for name in names:
            future = futures.get(name)
            answer = future.result() if future is not None and future.done() else None
            states[name] = int(answer.current_state.id) if answer else UNKNOWN
        return states

    def configure(self, name: str, timeout: float) -> None:
        """Configure a node if it is unconfigured; raises LifecycleError."""
        deadline = time.monotonic() + timeout
        self._wait_for_service(self._client(name, 'change_state'), name, timeout)
        if self._known_state(name, deadline) == UNCONFIGURED:
            self._change(name, UNCONFIGURED, Transition.TRANSITION_CONFIGURE, 'configure',
                         deadline)

    def bring_up(self, name: str, timeout: float) -> None:
        """Configure and activate a node from its present state; raises LifecycleError."""
        deadline = time.monotonic() + timeout
        self.configure(name, timeout)
        if self._known_state(name, deadline) == INACTIVE:
            self._change(name, INACTIVE, Transition.TRANSITION_ACTIVATE, 'activate', deadline)
        state = self._known_state(name, deadline)
        if state != ACTIVE:
            raise LifecycleError(name, f'is {STATES.get(state, "in transition")}, not active')

    def wait_until_active(self, name: str) -> None:
        """Wait, without a time limit, until a node has been activated."""
        while self.state(name) != ACTIVE:
            self.spin(0.2)

    def take_down(self, name: str, timeout: float) -> None:
        """Deactivate a node if it is active; raises LifecycleError."""
        if self._leaving_state(name) == ACTIVE:
            self._change(name, ACTIVE, Transition.TRANSITION_DEACTIVATE, 'deactivate',
                         time.monotonic() + timeout)

    def clean_up(self, name: str, timeout: float) -> None:
        """Clean up an inactive node, so that it closes its files; raises LifecycleError."""
        if self._leaving_state(name) == INACTIVE:
            self._change(name, INACTIVE, Transition.TRANSITION_CLEANUP, 'clean up',
                         time.monotonic() + timeout)

    def spin(self, seconds: float) -> None:
        """Handle callbacks for up to `seconds` s, then check whether to continue."""
        self._executor.spin_once(timeout_sec=seconds)
        self._alive()

    def _is_there(self, name: str) -> bool:
        """Return whether the graph contains the node; a killed node stays there for a while."""
        return not self._ended(name) and (
            name, self._node.get_namespace()) in self._node.get_node_names_and_namespaces()

    def _leaving_state(self, name: str) -> int:
        return self.states([name], leaving=True)[name] if self._is_there(name) else UNKNOWN

    def _known_state(self, name: str, deadline: float) -> int:
        """Return the state of a node as soon as it answers, UNKNOWN after the deadline."""
        while True:
            # Short waits: a request to a node that was killed is never answered, and discovery
            # takes some time to forget that node.
            state = self.state(name, RESEND)
            if state != UNKNOWN or time.monotonic() > deadline:
                return state

    def _change(self, name: str, start: int, transition: int, verb: str, deadline: float) -> None:
        """Request a transition and wait for it; raises LifecycleError."""
        if self._neighbours is not None:
            try:
                self._neighbours.require_own(name)
            except NeighbourError as error:
                raise LifecycleError(name, str(error)) from None
        request = ChangeState.Request(transition=Transition(id=transition))
        client = self._client(name, 'change_state')
        future = client.call_async(request)
        asked = time.monotonic()
        while not future.done():
            now = time.monotonic()
            if verb in LEAVING and not self._is_there(name):
                return  # it ended by itself, and so commands nothing
            if now > deadline:
                raise LifecycleError(name, f'did not {verb} in time')
            if now - asked > RESEND:
                # A node in transition does not answer; one still in its old state got no request.
                if self.state(name, RESEND) == start and not future.done():
                    future = client.call_async(request)
                asked = time.monotonic()
            self.spin(0.05)
        answer = future.result()
        if answer is None or not answer.success:
            raise LifecycleError(name, f'refused to {verb}')

    def _client(self, name: str, service: str) -> 'Client[Any, Any]':
        key = (name, service)
        if key not in self._clients:
            kind = GetState if service == 'get_state' else ChangeState
            self._clients[key] = self._node.create_client(kind, f'{name}/{service}')
        return self._clients[key]

    def _wait_for_service(self, client: 'Client[Any, Any]', name: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not client.service_is_ready():
            if time.monotonic() > deadline:
                raise LifecycleError(name, f'did not come up within {timeout:.0f} s')
            self.spin(0.05)
