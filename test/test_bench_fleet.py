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

"""The fleet benchmark: what it is told, and what it writes of rows that are there."""

import json
from pathlib import Path

import pytest

from benchmarks.commands.counts import counts_of
from benchmarks.fleet import plot
from benchmarks.fleet import run


@pytest.mark.parametrize('text', ['', '0', '2,2', 'two', '1,-4'])
def test_numbers_of_arms_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f'--robots {text}: expected whole numbers'):
        counts_of(text)


def test_rows_that_are_there_are_not_run_again(tmp_path: Path) -> None:
    """A run of eight arms takes minutes: an interrupted benchmark continues."""
    kept = []
    for robots, goal in ((1, 120.0), (2, None)):
        row = {'robots': robots, 'seed': 0, 'episodes': 160, 'steps': 16000, 'lost_ticks': 0,
               'seconds': 300.0, 'cpu_s_per_step': 0.03, 'success_before': 0.0,
               'success_after': 0.9, 'evaluations': [], 'steps_to_goal': goal,
               'robot_s_to_goal': goal, 'wall_s_to_goal': goal}
        (tmp_path / f'robots_{robots}_seed_0.json').write_text(json.dumps(row))
        kept.append(row)
    said: list[str] = []
    assert run(robots=[1, 2], out=tmp_path, say=said.append)['rows'] == kept
    assert 'not reached' in said[1] and 'not reached' not in said[0]
    plot(kept, tmp_path / 'fleet.png')
    assert (tmp_path / 'fleet.png').stat().st_size > 5000
