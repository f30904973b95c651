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

"""Soak test: all nodes for minutes in real time; memory, lost ticks and latency tails."""

import dataclasses
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from benchmarks.control import prepare
from benchmarks.graph import beside
from benchmarks.machine_stalls import MachineStalls
from benchmarks.machine_stalls import Stall
from benchmarks.stop_log import StopLog
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.spool import read_spool
from spaars_ros.ros.codecs import command_stamp
from spaars_ros.ros.codecs import NANO
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.domain import free_domain

SAMPLE = 1.0
"""s between two samples of the memory of the processes."""
WARM_UP = 0.2
"""Share of the run in which memory may grow (buffers, allocators, first collections)."""
ANSWERED = 1.0
"""s after which an unanswered state is forgotten."""
LATE = 1.5
"""Periods between two joint_states above which the simulation was late."""


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB (10^6 bytes); NaN if it has ended."""
    try:
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return float('nan')
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def slope(times: Array, values: Array) -> float:
    """Return the least-squares slope per minute of values (m,) over times (m,) in s."""
    good = np.isfinite(values)
    if good.sum() < 2:
        return float('nan')
    return float(np.polyfit(times[good] / 60.0, values[good], 1)[0])


class SoakWatch:
    """
    Measure the time between joint_states and their commands, as a third process receives them.

    Both messages have similar transport delays to this process, so the difference is about the
    answer time of the server with its own transport delay.
    """

    def __init__(self, node: Node) -> None:
        self.hops: list[float] = []
        """s, times from joint_states to command."""
        self.stamps: list[int] = []
        """ns, stamps of the received joint_states."""
        self.stops = StopLog(node).stops
        self._heard: dict[int, float] = {}
        # Depth for messages that arrive while this process waits for a core.
        node.create_subscription(JointState, 'joint_states', self._on_state, QoSProfile(
            depth=100, reliability=ReliabilityPolicy.BEST_EFFORT))
        node.create_subscription(Float64MultiArray, 'command', self._on_command, QoSProfile(
            depth=100))

    def _on_state(self, msg: JointState) -> None:
        stamp = msg.header.stamp.sec * NANO + msg.header.stamp.nanosec
        now = time.perf_counter()
        self._heard = {old: at for old, at in self._heard.items() if now - at < ANSWERED}
        self._heard[stamp] = now
        self.stamps.append(stamp)

    def _on_command(self, msg: Float64MultiArray) -> None:
        heard = self._heard.pop(command_stamp(msg) or 0, None)
        if heard is not None:
            self.hops.append(time.perf_counter() - heard)


def _percentiles(name: str, values: Any) -> dict[str, float]:
    known = np.asarray(values, dtype=np.float64)
    found = np.percentile(known, (50, 99, 100)) if len(known) else np.full(3, np.nan)
    return {f'{name}_{what}_ms': 1e3 * float(value)
            for what, value in zip(('p50', 'p99', 'max'), found)}


def run(*, seconds: float = 600.0, rate: float = 50.0, robot: str = 'panda',
        task: str = 'reach', bundle: str = '', thread_priority: int = 0) -> dict[str, Any]:
    """
    Run all nodes for `seconds` at `rate` Hz in real time; return the result that `--json` writes.

    `compute`: time of a tick in the server, from its records. `hop`: time from joint_states to
    command, see `SoakWatch`. `sim_late`: gaps between joint_states because the simulation was
    late; the server counts the missing periods as lost. `sim_late_in_stall`: those of them during
    which a core ran nothing for half a period or longer (`MachineStalls`), which no node can
    prevent. `stalls`: number of all such times; None if the priority to detect them is not
    permitted. Memory is resident memory; its slope is measured after the first fifth.

    :param thread_priority: parameter of policy server and simulation
    :raises LifecycleError: a node does not come up
    :raises RuntimeError: a node died during the run, or its priority is not permitted
    """
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', ROS_DOMAIN_ID=str(free_domain()))
    with tempfile.TemporaryDirectory(prefix='spaars_soak_') as name:
        folder = Path(name)
        settings = dataclasses.replace(prepare(folder, robot, task, rate, bundle), sim=True,
                                       real_time_factor=1.0, use_sim_time=False)
        with MachineStalls() as machine:
            watch, times, memory = _soak(settings, seconds, thread_priority)
        return {**evaluate(folder, watch, 1.0 / rate),
                **stalls_of(machine, watch.stamps, 1.0 / rate), **memory_use(times, memory),
                'seconds': seconds, 'rate': rate, 'thread_priority': thread_priority,
                'load': f'{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the '
                        'end'}


def evaluate(folder: Path, watch: SoakWatch, period: float) -> dict[str, Any]:
    """Return ticks, losses and latencies of a finished run."""
    schema, rows = read_spool(folder / 'spool')
    recorded = schema.get(read_steps(folder / 'transitions.mcap')[1], 'sequence')
    acted = schema.get(rows, 'flag') == Flag.RUNNING
    later = schema.get(rows, 'index') > 0  # the latency in a record is that of the previous tick
    gaps = np.diff(np.asarray(watch.stamps)) * 1e-9
    return {
        'ticks': int(acted.sum()), 'lost_ticks': int(schema.get(rows, 'lost_ticks').max()),
        'sim_late': int((gaps > LATE * period).sum()),
        'stops': watch.stops,
        'swaps': int(np.count_nonzero(np.diff(schema.get(rows, 'bundle_version')))),
        'episodes': int(schema.get(rows, 'episode').max()) + 1,
        'transitions_lost': int(len(rows) - len(np.unique(recorded))),
        **_percentiles('compute', schema.get(rows, 'latency')[later]),
        **_percentiles('hop', watch.hops)}


def stalls_of(machine: MachineStalls, stamps: list[int], period: float) -> dict[str, Any]:
    """Return the number of stalls of half a period or more, and the gaps that they explain."""
    if not machine.urgent:
        return {'stalls': None, 'stall_max_ms': None, 'sim_late_in_stall': None}
    begin, end = (1e-9 * stamps[0], 1e-9 * stamps[-1]) if stamps else (0.0, 0.0)
    during = [stall for stall in machine.stalls if begin <= stall.end <= end]
    long = [stall for stall in during if stall.seconds >= 0.5 * period]
    return {'stalls': len(long),
            'stall_max_ms': max((1e3 * stall.seconds for stall in during), default=0.0),
            'sim_late_in_stall': sum(
                _met(1e-9 * before, 1e-9 * after, long)
                for before, after in zip(stamps, stamps[1:])
                if 1e-9 * (after - before) > LATE * period)}


def _met(before: float, after: float, stalls: list[Stall]) -> bool:
    return any(stall.end > before and stall.end - stall.seconds < after for stall in stalls)


def memory_use(times: Array, memory: dict[str, list[float]]) -> dict[str, Any]:
    """Return per process: MB after the warm-up and at the end, and the slope between."""
    warm = times >= WARM_UP * times[-1]
    use = {}
    for name, values in memory.items():
        after = np.asarray(values)[warm]
        use[name] = {'warm_mb': float(after[0]), 'end_mb': float(after[-1]),
                     'slope_mb_per_min': slope(times[warm], after)}
    return {'memory': use,
            'worst_slope_mb_per_min': max(each['slope_mb_per_min'] for each in use.values())}


def _soak(settings: RunSettings, seconds: float, thread_priority: int
          ) -> tuple[SoakWatch, Array, dict[str, list[float]]]:
    """Run the nodes; return the `SoakWatch`, sample times (m,) in s, and MB of each process."""
    own: dict[str, dict[str, Any]] = {
        'sim': {'stamps': 'system', 'thread_priority': thread_priority},
        'policy_server': {'thread_priority': thread_priority}}
    graph = [dataclasses.replace(node, respawn=False,
                                 parameters={**node.parameters, **own.get(node.name, {})})
             for node in describe(settings)]
    times: list[float] = []
    memory: dict[str, list[float]] = {each.name: [] for each in graph}
    with beside(settings, graph, 'soak') as here:
        watch = SoakWatch(here.node)
        here.bring_up(graph)
        for name in own:
            policy = os.sched_getscheduler(here.processes.pid(name))
            if thread_priority and policy & ~os.SCHED_RESET_ON_FORK != os.SCHED_FIFO:
                raise RuntimeError(f'--thread-priority {thread_priority}: not permitted to {name}')
        begin = due = time.monotonic()
        while due < begin + seconds:
            while (left := due - time.monotonic()) > 0:
                here.executor.spin_once(timeout_sec=left)
            here.alive()
            times.append(time.monotonic() - begin)
            for name, values in memory.items():
                values.append(resident(here.processes.pid(name)))
            due += SAMPLE
        here.take_down(graph)
    return watch, np.asarray(times), memory
