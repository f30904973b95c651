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

"""
A cable between two hosts that delays and drops packets.

`python -m spaars_ros.commissioning.lossy_cable NAMESPACE` joins two TAP interfaces, `here` in its
own network namespace and `there` in another. It reads delay (s) and loss (share) from its input,
one pair per line, and answers each with a line. The kernel's netem does the same, where it exists.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

from spaars_ros.commissioning.two_hosts import CLONE_NEWNET
from spaars_ros.commissioning.two_hosts import TwoHosts
from spaars_ros.interrupts import die_with_parent

TUN = '/dev/net/tun'
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME = 65536
"""bytes, more than an Ethernet frame has."""


def why_no_cable() -> str:
    """Return why there is no lossy cable on this machine, '' where there is one."""
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f'{TUN}: {error.strerror}'
    return ''


class LossyHosts(TwoHosts):
    """Two hosts whose cable delays and drops packets of both directions."""

    def __enter__(self) -> 'LossyHosts':
        """Create the second host and the cable; raise CalledProcessError or OSError."""
        super().__enter__()
        return self

    def _plug_in(self) -> None:
        self._cable = subprocess.Popen(
            [sys.executable, '-m', 'spaars_ros.commissioning.lossy_cable', self.namespace],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent)
        self.impair(0.0, 0.0)

    def impair(self, delay: float, loss: float) -> None:
        """
        Delay and drop packets from now on.

        :param delay: s, each way
        :param loss: share of the packets, each way
        :raises OSError: the cable has ended
        """
        assert self._cable.stdin is not None and self._cable.stdout is not None
        self._cable.stdin.write(f'{delay} {loss}\n')
        self._cable.stdin.flush()
        if not self._cable.stdout.readline():
            raise OSError('the cable between the hosts has ended')


def tap(name: str) -> int:
    """Create a TAP interface in this thread's network; return its file; raise OSError."""
    file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack('16sH', name.encode(), IFF_TAP | IFF_NO_PI))
    return file


def relay(one: int, other: int, orders: int) -> None:
    """Carry frames between two TAP files until `orders`, a file of lines, ends."""
    across = {one: other, other: one}
    waiting: list[tuple[float, int, int, bytes]] = []
    delay = loss = 0.0
    count = 0
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([one, other, orders], [], [], patience)
        if orders in ready:
            line = os.read(orders, 200)
            if not line:
                return
            delay, loss = map(float, line.split())
            os.write(1, b'taken\n')
        for file in set(ready) - {orders}:
            frame = _read(file)
            if frame and random.random() >= loss:
                count += 1  # frames that are due at the same time keep their order
                heapq.heappush(waiting, (time.monotonic() + delay, count, across[file], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, file, frame = heapq.heappop(waiting)
            _write(file, frame)


def _read(file: int) -> bytes:
    try:
        return os.read(file, FRAME)
    except OSError:  # the interface is down
        return b''


def _write(file: int, frame: bytes) -> None:
    try:
        os.write(file, frame)
    except OSError:  # as into a socket in which no plug is
        pass


def main() -> None:
    """Create both interfaces, then relay."""
    here = tap('here')
    with open(sys.argv[1]) as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), 'setns')
    relay(here, tap('there'), sys.stdin.fileno())


if __name__ == '__main__':
    main()
