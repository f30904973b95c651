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

"""How far a simulated arm may be ahead of the learner."""

import pytest

from spaars_ros.sim.pace import IDLE
from spaars_ros.sim.pace import LearnerPace
from spaars_ros.sim.pace import NOT_YET
from spaars_ros.sim.pace import SILENCE

PERIOD = 0.05
FAR = 100.0
"""s, where the arm is."""


def report(pace: LearnerPace, received: int, times: int = 1, owed: int = 0) -> None:
    for _ in range(times):
        pace.heard(received=received, owed=owed, stamp=0.0, now=0.0)


@pytest.mark.parametrize('before', [0, 240], ids=['a new run', 'a run that goes on'])
def test_a_learner_that_has_not_found_the_server_yet_is_waited_for(before: int) -> None:
    """It was taken for idle: a run of six episodes was over before its first policy acted."""
    pace = LearnerPace(16, PERIOD)
    report(pace, before, NOT_YET)
    assert pace.too_far(FAR, 0.0)
    report(pace, before)
    assert not pace.too_far(FAR, 0.0), 'nor for ever: it may listen to nobody'


def test_a_learner_that_gets_no_more_records_is_idle_soon() -> None:
    pace = LearnerPace(16, PERIOD)
    report(pace, 0)
    report(pace, 5, IDLE)
    assert pace.too_far(FAR, 0.0)
    report(pace, 5)
    assert not pace.too_far(FAR, 0.0)


def test_a_learner_that_nobody_has_heard_holds_nothing() -> None:
    assert not LearnerPace(16, PERIOD).too_far(FAR, 0.0)
    pace = LearnerPace(16, PERIOD)
    report(pace, 0, owed=3)
    assert pace.too_far(FAR, SILENCE) and not pace.too_far(FAR, SILENCE + 0.1)
