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
"""Lock that allows one run per ROS domain and namespace on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import hashlib
import os
import socket
import struct
import sys

from spaars_ros.run.folder import RunError


@contextmanager
def claimed_graph(namespace: str) -> Iterator[None]:
    """
    Hold the exclusive right to start nodes in a namespace of this process's ROS domain.

    `Neighbours` finds running nodes, also on other machines. Two runs that start at the same time
    cannot see each other's nodes yet, and each would control the nodes of the other. The lock is
    the name of an abstract socket, which has the scope of a domain's ports and disappears with the
    process. It exists on Linux only; elsewhere nothing is locked.

    :param namespace: namespace of the run's nodes
    :raises RunError: another process on this machine holds the lock
    """
    domain = os.environ.get('ROS_DOMAIN_ID') or '0'
    place = namespace.strip('/')
    name = f'\0spaars_ros/{domain}/{hashlib.sha256(place.encode()).hexdigest()[:16]}'
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        if sys.platform == 'linux':
            try:
                claim.bind(name)
            except OSError:
                raise RunError(
                    f'process {_holder(name)} has a run in /{place} with ROS_DOMAIN_ID={domain}: '
                    'it is left unchanged. End that run, or give this one another namespace or '
                    'ROS_DOMAIN_ID') from None
            claim.listen(8)
        yield


def _holder(name: str) -> str:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asks:
        asks.settimeout(1.0)
        asks.connect(name)
        size = struct.calcsize('3i')
        return str(struct.unpack('3i', asks.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])
    return 'unknown'
