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

"""The control benchmark: it counts what it says it counts, and runs on the real nodes."""

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from domains import DOMAINS
import numpy as np
import pytest

from benchmarks.control import evaluate
from benchmarks.generator import LoadGenerator
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool

KEYS = {'hop_ratio_p50', 'hop_p50_ms', 'hop_p99_ms', 'bare_hop_p50_ms', 'lost_ticks',
        'late_swaps', 'stops', 'compute_p50_ms', 'compute_p99_ms', 'seconds', 'load'}
SLOTS = 600


class _Recorded(LoadGenerator):
    """A generator's times without the nodes: what `evaluate` takes."""

    def __init__(self) -> None:
        self.period = 0.02
        self.stamp_0 = 1_700_000_000_000_000_000
        self.hops = np.full(SLOTS, 0.0012)
        self.bare_hops = np.full(SLOTS, 0.0010)
        self.published = np.ones(SLOTS, dtype=bool)
        self.excused = np.zeros(SLOTS, dtype=bool)
        self.skipped = 0
        self.resets = 0


def spooled(folder: Path, load: LoadGenerator, swap: int | None = None) -> Path:
    """Write a record for every slot; the bundle changes at slot `swap`."""
    schema = StepSchema(observation=26, latent=4, action=7)
    spool = Spool(folder, schema)
    for slot in range(SLOTS):
        spool.append(schema.row(
            sequence=slot, index=slot + 1, stamp=load.stamp(slot) * 1e-9, flag=Flag.RUNNING,
            latency=0.0005, bundle_version=int(swap is not None and slot >= swap)))
    assert spool.close()
    return folder


def measured(folder: Path, load: LoadGenerator, swap: int | None = None) -> dict[str, Any]:
    """Return the numbers of a recorded run."""
    return evaluate(load, spooled(folder, load, swap))


def test_a_clean_run_has_its_ratio_and_no_fault(tmp_path: Path) -> None:
    result = measured(tmp_path, _Recorded(), swap=300)
    assert result['hop_ratio_p50'] == pytest.approx(1.2)
    assert result['callback_p50_ms'] == pytest.approx(0.5)
    assert result['ticks'] == SLOTS - 100
    assert (result['lost_ticks'], result['late_ticks'], result['late_swaps']) == (0, 0, 0)
    assert result['swaps'] == 1


def test_a_state_that_is_never_answered_is_a_lost_tick(tmp_path: Path) -> None:
    load = _Recorded()
    load.hops[[200, 201, 400]] = np.nan
    assert measured(tmp_path, load)['lost_ticks'] == 3


def test_what_a_reset_or_the_generator_left_out_is_not_lost(tmp_path: Path) -> None:
    load = _Recorded()
    load.hops[[200, 400]] = np.nan
    load.excused[200] = True
    load.published[400] = False
    assert measured(tmp_path, load)['lost_ticks'] == 0


def test_a_tick_late_at_a_swap_is_a_late_swap(tmp_path: Path) -> None:
    load = _Recorded()
    load.hops[277] = 0.011  # admitted here, tried for 20 ticks
    result = measured(tmp_path, load, swap=300)
    assert (result['late_ticks'], result['late_swaps']) == (1, 1)


def test_a_tick_late_elsewhere_is_no_late_swap(tmp_path: Path) -> None:
    load = _Recorded()
    load.hops[100] = 0.011
    result = measured(tmp_path, load, swap=300)
    assert (result['late_ticks'], result['late_swaps']) == (1, 0)


@pytest.mark.timeout(280)
@pytest.mark.parametrize('options', [['--no-learner'], []], ids=['alone', 'with learner'])
def test_the_benchmark_runs_on_the_real_nodes(tmp_path: Path, options: list[str]) -> None:
    result_file = tmp_path / 'control.json'
    done = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.cli', 'bench', 'control', '--seconds', '8',
         '--json', str(result_file), *options], cwd=Path(__file__).parents[1], capture_output=True,
        text=True, timeout=240, check=False,
        env={**os.environ, 'ROS_DOMAIN_ID': str(next(DOMAINS))})
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(result_file.read_text())
    assert KEYS <= set(result)
    assert result['learner'] == (not options)
    # No times here, which depend on what else runs: only that real ones were taken. Long enough
    # that a stop by a machine that holds joint_states up does not take all of it.
    assert result['ticks'] > 100, result['stops']
    assert 0.0 < result['bare_hop_p50_ms'] < result['hop_p99_ms']
    assert 0.0 < result['callback_p50_ms'] < result['hop_p50_ms']
    assert 0.0 < result['compute_p50_ms'] <= result['compute_p99_ms']
    assert result['hop_ratio_p50'] == pytest.approx(
        result['hop_p50_ms'] / result['bare_hop_p50_ms'])


@pytest.mark.timeout(120)
def test_a_bundle_that_does_not_exist_is_named() -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'spaars_ros.cli', 'bench', 'control', '--seconds', '1',
         '--bundle', '/nowhere/policy.spaars'], cwd=Path(__file__).parents[1],
        capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, 'ROS_DOMAIN_ID': str(next(DOMAINS))})
    assert done.returncode == 1
    assert '/nowhere/policy.spaars' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
