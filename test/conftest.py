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

"""What every test gets: a ROS 2 graph that stays on this machine."""

import os
from pathlib import Path
import sys

import pytest

# Before anything imports rclpy: tests must never be heard on a robot's network.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.pop('ROS_DOMAIN_ID', None)
os.environ.setdefault('OMP_NUM_THREADS', '1')

# The benchmarks lie beside the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

pytest.register_assert_rewrite('server_rig', 'finetune_run')
