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

"""What the simulated scene measures beside the arm, on the topics of the task's sources."""

from collections.abc import Mapping
from typing import Any

from rclpy.node import Node

from spaars_ros.nodes.sim.state_writer import time_of
from spaars_ros.robot.config import ConfigError
from spaars_ros.ros.sources.writer import SourceWriter
from spaars_ros.sim.driven_arm import DrivenArm
from spaars_ros.sim.source_faults import SourceFaults
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.sources import sources_of


class SourcePublishers:
    """
    Publish each source that the scene feeds, once per state.

    :raises ConfigError: a source is declared nowhere, or not as wide as what the scene measures
    """

    def __init__(self, node: Node, task: Task, arm: DrivenArm, *, seed: int) -> None:
        self._arm = arm
        self._faults = SourceFaults(seed=seed)
        self._sent: list[Any] = []
        measured = arm.sources()
        self._writers: dict[str, SourceWriter] = {}
        for source in sources_of(task):
            if source.camera is not None:
                continue  # drawn, see CameraPublishers
            if source.name not in measured:
                node.get_logger().warning(
                    f'source {source.name} is of no sensor in the scene: it has to come from '
                    f'elsewhere, on {node.resolve_topic_name(source.on)}')
                continue
            frame = task.robot.tip if source.frame == 'tool' else source.frame
            writer = self._writers[source.name] = SourceWriter(node, source, frame)
            width = len(measured[source.name].values)
            if writer.width not in (None, width):
                raise ConfigError(
                    f'source {source.name!r}: the scene measures {width} values, the fields of '
                    f'its type are {", ".join(writer.fields)}: select {width} of them')

    @property
    def publishers(self) -> list[Any]:
        """Return every publisher."""
        return [writer.publisher for writer in self._writers.values()]

    def clear(self) -> None:
        """Forget what is under way, as a reset of the arm does."""
        self._faults.clear()

    def send(self, stamp_ns: int, faults: Mapping[str, float], again: bool = False) -> None:
        """
        Measure and publish.

        :param stamp_ns: of the state that these belong to
        :param again: the same as before, to a server that has not answered
        """
        if not self._writers:
            return
        if not again:
            measured = {name: sample.values for name, sample in self._arm.sources().items()
                        if name in self._writers}
            self._sent = self._faults.measured(stamp_ns, measured, faults)
        for stamp, name, values in self._sent:
            self._writers[name].send(values, time_of(stamp))
