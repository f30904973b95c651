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
"""The learner on another machine: found by static peers, link cut, link with delay and loss."""

from typing import Any

import pytest

from benchmarks.link import run
from spaars_ros.commissioning.lossy_cable import why_no_cable
from spaars_ros.commissioning.two_hosts import why_not

NO_NAMESPACES = why_not() or why_no_cable()
SECONDS = 8.0
"""s of each phase of the link."""
PATIENT = {'max_observation_age': 5.0, 'late': 0, 'overruns': 0, 'cost_monitor': 'warn'}
"""What a busy machine stops an arm by is not what is tested."""
pytestmark = [pytest.mark.timeout(240),
              pytest.mark.skipif(bool(NO_NAMESPACES), reason=NO_NAMESPACES)]


@pytest.fixture(scope='module')
def result() -> dict[str, Any]:
    """One run through all phases; `bench link` chooses a free ROS domain."""
    return run(SECONDS, training='smoke', server=PATIENT)


def test_static_peers_find_the_learner_without_multicast(result: dict[str, Any]) -> None:
    """Range LOCALHOST has no multicast: without the named peer the learner is never activated."""
    row = result['rows'][0]
    assert row['steps'] > 0 and row['behind'] < row['steps']
    assert row['bundle_after_s'] is not None
    assert row['to_learner_kb_s'] > result['idle']['to_learner_kb_s']


def test_a_cut_link_stops_nothing_and_the_learner_catches_up(result: dict[str, Any]) -> None:
    row = result['rows'][1]
    assert row['stops'] == []
    # The arm went on, and no step of the phase was received.
    assert row['behind'] >= row['steps'] > 0.5 * SECONDS * result['rate']
    assert row['caught_up_s'] is not None
    assert row['bundles'] == 0 and row['bundle_after_s'] is not None


def test_delay_and_loss_stop_nothing_and_bundles_arrive(result: dict[str, Any]) -> None:
    row = result['rows'][2]
    assert row['stops'] == []
    assert row['steps'] > 0.5 * SECONDS * result['rate']
    assert row['caught_up_s'] is not None and row['bundles'] > 0


def test_no_step_is_lost_or_recorded_twice(result: dict[str, Any]) -> None:
    assert (result['lost'], result['twice']) == (0, 0)
    assert result['steps'] >= sum(row['steps'] for row in result['rows'])
