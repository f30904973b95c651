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

"""Learnable parts of an episode, terminal states and discarded episodes."""

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.unmoved import unmoved_parts


def learnable_parts(schema: StepSchema, rows: Array) -> list[slice]:
    """
    Return the parts of an episode's transitions in which a single actor decided.

    The episode is cut where a person takes over and where the person gives back control: a return
    that continues across the cut would credit one actor with the result of the other. Transitions
    in which nobody acted (a pause by a person) and transitions in which a hand moved the arm are
    left out.

    :param rows: (T + 1, width) step records of one episode
    :return: slices of its T transitions
    """
    modes = schema.get(rows, 'mode')[:-1]
    # 0: nobody, 1: the policies, 2: a person.
    actor = np.where(modes == Mode.NONE, 0, np.where(modes == Mode.HUMAN, 2, 1))
    parts = []
    for part in unmoved_parts(schema, rows):
        seams = np.flatnonzero(np.diff(actor[part])) + 1 + part.start
        ends = [part.start, *seams.tolist(), part.stop]
        parts += [slice(low, high) for low, high in zip(ends, ends[1:]) if actor[low]]
    return parts


def is_terminal(schema: StepSchema, rows: Array) -> NDArray[np.bool_]:
    """
    Return whether the states of records (..., width) are terminal, as booleans (...).

    A state is terminal where the task ended the episode, or where a person ended it and judged it
    as success or failure. A time limit, a stop, or an end by a person without a judgement says
    nothing about what would have followed.
    """
    flag = schema.get(rows, 'flag')
    if 'outcome' not in schema.fields:
        return np.asarray(flag == Flag.TERMINATED)
    judged = np.isin(schema.get(rows, 'outcome'), (Outcome.SUCCESS, Outcome.FAILURE))
    return np.asarray((flag == Flag.TERMINATED) | (flag == Flag.PERSON) & judged)


def discarded_episodes(schema: StepSchema, rows: Array) -> NDArray[np.float64]:
    """Return the numbers of the episodes in records (m, width) that a person discarded."""
    if 'outcome' not in schema.fields:
        return np.zeros(0)
    gone = schema.get(rows, 'outcome') == Outcome.DISCARDED
    return np.unique(schema.get(rows, 'episode')[gone])
