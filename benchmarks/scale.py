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
"""Measured cost of one arm in bytes and seconds, and calculated cost of many arms."""

from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
import torch

from benchmarks.tables import write_table
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.spool import Spool
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.training_file import load_training

ARMS = (1, 10, 100, 1000)
EPISODES = 5
UPDATES = 60
DAY = 86_400.0
MEGA, GIGA = 1e6, 1e9
COMMAND = './run bench scale'


def measure(seed: int = 0) -> dict[str, float]:
    """
    Return the unit costs of the default task.

    Keys: rate (control ticks per second), record_bytes (per step in a message), recorded_bytes
    (per step in the MCAP file), spooled_bytes (per step), bundle_bytes, bundles_per_step,
    replay_bytes (per transition), updates_per_step, update_s (not compiled), take_s (time of the
    learner to add a step).
    """
    torch.set_num_threads(1)
    robot = load_robot()
    task = make_task(robot, load_task())
    training = load_training('spaars', compile='off')
    bundle = untrained_bundle(robot, task, training, seed)
    tuner = FineTuner(bundle, robot=robot, task=task, training=training, seed=seed,
                      demonstrations=load_dataset(resolve(training.demonstrations), robot, task))
    rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=seed, explore=True)
    rows = np.concatenate([rollouts.episode() for _ in range(EPISODES)])
    rows[:, 0] = np.arange(len(rows))
    with tempfile.TemporaryDirectory() as folder:
        recorded = _recorded(Path(folder), tuner, rows)
        spooled = _spooled(Path(folder), tuner, rows)
    began = time.perf_counter()
    for row in rows:
        tuner.add(row)
    take = (time.perf_counter() - began) / len(rows)
    began = time.perf_counter()
    for _ in range(UPDATES):
        tuner.update()
    update = (time.perf_counter() - began) / UPDATES
    columns = tuner._online.arrays()
    return {
        'rate': 1.0 / robot.period, 'record_bytes': 8.0 * tuner.schema.width,
        'recorded_bytes': recorded, 'spooled_bytes': spooled,
        'bundle_bytes': float(len(Bundle.to_bytes(tuner.export()))),
        'bundles_per_step': 1.0 / training.push_every,
        'replay_bytes': float(sum(column.nbytes for column in columns.values()))
        / max(1, tuner._online.size),
        'updates_per_step': training.utd, 'update_s': update, 'take_s': take}


def _recorded(folder: Path, tuner: FineTuner, rows: Any) -> float:
    recorder = TransitionRecorder(folder / 'transitions.mcap', tuner.schema)
    for row in rows:
        recorder.write_step(row)
    recorder.close()
    return float((folder / 'transitions.mcap').stat().st_size / len(rows))


def _spooled(folder: Path, tuner: FineTuner, rows: Any) -> float:
    spool = Spool(folder / 'spool', tuner.schema)
    for row in rows:
        spool.append(row)
    spool.close()
    return float((folder / 'spool' / 'steps.f64').stat().st_size / len(rows))


def needs(unit: dict[str, float], arms: int) -> dict[str, float]:
    """Return the needs of a number of arms, calculated from the unit costs."""
    steps = arms * unit['rate']
    return {
        'arms': arms,
        'steps_in_mb_s': steps * unit['record_bytes'] / MEGA,
        # Each bundle goes to each arm, and more arms cause more bundles.
        'bundles_out_mb_s': steps * unit['bundles_per_step'] * arms * unit['bundle_bytes'] / MEGA,
        'disk_gb_day': steps * DAY * unit['recorded_bytes'] / GIGA,
        'replay_gb_hour': steps * 3600.0 * unit['replay_bytes'] / GIGA,
        'updates_per_s': steps * unit['updates_per_step'],
        'cores': steps * (unit['updates_per_step'] * unit['update_s'] + unit['take_s'])}


def run(seed: int = 0, tables: bool = False) -> dict[str, Any]:
    """Return unit costs and needs; with `tables`, also write the tables of the documentation."""
    unit = measure(seed)
    rows = [needs(unit, arms) for arms in ARMS]
    if tables:
        write_table('scale-unit', ['one arm', 'measured'], [
            ['control rate', f'{unit["rate"]:.0f} Hz'],
            ['a step on the wire', f'{unit["record_bytes"]:.0f} bytes'],
            ['a step in the recording', f'{unit["recorded_bytes"]:.0f} bytes'],
            ['a step in the spool', f'{unit["spooled_bytes"]:.0f} bytes'],
            ['a transition in the replay', f'{unit["replay_bytes"]:.0f} bytes'],
            ['a policy bundle', f'{unit["bundle_bytes"] / 1e3:.0f} kB, one in '
             f'{1 / unit["bundles_per_step"]:.0f} steps'],
            ['a step taken by the learner', f'{1e3 * unit["take_s"]:.2f} ms'],
            ['an update, not compiled', f'{1e3 * unit["update_s"]:.1f} ms, '
             f'{unit["updates_per_step"]:g} a step']], command=COMMAND, seeds=[seed])
        write_table('scale', [
            'arms', 'steps in, MB/s', 'bundles out, MB/s', 'recording, GB a day',
            'replay, GB an hour', 'updates a second', 'cores that learn'], [
            [f'{row["arms"]}', *(f'{row[key]:.3g}' for key in (
                'steps_in_mb_s', 'bundles_out_mb_s', 'disk_gb_day', 'replay_gb_hour',
                'updates_per_s', 'cores'))] for row in rows], command=COMMAND, seeds=[seed],
            note='by calculation from the unit costs')
    return {'unit': unit, 'needs': rows}
