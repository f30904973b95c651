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

"""Quality of service (QoS) profile of each topic, shared by publishers and subscriptions."""

from rclpy.qos import DurabilityPolicy
from rclpy.qos import HistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy


def _profile(*, reliable: bool, depth: int, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth,
        reliability=(ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT),
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE))


QOS: dict[str, QoSProfile] = {
    # Depth above 1: some robots publish their joints in several messages.
    'joint_states': _profile(reliable=False, depth=8),
    'command': _profile(reliable=True, depth=1),
    'policy_server/step': _profile(reliable=True, depth=1000),
    # Latched: a driver that restarts must still see an earlier stop.
    'policy_server/status': _profile(reliable=True, depth=1, latched=True),
    # Latched: a learner that starts later must not learn from discarded episodes.
    'policy_server/label': _profile(reliable=True, depth=1000, latched=True),
    'teleop/twist': _profile(reliable=False, depth=1),
    'teleop/joint_velocity': _profile(reliable=False, depth=1),
    # Depth above 1: a button pressed for less than a tick counts, too.
    'joy': _profile(reliable=False, depth=20),
    'label': _profile(reliable=True, depth=10),
    'cost_monitor/cost': _profile(reliable=True, depth=1000),
    'cost_monitor/multiplier': _profile(reliable=True, depth=1, latched=True),
    'learner/policy': _profile(reliable=True, depth=1, latched=True),
    'learner/progress': _profile(reliable=True, depth=1, latched=True),
    'learner/fetch': _profile(reliable=True, depth=10),
    'judge/success': _profile(reliable=True, depth=1),
    'robot_description': _profile(reliable=True, depth=1, latched=True),
    'link_poses': _profile(reliable=False, depth=200),
    '/tf': _profile(reliable=True, depth=100),
    '/diagnostics': _profile(reliable=True, depth=10),
    '/clock': _profile(reliable=False, depth=1),
    'sim/held': _profile(reliable=False, depth=1),
}
"""Topic name -> QoS profile."""
