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
Latency of the control loop from joint_states to command over DDS, against a bare rclpy node.

The policy server runs in a separate process, with ticks triggered by joint_states, while the
learner trains and publishes bundles. The same run times a node that only subscribes and publishes.
"""

import dataclasses
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

import numpy as np
import yaml

from benchmarks.generator import LoadGenerator
from benchmarks.graph import beside
from benchmarks.stop_log import StopLog
from spaars_ros.control.control import ControlLoop
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.dataset import save_dataset
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.spool import read_spool
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of
from spaars_ros.robot.resources import resolve
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.kept_files import without_source
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

SETTLE = 1.0  # s after the start that are not counted
# Ticks around a bundle swap: a bundle is checked a few ticks before its shadow trial of 20.
AROUND_SWAP = (-25, 2)
QUICK = {'cvae_steps': 50, 'iql_steps': 50, 'align_steps': 50, 'warmup_steps': 100,
         'critic_steps': 100}
"""Short training: its bundle takes as long to run as a good one, and the learner starts soon."""


def prepare(folder: Path, robot: str, task: str, rate: float, bundle: str) -> RunSettings:
    """Write robot, task and training files at `rate` Hz, and a bundle; return the run settings."""
    base, settings = load_robot(robot), load_task(task)
    changed = without_source(base)
    changed['control']['rate'] = rate
    horizon = max(round(settings.horizon * rate / base.control.rate), 11)
    (folder / 'robot.yaml').write_text(yaml.safe_dump(changed))
    (folder / 'task.yaml').write_text(yaml.safe_dump(
        {**settings.model_dump(mode='json'), 'horizon': horizon}))
    training = load_training('spaars', **QUICK)
    # As many updates per second as at the rate of the robot.
    training = training.model_copy(update={'utd': training.utd * base.control.rate / rate})
    demonstrations = resolve(training.demonstrations)
    # The rest needs torch, which stays in memory but does not affect the measured times.
    from spaars_ros.learning.online.pretrain import pretrain
    from spaars_ros.sim.operator import collect
    reach = make_task(base, settings)
    dataset = load_dataset(demonstrations, base, reach) if demonstrations.exists() \
        else collect(base, settings, episodes=8, seed=0)
    start = load_bundle(Path(bundle)) if bundle else \
        pretrain(base, reach, training, dataset, seed=0)
    # Only times are measured, not what is learned: data and bundle made at the rate of the robot
    # are relabelled with this rate, since the nodes rightly refuse them otherwise.
    contract = contract_of(load_robot(str(folder / 'robot.yaml')), reach.observation_names)
    dataset.attributes['contract'] = contract.model_dump_json()
    demonstrations = folder / 'demonstrations.h5'
    save_dataset(dataset, demonstrations)
    start.manifest = start.manifest.model_copy(update={'contract': contract})
    training = training.model_copy(update={'demonstrations': str(demonstrations)})
    (folder / 'training.yaml').write_text(yaml.safe_dump(training.model_dump(mode='json')))
    save_bundle(start, folder / 'initial.spaars')
    return RunSettings(
        out=str(folder), robot=str(folder / 'robot.yaml'), task=str(folder / 'task.yaml'),
        sim=False, episodes=0, demonstrations=str(demonstrations),
        namespace=f'bench_{os.getpid()}')


def graph_of(settings: RunSettings, learner: bool) -> list[NodeDescription]:
    """Return the nodes under test: the graph of a robot, with ticks triggered by joint_states."""
    nodes = []
    for node in describe(settings, learner=learner):
        if node.name == 'policy_server':
            node = dataclasses.replace(node, parameters={
                **node.parameters, 'trigger': 'joint_states', 'reset_service': 'sim/reset'})
        nodes.append(node)
    return nodes


def _percentile(values: Array, share: float) -> float:
    """Return a percentile of values in s, in ms; NaN if there are none."""
    return 1e3 * float(np.percentile(values, share)) if len(values) else float('nan')


def compute(robot: Robot, settings: TaskSettings, bundle: Path, ticks: int = 3000) -> Array:
    """Return the tick times (n,) in s in process: observation, inference, gate and filter."""
    task, arm = make_task(robot, settings), Arm(robot)
    loop = ControlLoop(robot=robot, task=task, safety_filter=SafetyFilter(robot),
                       runtime=PolicyRuntime(load_bundle(bundle)), seed=0)
    loop.begin(arm.state())
    times = []
    for _ in range(ticks + 100):
        state = arm.state()
        begin = time.perf_counter()
        tick = loop.tick(state)
        times.append(time.perf_counter() - begin)
        if tick.ended:
            times.pop()
            arm.reset(np.asarray(robot.home))
            loop.begin(arm.state())
        else:
            arm.step(tick.command)
    return np.asarray(times[100:])  # the first ticks allocate memory


def evaluate(load: LoadGenerator, spool: Path) -> dict[str, Any]:
    """Return the results of a run from the times of the generator and the server's records."""
    schema, rows = read_spool(spool)
    slots = load.slots_of(schema.get(rows, 'stamp'))
    inside = (slots >= 0) & (slots < len(load.hops))
    rows, slots = rows[inside], slots[inside]
    acted = np.zeros(len(load.hops), dtype=bool)
    acted[slots[schema.get(rows, 'flag') == Flag.RUNNING]] = True
    counted = np.zeros_like(acted)
    first = round(SETTLE / load.period)
    counted[first:len(acted) - first] = True
    answered = np.isfinite(load.hops)
    lost = load.published & ~answered & ~load.excused & counted
    hops = load.hops[acted & answered & counted]
    bare = load.bare_hops[np.isfinite(load.bare_hops) & counted]
    version = schema.get(rows, 'bundle_version')
    swaps = slots[1:][np.diff(version) != 0]
    near = np.zeros_like(acted)
    for swap in swaps:
        near[max(swap + AROUND_SWAP[0], 0):swap + AROUND_SWAP[1] + 1] = True
    late = answered & counted & (load.hops > 0.5 * load.period)
    later = schema.get(rows, 'index') > 0  # the latency in a record is that of the previous tick
    inner = schema.get(rows, 'latency')[later & counted[slots]]
    hop, bare_hop = _percentile(hops, 50), _percentile(bare, 50)
    return {
        'hop_ratio_p50': hop / bare_hop,
        'hop_p50_ms': hop, 'hop_p99_ms': _percentile(hops, 99),
        'hop_max_ms': _percentile(hops, 100),
        'bare_hop_p50_ms': bare_hop, 'bare_hop_p99_ms': _percentile(bare, 99),
        'callback_p50_ms': _percentile(inner, 50), 'callback_p99_ms': _percentile(inner, 99),
        'lost_ticks': int(lost.sum()), 'late_ticks': int(late.sum()),
        'swaps': len(swaps), 'late_swaps': int((late & near).sum()),
        'ticks': int((acted & counted).sum()), 'resets': load.resets,
        'skipped_by_generator': load.skipped,
    }


