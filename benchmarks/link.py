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
The learner on another machine: what a cut link, and one with delay and loss, do to a run.

`python -m benchmarks.link SETTINGS FILE` is the robot's machine, in a network of its own.
"""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from types import MappingProxyType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.node import Node
from std_msgs.msg import UInt8MultiArray

from benchmarks.stop_log import StopLog
from benchmarks.tables import write_table
from spaars_ros.commissioning.lossy_cable import LossyHosts
from spaars_ros.commissioning.lossy_cable import why_no_cable
from spaars_ros.commissioning.stress_rig import prepare
from spaars_ros.commissioning.stress_rig import StressRig
from spaars_ros.commissioning.two_hosts import ADDRESSES
from spaars_ros.commissioning.two_hosts import NAMESPACE
from spaars_ros.commissioning.two_hosts import on_second_host
from spaars_ros.commissioning.two_hosts import PEERS
from spaars_ros.commissioning.two_hosts import unshare
from spaars_ros.commissioning.two_hosts import why_not
from spaars_ros.data.recording import read_steps
from spaars_ros.data.spool import read_spool
from spaars_ros.robot.files import share_directory
from spaars_ros.ros.diagnostics import own_name
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.run.domain import free_domain

COMMAND = './run bench link'
PATIENCE = 60.0
"""s for the learner to have every step, and for a new bundle to come, after a phase."""
IDLE = 0.25
"""Share of `seconds` in which no step is made, to know what the link carries anyway."""
ENVIRONMENT = {
    # No multicast: only a peer that is named is found.
    'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', PEERS: ADDRESSES[1],
    # Both hosts are one machine, and its shared memory would go around the cable; a profile
    # has its own transports in place of this one.
    'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}
PROFILE = share_directory() / 'config' / 'dds' / 'lossy_link.xml'
"""Fast DDS profile for links that lose packets."""
SMALL: dict[str, Any] = {
    # Bundles of full size, from few updates: what is measured is the link.
    'utd': 0.25, 'compile': 'off', 'warmup_steps': 60, 'critic_steps': 40,
    'min_latent_steps': 100, 'max_latent_steps': 150, 'cvae_steps': 100, 'iql_steps': 100,
    'align_steps': 50}
"""Training constants in place of the training file's."""


@dataclass(frozen=True)
class LinkPhase:
    """One state of the link."""

    name: str
    seconds: float
    cut: bool = False
    delay: float = 0.0
    """s, each way."""
    loss: float = 0.0
    """Share of the packets, each way."""


def phases(seconds: float, delay: float = 0.05, loss: float = 0.05) -> list[LinkPhase]:
    """Return the phases of a measurement: the link as it is, cut, and with delay and loss."""
    return [LinkPhase('as it is', IDLE * seconds), LinkPhase('cut', seconds, cut=True),
            LinkPhase(f'{1e3 * delay:g} ms and {100 * loss:g} % loss each way', seconds,
                      delay=delay, loss=loss)]


