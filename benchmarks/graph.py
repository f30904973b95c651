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
"""Run a node of the benchmark beside the nodes that it measures."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.lifecycle_client import LifecycleClient

BRINGUP_TIMEOUT = 60.0  # s, for one node


@dataclass(frozen=True)
class Beside:
    """Node and executor in this process, and the measured nodes in their own processes."""

    node: Node
    executor: SingleThreadedExecutor
    client: LifecycleClient
    processes: Processes
    alive: Callable[[], None]
    """Check that all processes live; raises RuntimeError if one died."""

    def bring_up(self, graph: Sequence[NodeDescription]) -> None:
        """Start all processes and activate these nodes in order."""
        self.processes.start()
        for each in graph:
            self.client.bring_up(each.name, BRINGUP_TIMEOUT)

    def take_down(self, graph: Sequence[NodeDescription]) -> None:
        """Deactivate and clean up these nodes in reverse order."""
        for each in reversed(graph):
            self.client.take_down(each.name, BRINGUP_TIMEOUT)
            self.client.clean_up(each.name, BRINGUP_TIMEOUT)


@contextmanager
def beside(settings: RunSettings, graph: Sequence[NodeDescription], name: str
           ) -> Iterator[Beside]:
    """Create a node `name` beside the processes of a graph; stop all of them at the end."""
    processes = Processes(settings, list(graph))
    rclpy.init(args=[])
    node = rclpy.create_node(name, namespace=settings.namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def alive() -> None:
        for dead in processes.poll(respawn=False):
            raise RuntimeError(f'{dead} died: {processes.last_words(dead)}')
    try:
        yield Beside(node, executor, LifecycleClient(node, executor, alive), processes, alive)
    finally:
        processes.stop()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()

