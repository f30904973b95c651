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

"""Detection of nodes of the run that others take out of their active state."""

from collections.abc import Sequence

from lifecycle_msgs.msg import TransitionEvent
from rclpy.node import Node
from rclpy.qos import QoSProfile

from spaars_ros.ros.diagnostics import printable


class LifecycleWatch:
    """
    Listener to the lifecycle transitions of the run's nodes.

    :param node: node that subscribes
    :param names: names of the nodes to listen to
    """

    def __init__(self, node: Node, names: Sequence[str]) -> None:
        self._inactive: dict[str, str] = {}
        self._finalized: set[str] = set()
        for name in names:
            node.create_subscription(
                TransitionEvent, f'{name}/transition_event',
                lambda msg, name=name: self._on_event(name, msg), QoSProfile(depth=10))

    @property
    def complaint(self) -> str:
        """Return an error text for a node that is no longer active, '' when there is none."""
        for name, state in self._inactive.items():
            return (f'{name} is no longer active ({state}): somebody changed its lifecycle state '
                    'while the run went on; continue with --resume')
        return ''

    def has_ended(self, name: str) -> bool:
        """Return whether a node has announced its end; the graph keeps it for seconds more."""
        return name in self._finalized

    def _on_event(self, name: str, msg: TransitionEvent) -> None:
        start, goal = printable(msg.start_state.label), printable(msg.goal_state.label)
        if goal == 'finalized':
            self._finalized.add(name)
        elif start == 'unconfigured':  # restarted
            self._finalized.discard(name)
        if goal == 'active':
            self._inactive.pop(name, None)
        elif start == 'active':
            # A learner that ends is restarted; the robot continues without it.
            if name != 'learner' or 'shut' not in goal and goal != 'finalized':
                self._inactive[name] = goal
        elif name in self._inactive:
            self._inactive[name] = goal