def run(seconds: float = 60.0, *, delay: float = 0.05, loss: float = 0.05,
        training: str = 'spaars', seed: int = 0, tables: bool = False,
        server: Mapping[str, Any] = MappingProxyType({}), profile: bool = True
        ) -> dict[str, Any]:
    """
    Run a robot and a learner on two hosts with a link that is cut, then delays and loses packets.

    :param seconds: of each of the two
    :param delay: s, each way
    :param loss: share of the packets, each way
    :param training: training file; its networks make the size of a bundle
    :param tables: write the documentation's table, too
    :param server: parameters of the policy server
    :param profile: whether both hosts have the Fast DDS profile for links that lose packets
    :return: `rows` (one per phase: see `measured`), `idle` (kB/s of each direction without
        steps), `rate` (Hz), `bundle_kb`, `lost` (steps of the server that the learner does not
        have, or has differently), `twice` (steps that the learner has recorded twice)
    :raises RuntimeError: there are no network namespaces here, or the run did not come up
    """
    reason = why_not() or why_no_cable()
    if reason:
        raise RuntimeError(reason)
    settings = json.dumps({'seconds': seconds, 'delay': delay, 'loss': loss, 'seed': seed,
                           'training': training, 'server': dict(server)})
    with tempfile.TemporaryDirectory(prefix='spaars_link_') as folder:
        out = Path(folder) / 'result.json'
        environment = {**os.environ, **ENVIRONMENT, 'ROS_DOMAIN_ID': str(free_domain())}
        if profile:
            environment['FASTDDS_DEFAULT_PROFILES_FILE'] = str(PROFILE)
        done = subprocess.run(
            [*unshare(), sys.executable, '-m', 'benchmarks.link', settings, str(out)],
            capture_output=True, text=True, timeout=3.0 * seconds + 8 * PATIENCE,
            env=environment, cwd=Path(__file__).resolve().parent.parent)
        if done.returncode or not out.exists():
            raise RuntimeError("the robot's host ended with code "
                               f'{done.returncode}: {done.stderr.strip()[-2000:]}')
        result: dict[str, Any] = json.loads(out.read_text())
    if tables:
        _write_table(result, seed, profile)
    return result


class LinkWatch:
    """
    What the robot's side sees: stops, which it resets, and bundles that passed the check.

    :param node: in the namespace of the run
    """

    def __init__(self, node: Node) -> None:
        self.log = StopLog(node, go_on=True)
        self.accepted = 0
        self._namespace = node.get_namespace()
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics,
                                 QOS['/diagnostics'])

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if own_name(self._namespace, status.name):
                self.accepted = int(values_of(status).get('bundles_accepted', self.accepted))


def measured(rig: StressRig, hosts: LossyHosts, seen: LinkWatch, phase: LinkPhase
             ) -> dict[str, Any]:
    """
    Return what became of a run in one phase of the link.

    Keys: steps (made by the server in the phase), behind (of them not yet with the learner at its
    end), caught_up_s (from its end until the learner had all of them, None: never), bundles
    (taken in the phase), bundle_after_s (from its end to the first bundle after it), stops, and
    to_learner_kb_s, to_robot_kb_s (in the phase), to_learner_kb, to_robot_kb (from its end until
    the learner had caught up).
    """
    watch = rig.watch

    def until(condition: Callable[[], bool], seconds: float) -> bool:
        def look() -> bool:
            seen.log.tend()
            return condition()
        return rig.until(look, seconds)
    rig.wait_until_moving()
    until(lambda: watch.received > watch.newest - 5, PATIENCE)
    first, stops, bundles = watch.newest, len(seen.log.stops), seen.accepted
    begin, sent = time.monotonic(), hosts.traffic()
    if phase.cut:
        hosts.cut()
    hosts.impair(phase.delay, phase.loss)
    until(lambda: False, phase.seconds)
    last, behind, taken = watch.newest, watch.newest + 1 - watch.received, seen.accepted
    rates = _kilobytes(hosts, sent) / (time.monotonic() - begin)
    if phase.cut:
        hosts.mend()
    hosts.impair(0.0, 0.0)
    end, sent = time.monotonic(), hosts.traffic()
    caught = until(lambda: watch.received > last, PATIENCE)
    caught_up = time.monotonic() - end
    after = _kilobytes(hosts, sent)
    bundle = until(lambda: seen.accepted > taken, PATIENCE)
    return {'phase': phase.name, 'seconds': phase.seconds, 'steps': last - first,
            'behind': max(0, behind), 'caught_up_s': caught_up if caught else None,
            'bundles': taken - bundles,
            'bundle_after_s': time.monotonic() - end if bundle else None,
            'stops': seen.log.stops[stops:],
            'to_learner_kb_s': float(rates[0]), 'to_robot_kb_s': float(rates[1]),
            'to_learner_kb': float(after[0]), 'to_robot_kb': float(after[1])}


