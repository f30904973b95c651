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

"""Log of the simulated arm's true state to a file, which no network partition affects."""

import os

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from spaars_ros.commissioning.spin import spin
from spaars_ros.ros.qos import QOS

FILE = 'SPAARS_STRESS_STATES'
"""Environment variable that names the file."""


class StateLog(Node):
    """Append float64 rows (1 + 2 d): s on the system clock, d positions, d velocities."""

    def __init__(self) -> None:
        super().__init__('state_log')
        self._file = open(os.environ[FILE], 'ab', buffering=0)
        self.create_subscription(JointState, 'sim/state', self._on_state, QOS['joint_states'])

    def _on_state(self, msg: JointState) -> None:
        if len(msg.position) != len(msg.velocity) or len(msg.position) != len(msg.name):
            return  # the reader of the rows knows the robot's joints
        stamp = msg.header.stamp.sec + 1e-9 * msg.header.stamp.nanosec
        self._file.write(np.array([stamp, *msg.position, *msg.velocity]).tobytes())


def main() -> int:
    """Run the node; return its exit code."""
    return spin(StateLog)


if __name__ == '__main__':
    raise SystemExit(main())
