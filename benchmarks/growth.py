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

"""How costs grow: a tick with joints, zones and networks; replay, recorder and spool with time."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
import tempfile
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks import replay
from benchmarks.filter import timed
from benchmarks.filter import workload
from benchmarks.tables import write_table
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

JOINTS = (6, 7, 14)
ZONES = (1, 10, 100)
HEADS = (2, 4, 10)
LATENTS = (2, 4, 7)
TRANSITIONS = (10_000, 100_000, 1_000_000, 10_000_000)
HOURS = (1, 4, 16)
RATE = 20.0
"""Hz, of the hours of recorder and spool."""
WRITES = 2000
"""Records whose time is measured, after the hours before them."""
COMMAND = './run bench growth'


@contextmanager
def arm(joints: int, zones: int) -> Iterator[Robot]:
    """Yield an arm of hinges about x, y and z in turn, with zones around it."""
    axes, bodies = ('0 0 1', '0 1 0', '1 0 0'), ''
    for index in range(joints):
        bodies += (f'<body name="link{index}" pos="0 0 {1.2 / joints}"><joint name="joint{index}" '
                   f'axis="{axes[index % 3]}" range="-2.5 2.5"/>'
                   f'<geom type="capsule" fromto="0 0 0 0 0 {0.6 / joints}" size="0.04"/>')
    model = (f'<mujoco><compiler angle="radian" autolimits="true"/><worldbody>{bodies}'
             f'<site name="tip" pos="0 0 0.1"/>{"</body>" * joints}</worldbody></mujoco>')
    turns = 2.0 * np.pi * np.arange(zones) / zones
    content = {
        'name': 'growth', 'model': 'arm.xml', 'tip': 'tip', 'home': [0.1] * joints,
        'joints': [f'joint{index}' for index in range(joints)],
        'limits': {'position': [[-2.5, 2.5]] * joints, 'velocity': [2.0] * joints,
                   'acceleration': [10.0] * joints, 'jerk': [5000.0] * joints,
                   'torque': [50.0] * joints},
        'control': {'rate': 50.0, 'action_scale': 0.25},
        'keep_out': [{'name': f'post{index}', 'shape': 'sphere', 'radius': 0.05, 'centre': [
            0.7 * float(np.cos(turn)), 0.7 * float(np.sin(turn)), 0.9 + 0.1 * (index % 5)]}
            for index, turn in enumerate(turns)]}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / 'arm.xml').write_text(model)
        (Path(folder) / 'arm.yaml').write_text(yaml.safe_dump(content))
        yield load_robot(str(Path(folder) / 'arm.yaml'))


def of_filter(joints: int, zones: int, ticks: int, seed: int) -> dict[str, float]:
    """Return p50_us and p99_us of the filter per tick; half of the commands are large."""
    with arm(joints, zones) as robot:
        return _quantiles(timed(robot, workload(robot, ticks, seed), None)[0])


def of_policy(ticks: int, seed: int, **settings: int) -> dict[str, float]:
    """Return p50_us and p99_us of one decision; `settings` override the training file."""
    robot = load_robot()
    task = make_task(robot, load_task())
    bundle = untrained_bundle(robot, task, load_training('spaars', **settings), seed)
    runtime, rng = PolicyRuntime(bundle), np.random.default_rng(seed)
    m = bundle.manifest
    seen = rng.normal(size=(ticks, m.observation_dim))
    noise = rng.normal(size=(ticks, m.latent_dim + m.action_dim))
    return _timed(lambda place: runtime.decide(seen[place], noise[place]), ticks)


def of_recorder(hours: float, seed: int) -> dict[str, float]:
    """Return p50_us and p99_us per record after so many hours, file_mb and reopen_s."""
    schema, rows = _records(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'transitions.mcap'
        recorder = TransitionRecorder(path, schema)
        return _written(recorder.write_step, recorder.close, path, hours, schema, rows,
                        lambda: TransitionRecorder(path, schema).close())


def of_spool(hours: float, seed: int) -> dict[str, float]:
    """Return p50_us and p99_us per record after so many hours, file_mb and reopen_s."""
    schema, rows = _records(seed)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(folder, schema, max_backlog=10_000_000)
        return _written(spool.append, lambda: spool.close(600.0), Path(folder) / 'steps.f64',
                        hours, schema, rows, lambda: Spool(folder, schema).close())


def _records(seed: int) -> tuple[StepSchema, Array]:
    """Return the layout of the default task's records, and random ones."""
    robot = load_robot()
    task = make_task(robot, load_task())
    schema = StepSchema(observation=task.observation_dim, latent=4, action=len(robot.joints),
                        joints=len(robot.joints), sources=0)
    rng = np.random.default_rng(seed)
    rows = np.stack([schema.row(
        observation=rng.normal(size=task.observation_dim), index=index % 100,
        action=rng.uniform(-1, 1, len(robot.joints))) for index in range(1000)])
    return schema, rows


