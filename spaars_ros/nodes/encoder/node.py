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

"""Encoder node: encode camera images into stamped features, outside the control loop."""

from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from spaars_ros.nodes.encoder.eye import Eye
from spaars_ros.nodes.encoder.parameters import PARAMETERS
from spaars_ros.robot.config import load_robot
from spaars_ros.ros import diagnostics
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.ros.lifecycle import run_node
from spaars_ros.ros.qos import QOS
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.sources import cameras_of
from spaars_ros.tasks.sources import one_per_topic
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.encoder_file import digest_of
from spaars_ros.vision.frames import FrameWriter
from spaars_ros.vision.frames import MEGA


class EncoderNode(ManagedNode):
    """Subscribe to the task's cameras; publish features per image, with stamp and digest."""

    def __init__(self, **overrides: Any) -> None:
        super().__init__('encoder', PARAMETERS, overrides=overrides)
        self._eyes: list[Eye] = []
        self._made: list[Any] = []
        self._frames: FrameWriter | None = None

    def configure(self) -> None:
        """Load the encoders of the task's cameras; raises Refused if the task has no camera."""
        p = self.values()
        task = make_task(load_robot(p['robot']), load_task(p['task']))
        cameras = cameras_of(task)
        if not cameras:
            raise Refused(f'task {task.name!r} has no camera: none of its sources is an image')
        if p['run_dir'] and p['frames_mb']:
            self._frames = FrameWriter(
                Path(p['run_dir']), p['frames_mb'] * MEGA,
                encoders={source.name: digest_of(source) for source in cameras})
        kept = [each.name for each in one_per_topic(cameras)]
        for source in cameras:
            encoder = Encoder(source, provider=p['provider'], threads=p['threads'])
            eye = Eye(self, source, encoder, lambda: self.is_active,
                      self._frames if source.name in kept else None)
            self._eyes.append(eye)
            self._made += [eye.publisher, eye.subscription]
            self.get_logger().info(
                f'{source.name}: {encoder.file.path.name}, {encoder.file.features} values of '
                f'{"x".join(map(str, encoder.size))} pixels, {encoder.provider}')
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics',
                                                  QOS['/diagnostics'])
        self._made.append(self._diagnostics)

    def activate(self) -> None:
        """Start encoding."""
        # Steady clock: simulated time may stand still.
        self._timer = self.create_timer(1.0, self._diagnose,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    def deactivate(self) -> None:
        """Stop encoding."""
        self.destroy_timer(self._timer)

    def cleanup(self) -> None:
        """Destroy what `configure` created."""
        for made in self._made:
            if not self.destroy_publisher(made):
                self.destroy_subscription(made)
        self._made, self._eyes = [], []
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def _diagnose(self) -> None:
        self._diagnostics.publish(diagnostics.diagnostic_array(
            self.get_clock().now().to_msg(), [eye.status() for eye in self._eyes]))


def main(args: list[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run_node(EncoderNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
