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

"""Data of the report that are in recording and spool, apart from the steps."""

from pathlib import Path

import numpy as np

from spaars_ros.data import cdr
from spaars_ros.data.recording import read_messages
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import SpoolError
from spaars_ros.data.spool_format import scan_spool


def final_multipliers(recording: Path, schema: StepSchema, rows: Array) -> dict[int, float]:
    """Return episode -> multiplier of the first constraint at the end of the episode."""
    times, values = [], []
    for _, channel, message in read_messages(recording):
        if channel.topic.endswith('cost_monitor/multiplier'):
            fields, data = cdr.decode_array(message.data)
            place = 0
            for name, width in fields:
                if name == 'multiplier' and width:
                    times.append(message.publish_time * 1e-9)
                    values.append(float(data[place]))
                place += width
    if not times:
        return {}
    ends = rows[schema.get(rows, 'flag') > 0]
    # The multiplier in force at the last step is the newest one up to the stamp of that step.
    found = np.searchsorted(np.asarray(times), schema.get(ends, 'stamp'), side='right') - 1
    return {int(episode): values[index] if index >= 0 else 0.0
            for episode, index in zip(schema.get(ends, 'episode'), found)}


def lessons_of(recording: Path) -> dict[int, float]:
    """
    Return episode -> mean distance of the operator's actions from what the decoder can produce.

    Mean norm of the difference in normalised action units. Episodes without human actions, or of
    a policy without a decoder, are left out.
    """
    sums: dict[int, list[float]] = {}
    for _, channel, message in read_messages(recording):
        if channel.topic.endswith('learner/lesson'):
            fields, data = cdr.decode_array(message.data)
            values = dict(zip((name for name, _ in fields), map(float, data)))
            steps, distance = values['steps'], values['out_of_reach']
            if distance == distance and steps > 0:
                total = sums.setdefault(int(values['episode']), [0.0, 0.0])
                total[0] += steps * distance
                total[1] += steps
    return {episode: total / count for episode, (total, count) in sums.items()}


def server_transitions(spool: Path, otherwise: int) -> int:
    """
    Return the number of transitions that the policy server made, from its spool.

    :param otherwise: number of recorded transitions; returned if it is larger, as with a damaged
        spool, or if there is no spool here
    """
    try:
        spooled = scan_spool(spool)
    except SpoolError:
        return otherwise  # no spool here: the server runs on another machine
    schema, rows = spooled.schema, spooled.rows[spooled.sound]
    same = np.diff(schema.get(rows, 'episode')) == 0
    # An abort ends an episode with its present state, to which no transition leads.
    moved = (np.diff(schema.get(rows, 'stamp')) != 0) \
        | (schema.get(rows, 'flag')[1:] != Flag.ABORTED)
    return max(int(np.count_nonzero(same & moved)), otherwise)
