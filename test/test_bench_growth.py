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

"""The benchmark of growing costs measures each part, and a hundred zones are all looked at."""

import pytest

from benchmarks import growth
from spaars_ros.safety.filter import SafetyFilter


def test_every_part_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (('JOINTS', (2,)), ('ZONES', (1,)), ('HEADS', (2,)), ('LATENTS', (4,)),
                      ('RATE', 0.01), ('WRITES', 20)):
        monkeypatch.setattr(growth, name, few)
    found = growth.run(ticks=12, hours=(1,), transitions=(1000,))
    assert {name: len(rows) for name, rows in found.items()} == {
        'filter': 1, 'policy': 1, 'replay': 1, 'recorder': 1, 'spool': 1}
    assert all(0.0 < row['p50_us'] <= row['p99_us'] for name, rows in found.items()
               if name != 'replay' for row in rows)


def test_the_arm_has_as_many_zones_as_asked() -> None:
    with growth.arm(6, 100) as robot:
        made = SafetyFilter(robot).cartesian
        assert made is not None and len(robot.keep_out) == 100
        assert sum('post' in name for name in made.least(robot.home)) >= 100
