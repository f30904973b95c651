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

"""Selection of the transitions in which no hand moved the arm."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema


def unmoved_parts(schema: StepSchema, rows: Array) -> list[slice]:
    """
    Return the parts of an episode's transitions in which only commands moved the arm.

    :param rows: (T + 1, width) step records of one episode
    :return: slices of its T transitions
    """
    if 'external_motion' not in schema.fields:
        return [slice(0, len(rows) - 1)]
    # The record of a state describes the motion that led to it.
    moved = np.flatnonzero(schema.get(rows, 'external_motion')[1:]).tolist()
    ends = [-1, *moved, len(rows) - 1]
    return [slice(low + 1, high) for low, high in zip(ends, ends[1:]) if low + 1 < high]
