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

"""Publish the sensors of the simulated scene on the topics of the task's sources."""

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
    Publish each source that the scene measures, once per state.

    :param seed: seed of the source faults
    :raises ConfigError: a source is not declared, or its width differs from the measurement
    """

    def __init__(self, node: Node, task: Task, arm: DrivenArm, *, seed: int) -> None:
        self._arm = arm
        self._faults = SourceFaults(seed=seed)
        self._sent: list[Any] = []
        measured = arm.sources()
        self._writers: dict[str, SourceWriter] = {}
        for source in sources_of(task):
            if source.camera is not None:
                continue  # rendered, see CameraPublishers
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
        """Return all publishers."""
        return [writer.publisher for writer in self._writers.values()]

    def clear(self) -> None:
        """Discard delayed samples, for instance after a reset of the arm."""
        self._faults.clear()

    def send(self, stamp_ns: int, faults: Mapping[str, float], again: bool = False) -> None:
        """
        Measure all sources and publish them.

        :param stamp_ns: stamp in ns of the state that the samples belong to
        :param faults: fault -> value
        :param again: publish the last samples again, for a policy server that has not answered
        """
        if not self._writers:
            return
        if not again:
            measured = {name: sample.values for name, sample in self._arm.sources().items()
                        if name in self._writers}
            self._sent = self._faults.measured(stamp_ns, measured, faults)
        for stamp, name, values in self._sent:
            self._writers[name].send(values, time_of(stamp))
