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

"""SROS2 enclaves of the processes of a run."""

import os

ENCLAVES = '/spaars_ros'
"""Prefix of the enclaves in config/security/policy.xml."""


def enclave_arguments(name: str) -> list[str]:
    """
    Return the ROS arguments (to follow `--ros-args`) that select the enclave of a process.

    The list is empty unless ROS_SECURITY_ENABLE is true. If it is true, a middleware built
    without security refuses to create a node, so that no run is unprotected by mistake.

    :param name: name of the node, without namespace
    """
    if os.environ.get('ROS_SECURITY_ENABLE') != 'true':
        return []
    return ['--enclave', f'{ENCLAVES}/{name}']
