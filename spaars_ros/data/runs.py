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

"""Assignment of step records to the runs of a policy server, in order of their numbers."""

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import StepSchema


def split_runs(schema: StepSchema, rows: Array) -> list[Array]:
    """
    Split records (m, width) into runs; return each run's records once and by sequence.

    A server numbers the steps of a run 0, 1, 2 ... and sends some of them again, unchanged. A new
    run begins where a number returns with other content, or where a smaller number has a later
    stamp.
    """
    sequences, stamps = schema.get(rows, 'sequence'), schema.get(rows, 'stamp')
    runs: list[dict[float, int]] = [{}]
    newest = -1
    for i, sequence in enumerate(sequences):
        seen = runs[-1].get(sequence)
        if seen is not None and np.array_equal(rows[seen], rows[i], equal_nan=True):
            continue
        if seen is not None or (newest >= 0 and sequence < sequences[newest]
                                and stamps[i] > stamps[newest]):
            runs.append({})
            newest = -1
        runs[-1][sequence] = i
        if newest < 0 or sequence > sequences[newest]:
            newest = i
    return [rows[[places[key] for key in sorted(places)]] for places in runs]
