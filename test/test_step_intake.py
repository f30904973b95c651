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

"""Two records of one step: the policy server's own counts, however late it can be had."""

import numpy as np

from spaars_ros.data.schema import StepSchema
from spaars_ros.data.sequencer import Sequencer
from spaars_ros.nodes.learner.step_fetch import GIVE_UP
from spaars_ros.nodes.learner.step_fetch import StepFetch
from spaars_ros.nodes.learner.step_intake import StepIntake

SCHEMA = StepSchema(observation=2, latent=1, action=1)


def row(sequence: int, action: float = 0.0) -> np.ndarray:
    return SCHEMA.row(sequence=sequence, stamp=0.1 * sequence, action=action)


def test_a_forged_step_that_came_first_is_disputed_until_the_server_has_answered() -> None:
    """The accident: its disk did not have the step yet, and nobody asked a second time."""
    asked: list[tuple[float, float]] = []
    sequencer = Sequencer()
    intake = StepIntake(SCHEMA, sequencer, StepFetch(
        sequencer, lambda first, last: asked.append((first, last))))
    intake.put(row(0))
    assert len(intake.put(row(1, action=0.5))) == 1, 'the forged one is taken for the step'
    assert intake.put(row(1)) == [] and asked == [(1.0, 1.0)]
    intake.on_beat(0.0)
    assert len(asked) == 1, 'the answer is on its way'
    for late in (1e9, 2e9):
        intake.on_beat(late)
    assert asked == [(1.0, 1.0)] * 3
    assert intake.put(row(1)) == [] and len(intake.corrected) == 1
    intake.on_beat(3e9)
    assert len(asked) == 3, 'answered'
    np.testing.assert_array_equal(sequencer.known(1), row(1))


def test_a_forged_step_that_came_before_its_turn_is_found_by_filling_the_gap() -> None:
    """The accident: the learner heard the forger before it had found the server."""
    asked: list[tuple[float, float]] = []
    sequencer = Sequencer()
    fetching = StepFetch(sequencer, lambda first, last: asked.append((first, last)))
    intake = StepIntake(SCHEMA, sequencer, fetching)
    for number in (2, 3):
        assert intake.put(row(number, action=0.5)) == []
        fetching.fill_gap()
    assert asked == [(0.0, 2.0)], 'with the one that came, and on its way'
    fetching._asked = fetching._advanced = -1e9
    fetching.on_beat()
    assert asked[-1] == (0.0, 3.0), 'nobody answered: with both'
    for _ in range(GIVE_UP):
        fetching._asked = -1e9
        fetching.on_beat()
    assert asked[-2:] == [(0.0, 3.0), (0.0, 1.0)], 'not for ever'
    for number in range(4):
        intake.put(row(number))  # the answer
        fetching.fill_gap()
    assert asked[-2:] == [(2.0, 2.0), (3.0, 3.0)], 'which of the two is asked for again'
    for number in (2, 3):
        intake.put(row(number))
        np.testing.assert_array_equal(sequencer.known(number), row(number))
    assert [float(SCHEMA.get(each, 'action')) for each in intake.corrected] == [0.0, 0.0]
