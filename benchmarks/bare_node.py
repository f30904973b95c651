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

"""Baseline node: answer each JointState with a Float64MultiArray, and nothing else."""

from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import MultiArrayDimension
from std_msgs.msg import MultiArrayLayout

from spaars_ros.commissioning.spin import spin
from spaars_ros.ros.qos import QOS


class BareNode(Node):
    """Answer each joint_states with its positions, labelled with its stamp."""

    def __init__(self) -> None:
        super().__init__('bare')
        self._publisher = self.create_publisher(Float64MultiArray, 'bare/command',
                                                QOS['command'])
        self.create_subscription(JointState, 'bare/joint_states', self._answer,
                                 QOS['joint_states'])

    def _answer(self, msg: JointState) -> None:
        stamp = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        dim = MultiArrayDimension(label=f'stamp:{stamp}', size=len(msg.position))
        self._publisher.publish(Float64MultiArray(layout=MultiArrayLayout(dim=[dim]),
                                                  data=msg.position))


def main() -> int:
    """Run the node; return its exit code."""
    return spin(BareNode)


if __name__ == '__main__':
    raise SystemExit(main())
