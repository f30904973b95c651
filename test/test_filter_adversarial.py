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

"""Pushing for every limit in MuJoCo, with model error, delay and noise; margins printed."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.adversary import Adversary
from benchmarks.adversary import variant
from benchmarks.adversary import VARIANTS
from spaars_ros.cli import app
from spaars_ros.robot.config import load_robot

EPISODES = 250 if os.environ.get('SPAARS_LONG') else 6
ROUNDING = -1e-9

pytestmark = pytest.mark.timeout(120 * EPISODES)


@pytest.mark.parametrize('name', VARIANTS)
def test_no_limit_is_exceeded_and_nothing_entered(name: str, capsys: pytest.CaptureFixture[str]) \
        -> None:
    """An arm that is late, loaded and rough is where a filter that trusts its model fails."""
    errors, settings = VARIANTS[name]
    adversary = Adversary(variant(load_robot(), settings), errors, seed=1)
    for _ in range(EPISODES):
        adversary.episode()
    report = adversary.report()
    with capsys.disabled():
        os.write(1, f'\n{name}: {json.dumps(report["margins"])}\n'.encode())
    assert report['touched'] > 0.5, 'it has to push'
    for what, margin in report['margins'].items():
        assert margin >= ROUNDING, f'{what}: {margin}'


def test_the_adversary_breaks_the_limits_of_an_arm_without_barriers() -> None:
    """Otherwise its margins mean nothing."""
    errors, settings = VARIANTS['nominal']
    adversary = Adversary(variant(load_robot(), settings), errors, seed=1)
    adversary.filter.cartesian = None
    for _ in range(3):
        adversary.episode()
    assert adversary.report()['margins']['distance_m'] < -0.01


def test_bench_filter_prints_times_shares_and_agreement(tmp_path: Path) -> None:
    target = tmp_path / 'filter.json'
    result = CliRunner().invoke(app, ['bench', 'filter', '--ticks', '240', '--json', str(target)])
    assert result.exit_code == 0, result.output
    values = json.loads(target.read_text())
    for prefix in ('', 'piqp_', 'osqp_', 'none_', 'policy_', 'push_'):
        assert 0.0 < values[f'{prefix}p50_ms'] <= values[f'{prefix}p99_ms'] \
            <= values[f'{prefix}max_ms']
    assert 0.1 < values['near_boundary_share'] < 0.9 and values['qp_share'] > 0.05
    for solver in ('piqp', 'osqp'):
        assert values[f'{solver}_qp_solved'] == values['daqp_qp_solved'] > 0
        assert values[f'{solver}_qp_largest_difference'] < 1e-2


def test_bench_filter_adversarial_prints_margins(tmp_path: Path) -> None:
    target = tmp_path / 'margins.json'
    result = CliRunner().invoke(app, ['bench', 'filter', '--adversarial', '0.1', '--json',
                                      str(target)])
    assert result.exit_code == 0, result.output
    values = json.loads(target.read_text())
    assert [row['variant'] for row in values['rows']] == list(VARIANTS)
    assert min(values['least_margins'].values()) >= ROUNDING
