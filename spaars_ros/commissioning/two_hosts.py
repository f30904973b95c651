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
Two hosts on one machine: network namespaces joined by a virtual cable that can be pulled.

`python -m spaars_ros.commissioning.two_hosts FAULT TRIGGER SEED BUNDLE FILE` is the first host,
started by `spaars stress` in a separate network namespace. As the module of a node it moves that
node to the second host.
"""

from collections.abc import Callable
import ctypes
import dataclasses
import json
import os
from pathlib import Path
import re
import runpy
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any

import numpy as np

from spaars_ros.commissioning.state_log import FILE
from spaars_ros.interrupts import die_with_parent
from spaars_ros.run.bringup import NodeDescription

NAMESPACE = 'SPAARS_STRESS_NETWORK'
CLONE_NEWNET = 0x40000000
HOSTS = ('10.77.0.1/24', '10.77.0.2/24')
ADDRESSES = tuple(host.split('/')[0] for host in HOSTS)
PEERS = 'ROS_STATIC_PEERS'


def unshare() -> list[str]:
    """Return the command prefix that starts a command in a separate network."""
    return ['unshare', '--net'] if os.geteuid() == 0 else ['unshare', '--map-root-user', '--net']


def why_not() -> str:
    """Return why network namespaces are impossible here, '' when they are possible."""
    try:
        subprocess.run([*unshare(), 'ip', 'link', 'add', 'here', 'type', 'veth', 'peer', 'name',
                        'there'], check=True, capture_output=True, text=True, timeout=10)
    except OSError as error:
        return f'{error.filename}: {error.strerror}'
    except subprocess.CalledProcessError as error:
        return f'no network namespaces: {error.stderr.strip()}'
    except subprocess.TimeoutExpired:
        return 'no network namespaces: no answer'
    return ''


class TwoHosts:
    """
    A second host beside this process, which has to be in a separate network namespace.

    :param multicast: whether multicast is routed over the cable
    """

    def __init__(self, multicast: bool = True) -> None:
        self._multicast = multicast

    def __enter__(self) -> 'TwoHosts':
        """Create the second host and the cable; raise CalledProcessError or OSError."""
        self._other = subprocess.Popen(['unshare', '--net', 'sleep', 'infinity'],
                                       preexec_fn=die_with_parent)
        self.namespace = f'/proc/{self._other.pid}/ns/net'
        while os.readlink(self.namespace) == os.readlink('/proc/self/ns/net'):
            time.sleep(0.01)
        self._plug_in()
        for name, address, run in (('here', HOSTS[0], _run), ('there', HOSTS[1], self._there)):
            run('ip', 'link', 'set', 'lo', 'up')
            run('ip', 'address', 'add', address, 'dev', name)
            run('ip', 'link', 'set', name, 'up')
            if self._multicast:
                run('ip', 'route', 'add', '224.0.0.0/4', 'dev', name)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End the second host."""
        self._other.kill()
        self._other.wait()

    def _plug_in(self) -> None:
        """Create the interfaces `here` and `there`, joined by a cable."""
        _run('ip', 'link', 'add', 'here', 'type', 'veth', 'peer', 'name', 'there')
        _run('ip', 'link', 'set', 'there', 'netns', str(self._other.pid))

    def cut(self) -> None:
        """Pull the cable at the other end, so that this host keeps its address."""
        self._there('ip', 'link', 'set', 'there', 'down')

    def mend(self) -> None:
        """Reconnect the cable."""
        self._there('ip', 'link', 'set', 'there', 'up')
        if self._multicast:
            self._there('ip', 'route', 'add', '224.0.0.0/4', 'dev', 'there')

    @staticmethod
    def traffic() -> tuple[int, int]:
        """Return the bytes that this host has sent and received over the cable, with headers."""
        for line in Path('/proc/self/net/dev').read_text().splitlines():
            name, _, counters = line.partition(':')
            if name.strip() == 'here':
                values = counters.split()
                return int(values[8]), int(values[0])
        raise OSError('no cable')

    def _there(self, *command: str) -> None:
        _run('nsenter', '--net=' + self.namespace, *command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)


