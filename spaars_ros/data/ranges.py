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

"""Valid range of every field of records and messages, declared in one place."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Budget
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import MAX_VALUE
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema

MOST = 2.0**53
"""Whole numbers up to this value are exact in float64."""
LATEST = 9.2e9
"""s; later stamps do not fit into 64 bits as ns."""


@dataclass(frozen=True)
class Range:
    """Valid values of a field; a value that is not finite is never valid."""

    low: float = -float('inf')
    high: float = float('inf')
    whole: bool = False


COUNT = Range(0.0, MOST - 1.0, whole=True)
"""Whole numbers from 0; readers convert them to integers."""
NONE_YET = Range(-1.0, MOST - 1.0, whole=True)
"""Whole numbers from 0, or -1 for none."""
YES_OR_NO = Range(0.0, 1.0, whole=True)
SIZE = Range(-MAX_VALUE, MAX_VALUE)
ANYTHING = Range()

RANGES: Mapping[str, Range] = {
    **dict.fromkeys(('sequence', 'index', 'intervention', 'lost_ticks', 'received', 'updates',
                     'recorded', 'owed', 'robot', 'external_motion', 'taught'), COUNT),
    **dict.fromkeys(('episode', 'bundle_version', 'skill_step'), NONE_YET),
    'stamp': Range(-LATEST, LATEST),
    'flag': Range(min(Flag), max(Flag), whole=True),
    'mode': Range(min(Mode), max(Mode), whole=True),
    'outcome': Range(min(Outcome), max(Outcome), whole=True),
    'budget': Range(min(Budget), max(Budget), whole=True),
    'phase': Range(0.0, 2.0, whole=True),
    **dict.fromkeys(('ended', 'valid', 'fault', 'paused', 'reward_given'), YES_OR_NO),
    **dict.fromkeys(('observation', 'latent', 'latent_action', 'raw_action', 'asked_action',
                     'action', 'effort', 'gate', 'margin', 'latency', 'reward'), SIZE),
    'multiplier': Range(0.0, 1e9), 'limit': Range(0.0, 1e9),
}
"""
Field name -> range, in every message. A field that is not listed may be any finite number.

Costs are not listed: if a cost were refused for its size, it could not stop anything.
"""


class Ranges:
    """Ranges of all values of one layout, as arrays for comparison with complete rows."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        names = [name for name, width in widths.items() for _ in range(width)]
        ranges = [RANGES.get(name, ANYTHING) for name in names]
        self._names = names
        self._low = np.array([each.low for each in ranges])
        self._high = np.array([each.high for each in ranges])
        self._whole = np.flatnonzero([each.whole for each in ranges])

    def name_of_bad(self, values: Array) -> tuple[str, float] | None:
        """Return field and value of the first finite one of values (n,) out of range, or None."""
        # A layout allows values that are not finite where a quantity was not measured.
        good = ((values >= self._low) & (values <= self._high)) | ~np.isfinite(values)
        counts = values[self._whole]
        good[self._whole] &= counts == np.floor(counts)
        if good.all():
            return None
        bad = int(np.argmin(good))
        return self._names[bad], float(values[bad])

    def fit(self, rows: Array) -> NDArray[np.bool_]:
        """Return which rows (m, n) are finite and in range, (m,)."""
        counts = rows[:, self._whole]
        good = (rows >= self._low) & (rows <= self._high) & np.isfinite(rows)
        fit: NDArray[np.bool_] = good.all(axis=1) & (counts == np.floor(counts)).all(axis=1)
        return fit


def ranges_of(schema: StepSchema) -> Ranges:
    """Return the ranges of a step record."""
    return Ranges({name: place.stop - place.start for name, place in schema.fields.items()})


def unfit(schema: StepSchema, rows: Array) -> str:
    """Return the first violation of a range in records (m, width), in words; '' for none."""
    ranges = ranges_of(schema)
    bad = np.flatnonzero(~ranges.fit(rows))
    if not len(bad):
        return ''
    name, value = ranges.name_of_bad(rows[bad[0]]) or ('a value', float('nan'))
    return f'{name} of step {rows[bad[0], 0]:.0f} is {value:g}'


def follows(schema: StepSchema, before: Array, after: Array) -> bool:
    """Return whether two records may be consecutive records of one server."""
    old, new = schema.view(before), schema.view(after)
    # A record that closes an episode between two ticks repeats the newest state and its stamp.
    closes = new['flag'] != Flag.RUNNING and new['episode'] == old['episode']
    later = new['stamp'] >= old['stamp'] if closes else new['stamp'] > old['stamp']
    if new['sequence'] != old['sequence'] + 1 or not later \
            or new['lost_ticks'] < old['lost_ticks'] and new['episode'] == old['episode']:
        return False
    if new['episode'] == old['episode']:
        return bool(old['flag'] == Flag.RUNNING and new['index'] > old['index'])
    return bool(new['episode'] > old['episode'] and new['index'] == 0)
