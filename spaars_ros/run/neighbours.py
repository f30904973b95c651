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

"""Check that nodes belong to this run, by the token that each node carries."""

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node

DISCOVERY = 1.5
"""s of discovery before a node name counts as free."""
ANSWER = 3.0
"""s for a node to return its token; a killed node stays in the graph and never answers."""
LEASE = 25.0
"""s after which the middleware has removed a killed node from the graph."""


class NeighbourError(RuntimeError):
    """Node of this name belongs to another run; the message shows that run's token."""


class Neighbours:
    """
    Client that asks nodes for the token of their run.

    :param node: node that owns the clients
    :param run: token of this run
    :param spin: handles callbacks for the given time in s; raises to abort the wait
    """

    def __init__(self, node: Node, run: str, spin: Callable[[float], None]) -> None:
        self._node = node
        self._run = run
        self._spin = spin
        self._clients: dict[str, 'Client[Any, Any]'] = {}

    def refuse(self, names: Sequence[str]) -> None:
        """Raise NeighbourError when another run has a node of these names; changes nothing."""
        self._wait(DISCOVERY)
        # Nodes that do not answer were killed and are still in the graph.
        there = self._tokens([name for name in names if self._count(name)])
        for name, token in there.items():
            if token != self._run:
                raise NeighbourError(self._words(name, token))
        for name in there:
            end = time.monotonic() + LEASE
            while self._count(name) > 1:
                if time.monotonic() > end:
                    raise NeighbourError(self._words(name, 'not known'))
                self._wait(0.2)

    def require_own(self, name: str) -> None:
        """Raise NeighbourError unless the node of this name belongs to this run."""
        token = self._tokens([name]).get(name)
        if token is None:
            raise NeighbourError(f'{self._full(name)} does not say which run it belongs to')
        if token != self._run:
            raise NeighbourError(self._words(name, token))

    def _tokens(self, names: Sequence[str]) -> dict[str, str]:
        """Return name -> token of the nodes that answer; stop at a token of another run."""
        futures: dict[str, Any] = {}
        found: dict[str, str] = {}
        end = time.monotonic() + ANSWER
        while len(found) < len(names) and time.monotonic() < end \
                and all(token == self._run for token in found.values()):
            for name in names:
                client = self._client(name)
                if name not in futures and client.service_is_ready():
                    futures[name] = client.call_async(GetParameters.Request(names=['run']))
            self._spin(0.02)
            for name, future in futures.items():
                if future.done():
                    answer = future.result()
                    found[name] = str(answer.values[0].string_value) \
                        if answer and answer.values else ''
        return found

    def _client(self, name: str) -> 'Client[Any, Any]':
        if name not in self._clients:
            self._clients[name] = self._node.create_client(
                GetParameters, f'{name}/get_parameters')
        return self._clients[name]

    def _count(self, name: str) -> int:
        return sum(each == (name, self._node.get_namespace())
                   for each in self._node.get_node_names_and_namespaces())

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._spin(0.05)

    def _full(self, name: str) -> str:
        return f'{self._node.get_namespace().rstrip("/")}/{name}'

    def _words(self, name: str, token: str) -> str:
        return (f'{self._full(name)} already exists and belongs to another run '
                f'({token or "without a token"}); it is left unchanged. End that run, or give '
                'this one another namespace or ROS_DOMAIN_ID')
