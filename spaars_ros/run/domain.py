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


"""ROS domain of a simulated run: unused by others and limited to this machine."""

import os
import socket

FIRST_PORT = 7410
PORTS_A_DOMAIN = 250


def free_domain() -> int:
    """
    Return a ROS domain, 1 to 100, whose discovery port is free on this machine.

    The first one tried depends on the process id, so that runs started together differ.

    :raises RuntimeError: none is free
    """
    first = os.getpid() % 100
    for step in range(100):
        domain = 1 + (first + step) % 100
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', FIRST_PORT + PORTS_A_DOMAIN * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError('ROS_DOMAIN_ID is not set, and the ports of domains 1 to 100 are all in '
                       'use on this machine: end runs that are left over, or set ROS_DOMAIN_ID')


def stay_on_this_machine() -> None:
    """Set discovery range and domain for this process and its children, unless already set."""
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if os.environ.get('ROS_DISTRO') == 'humble':  # knows only this variable
        os.environ.setdefault('ROS_LOCALHOST_ONLY', '1')
    if not os.environ.get('ROS_DOMAIN_ID'):
        os.environ['ROS_DOMAIN_ID'] = str(free_domain())
