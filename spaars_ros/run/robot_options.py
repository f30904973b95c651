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

"""What a run may be told of topics and keys; command line and launch files both have these."""

TEXTS = {
    'command_interface': 'what the controller takes: forward_velocity, forward_position or '
                         "joint_trajectory; default: the robot file's",
    'joint_states': "topic with the robot's joint states; default: joint_states",
    'command': "topic of the robot's controller; default: command",
    'signing_key': 'private key (spaars keys generate) that signs every bundle of the run',
    'public_key': 'public key; the policy server refuses what it did not sign',
    'params_file': 'ROS 2 parameter file whose values win',
    'namespace': 'namespace of every node; two runs in one domain need two',
}
"""Option -> what it is; a command line has - for _."""
KEYS = ('signing_key', 'public_key')
"""Those that name key files."""