class RemoteNode(NodeDescription):
    """A node that runs on the second host; this module moves it there."""

    @property
    def module(self) -> str:
        """Return this module."""
        return 'spaars_ros.commissioning.two_hosts'


def on_second_host(name: str) -> Callable[[NodeDescription], NodeDescription]:
    """Return a function that moves the node of this name to the second host."""
    def moved(node: NodeDescription) -> NodeDescription:
        return RemoteNode(**{each.name: getattr(node, each.name)
                             for each in dataclasses.fields(node)}) \
            if node.name == name else node
    return moved


def run_there() -> None:
    """Enter the second host's network, then run as the node."""
    with open(os.environ[NAMESPACE]) as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), 'setns')
    if PEERS in os.environ:  # each host names the other
        os.environ[PEERS] = ADDRESSES[0]
    name = re.findall(r'__node:=(\w+)', ' '.join(sys.argv))[0]
    module = 'commissioning.state_log' if name == 'state_log' else f'nodes.{name}.node'
    runpy.run_module(f'spaars_ros.{module}', run_name='__main__', alter_sys=True)


def run_here(name: str, trigger: str, seed: int, start: Path, out: Path) -> None:
    """Run one fault with a node on the second host; write its row to `out`."""
    from spaars_ros.commissioning.stress_faults import BY_NAME
    from spaars_ros.commissioning.stress_faults import inject
    from spaars_ros.commissioning.stress_rig import prepare
    from spaars_ros.commissioning.stress_rig import StressRig
    fault = BY_NAME[name]
    # Between hosts: the subnet holds only the other end of the cable, and shared memory, which
    # would bypass the partition, is off.
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='SUBNET',
                      FASTDDS_BUILTIN_TRANSPORTS='UDPv4')

    def mend() -> None:
        hosts.mend()
        if fault.remote == 'sim':  # its states could not be received here meanwhile
            rows = np.fromfile(states).reshape(-1, 1 + 2 * len(run.robot.joints))
            rig.watch.replace_samples(rows)
    with TwoHosts() as hosts, tempfile.TemporaryDirectory(prefix='spaars_stress_') as folder:
        states = Path(folder) / 'states.f64'
        os.environ.update({NAMESPACE: hosts.namespace, FILE: str(states)})
        run = prepare(Path(folder), seed, start)
        rig = StressRig(run, on_second_host(fault.remote), [RemoteNode('state_log', 'state_log')]
                        if fault.remote == 'sim' else [], trigger=trigger)
        try:
            rig.start()
            row = inject(rig, fault, cut=hosts.cut, mend=mend)
        finally:
            rig.close()
    out.write_text(json.dumps(row))


def stress(name: str, trigger: str, seed: int, start: Path, timeout: float = 120.0
           ) -> dict[str, Any]:
    """
    Return the row of a fault between two hosts.

    :param name: of the fault
    :param trigger: as for `spaars_ros.commissioning.stress.run`
    :param seed: of the run
    :param start: bundle that the run begins with
    :param timeout: s for all of it
    :raises RuntimeError: it could not run
    :raises subprocess.TimeoutExpired: it took longer than `timeout`
    """
    with tempfile.TemporaryDirectory(prefix='spaars_hosts_') as folder:
        out = Path(folder) / 'row.json'
        done = subprocess.run(
            [*unshare(), sys.executable, '-m', 'spaars_ros.commissioning.two_hosts', name, trigger,
             str(seed), str(start), str(out)],
            capture_output=True, text=True, timeout=timeout)
        if done.returncode or not out.exists():
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
            raise RuntimeError(f'{name}: the host ended with code {done.returncode}: '
                               + '; '.join(words))
        row: dict[str, Any] = json.loads(out.read_text())
        return row


if __name__ == '__main__':
    if NAMESPACE in os.environ:
        run_there()
    else:
        run_here(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