def _written(write: Callable[[Array], bool], close: Callable[[], Any], path: Path, hours: float,
             schema: StepSchema, rows: Array, reopen: Callable[[], Any]) -> dict[str, float]:
    before, times = int(3600.0 * RATE * hours), []
    for sequence in range(before + WRITES):
        row = rows[sequence % len(rows)].copy()
        schema.set(row, 'sequence', sequence)
        schema.set(row, 'stamp', sequence / RATE)
        began = perf_counter()
        write(row)
        if sequence >= before:
            times.append(perf_counter() - began)
    close()
    began = perf_counter()
    reopen()
    return {**_quantiles(times), 'file_mb': path.stat().st_size / 1e6,
            'reopen_s': perf_counter() - began}


def _timed(call: Callable[[int], Any], count: int) -> dict[str, float]:
    times = []
    for place in range(count):
        began = perf_counter()
        call(place)
        times.append(perf_counter() - began)
    return _quantiles(times)


def _quantiles(times: Sequence[float] | Array) -> dict[str, float]:
    middle, high = np.quantile(times, [0.5, 0.99])
    return {'p50_us': 1e6 * float(middle), 'p99_us': 1e6 * float(high)}


def run(*, ticks: int = 3000, hours: Sequence[int] = HOURS,
        transitions: Sequence[int] = TRANSITIONS, seed: int = 0, tables: bool = False
        ) -> dict[str, Any]:
    """
    Return rows of: filter, policy, replay, recorder, spool.

    :param ticks: calls per row of filter and policy
    :param hours: of a run at 20 Hz, before recorder and spool are measured
    :param transitions: sizes of the replay; 10 million need 1.2 GB
    :param tables: also write the documentation's tables
    """
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        'filter': [{'joints': joints, 'zones': zones, **of_filter(joints, zones, ticks, seed)}
                   for joints in JOINTS for zones in ZONES],
        'policy': [{'heads': heads, 'latent_dim': 4, **of_policy(ticks, seed, heads=heads)}
                   for heads in HEADS]
        + [{'heads': 4, 'latent_dim': size, **of_policy(ticks, seed, latent_dim=size)}
           for size in LATENTS if size != 4],
        'replay': replay.run(sizes=tuple(transitions)),
        'recorder': [{'hours': each, **of_recorder(each, seed)} for each in hours],
        'spool': [{'hours': each, **of_spool(each, seed)} for each in hours]}
    if tables:
        _write_tables(result, seed)
    return result


def _write_tables(result: dict[str, Any], seed: int) -> None:
    def both(row: dict[str, Any]) -> str:
        return f'{row["p50_us"]:.0f}, {row["p99_us"]:.0f}'
    joints = {row['joints']: [each for each in result['filter'] if each['joints'] == row['joints']]
              for row in result['filter']}
    write_table('growth-tick', ['part of a tick', 'p50, p99 in µs'], [
        *[[f'filter, {count} joints, {row["zones"]} zones', both(row)]
          for count, rows in joints.items() for row in rows],
        *[[f'policy, {row["heads"]} heads, latent of {row["latent_dim"]}', both(row)]
          for row in result['policy']]], command=COMMAND, seeds=[seed],
        note='warm, in process; half of the commands are large, near the zones')
    write_table('growth-replay', ['transitions', 'a batch of 256, p50, p99 in µs',
                                  'memory, MB', '1,000 steps appended, ms'], [
        [f'{row["transitions"]:,}', f'{row["sample_us"]:.0f}, {row["sample_p99_us"]:.0f}',
         f'{row["bytes"] / 1e6:.0f}', f'{row["append_ms"]:.3f}'] for row in result['replay']],
        command=COMMAND, seeds=[seed], note="Hopper's dimensions")
    write_table('growth-files', ['file', 'after hours at 20 Hz', 'per record, p50, p99 in µs',
                                 'file, MB', 'opened again in s'], [
        [name, f'{row["hours"]}', both(row), f'{row["file_mb"]:.0f}', f'{row["reopen_s"]:.2f}']
        for name in ('recorder', 'spool') for row in result[name]],
        command=COMMAND, seeds=[seed], note='records of the task reach, random numbers')