def run(*, seconds: float = 60.0, rate: float = 50.0, learner: bool = True,
        robot: str = 'panda', task: str = 'reach', bundle: str = '') -> dict[str, Any]:
    """
    Measure the control loop for `seconds` at `rate` Hz; return the result that `--json` writes.

    Times are in ms. `callback`: time in the server, from the subscription callback until the
    command is passed to DDS. `lost_ticks`: joint_states that were never answered. `late_swaps`:
    ticks around a bundle swap whose answer took more than half a period. `stops`: stops of the
    server, for instance because joint_states were delayed on a busy machine.

    :param learner: whether the learner trains at the same time and publishes bundles
    :param bundle: policy bundle with learner tensors; '' makes one of the same size
    :raises LifecycleError: a node does not come up
    :raises RuntimeError: a node died during the run
    """
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    with tempfile.TemporaryDirectory(prefix='spaars_bench_') as name:
        folder = Path(name)
        settings = prepare(folder, robot, task, rate, bundle)
        arm, limits = load_robot(settings.robot), load_task(settings.task)
        times = compute(arm, limits, folder / 'initial.spaars')
        load, stops = _over_dds(settings, arm, limits, round(seconds * rate), learner)
        result = evaluate(load, folder / 'spool')
        words = 'learner training beside it' if learner else 'no learner'
        return {
            **result,
            'compute_p50_ms': _percentile(times, 50), 'compute_p99_ms': _percentile(times, 99),
            'stops': stops, 'seconds': seconds, 'rate': rate, 'learner': learner,
            'load': f'{words}; {os.cpu_count()} cores, load average '
                    f'{os.getloadavg()[0]:.1f} at the end'}


def _over_dds(settings: RunSettings, robot: Robot, limits: TaskSettings, slots: int,
              learner: bool) -> tuple[LoadGenerator, list[str]]:
    """Start the nodes, run the load, stop the nodes; return load and stops of the server."""
    graph = graph_of(settings, learner)
    bare = NodeDescription('bare', 'bare_node')
    with beside(settings, [*graph, _Bench(bare)], 'load') as here:
        # On an overloaded machine the server stops, as it must: record it and continue.
        log = StopLog(here.node, go_on=True)
        load = LoadGenerator(here.node, robot, make_task(robot, limits), slots)
        here.bring_up(graph)
        while not here.node.count_publishers('bare/command'):
            here.client.spin(0.1)
        load.run(here.executor, log.tend)
        here.alive()
    return load, log.stops


class _Bench(NodeDescription):
    """Node of the benchmarks, which is no executable of the package."""

    def __init__(self, node: NodeDescription) -> None:
        super().__init__(node.name, node.executable)

    @property
    def module(self) -> str:
        return f'benchmarks.{self.executable}'

    @property
    def command(self) -> list[str]:
        """Return the command that runs the node from the checkout."""
        return [sys.executable, '-m', self.module]
