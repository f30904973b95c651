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

"""Step records of the control loop, numbered at once and made after the command was sent."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spaars_ros.control.budget import EpisodeBudget
from spaars_ros.control.given import Given
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import MAX_VALUE
from spaars_ros.data.schema import RobotState
from spaars_ros.data.schema import StepSchema
from spaars_ros.tasks.base import Sample

DECIDED = ('gate', 'margin', 'latent', 'latent_action', 'raw_action', 'asked_action')
"""Fields of a record that come from a network."""


class StepRecords:
    """
    Makes the records of a control loop, in a gapless sequence.

    :param schema: layout of a record
    :param sources: names of the task's sources
    :param given: rewards and outcomes that sources give
    :param budget: the episode's cost budget
    :param first: number of the first record
    """

    def __init__(self, schema: StepSchema, sources: tuple[str, ...], given: Given,
                 budget: EpisodeBudget, first: int = 0) -> None:
        self.schema = schema
        self.sequence = first
        """Number of the next record."""
        self.lost_ticks = 0
        self.latency = 0.0
        """s, of the newest tick."""
        self._sources, self._given, self._budget = sources, given, budget

    def next(self, state: RobotState, observation: Array, samples: Mapping[str, Sample],
             **values: Any) -> Callable[[], Array]:
        """
        Return a function that makes a record, whose number is assigned now.

        :param state: the measured state
        :param observation: (n,) observation of it
        :param samples: newest sample of each source
        :param values: other fields of the record; with budget None the budget is counted when the
            record is made, after the command was sent
        """
        values.setdefault('budget', self._budget.standing)
        values.update(
            sequence=self.sequence, stamp=state.stamp_ns * 1e-9,
            lost_ticks=self.lost_ticks, latency=self.latency,
            ages=[samples[name].age if name in samples else 0.0 for name in self._sources],
            **self._given.reward(samples))
        self.sequence += 1

        def make() -> Array:
            if values['budget'] is None:
                values['budget'] = self._budget.counted()
            values.update((name, _finite(values[name])) for name in DECIDED if name in values)
            return self.schema.row(observation=observation, effort=np.nan_to_num(state.effort),
                                   **values)
        return make


def _finite(value: ArrayLike) -> Array:
    """
    Return a decision's numbers for a record, with 0 where one is not finite or beyond MAX_VALUE.

    Readers reject a record with such a value, and every later record would wait for it. The fault
    itself is in the stop, and in the record's intervention.
    """
    given = np.asarray(value, dtype=np.float64)
    return np.where(np.abs(given) <= MAX_VALUE, given, 0.0)