def _kilobytes(hosts: LossyHosts, before: tuple[int, int]) -> 'np.ndarray[Any, np.dtype[Any]]':
    """Return kB to the learner and to the robot since `before`."""
    return (np.array(hosts.traffic()) - before) / 1e3


def run_here(settings: dict[str, Any]) -> dict[str, Any]:
    """Run the robot's host, in a network namespace of its own; return what `run` does."""
    seconds = settings['seconds']
    learning = SMALL if settings['training'] != 'smoke' else {'utd': 0.25}
    with LossyHosts(multicast=False) as hosts, \
            tempfile.TemporaryDirectory(prefix='spaars_link_') as folder:
        os.environ[NAMESPACE] = hosts.namespace
        run = prepare(Path(folder), settings['seed'], training=settings['training'],
                      learning=learning)
        rig = StressRig(run, on_second_host('learner'), server=settings['server'])
        try:
            rig.start()
            seen = LinkWatch(rig.node)
            rows = [measured(rig, hosts, seen, phase) for phase in phases(
                seconds, settings['delay'], settings['loss'])]
            rig.client.take_down('policy_server', 20.0)
            rig.until(lambda: rig.watch.received > rig.watch.newest, PATIENCE)
            rig.spin(IDLE * seconds)  # what is still owed is learned, and its bundle sent
            sent = hosts.traffic()
            rig.spin(IDLE * seconds)
            idle = _kilobytes(hosts, sent) / (IDLE * seconds)
            lost = rig.transitions_lost(PATIENCE)
            bundle = _bundle_bytes(rig)
        finally:
            rig.close()
        schema, spooled = read_spool(run.path / 'spool')
        recorded = schema.get(read_steps(run.recording)[1], 'sequence')
        return {'rows': rows, 'steps': len(spooled), 'lost': lost,
                'twice': len(recorded) - len(np.unique(recorded)), 'rate': run.robot.control.rate,
                'bundle_kb': bundle / 1e3,
                'idle': {'to_learner_kb_s': float(idle[0]), 'to_robot_kb_s': float(idle[1])}}


def _bundle_bytes(rig: StressRig) -> int:
    """Return the bytes of the bundle that the learner published last."""
    sizes: list[int] = []
    rig.node.create_subscription(UInt8MultiArray, 'learner/policy',
                                 lambda msg: sizes.append(len(msg.data)), QOS['learner/policy'])
    rig.until(lambda: bool(sizes), PATIENCE)
    return sizes[-1] if sizes else 0


def _write_table(result: dict[str, Any], seed: int, profile: bool) -> None:
    idle = result['idle']

    def shown(value: float | None) -> str:
        return 'never' if value is None else f'{value:.1f}'
    write_table('link' if profile else 'link-default', [
        'link', 's', 'steps', 'not with the learner at the end', 'all with it after, s',
        'bundles', 'next bundle after, s', 'stops', 'to the learner, kB/s',
        'to the robot, kB/s'], [
        [row['phase'], f'{row["seconds"]:g}', str(row['steps']), str(row['behind']),
         shown(row['caught_up_s']), str(row['bundles']), shown(row['bundle_after_s']),
         str(len(row['stops'])),
         *(f'{row[key]:.1f} ({row[key] - idle[key]:+.1f})'
           for key in ('to_learner_kb_s', 'to_robot_kb_s'))] for row in result['rows']],
        command=COMMAND if profile else f'{COMMAND} --no-profile', seeds=[seed],
        note=f'{result["rate"]:g} Hz, bundles of {result["bundle_kb"]:.0f} kB; of '
             f'{result["steps"]} steps {result["lost"]} lost, {result["twice"]} recorded twice; '
             'in brackets beyond the idle link')


if __name__ == '__main__':
    Path(sys.argv[2]).write_text(json.dumps(run_here(json.loads(sys.argv[1]))))
