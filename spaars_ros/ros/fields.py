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

"""Fields of the messages of each topic; `data.ranges` declares the ranges of their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from spaars_ros.constraints.multipliers import COLUMNS
from spaars_ros.data.labels import TOPIC

MOST_FIELDS = 1000
MOST_VALUES = 1_000_000
"""Maximum values of one message of named fields; above them its layout is invalid."""


@dataclass(frozen=True)
class Layout:
    """
    Fields of the messages of a topic.

    :param widths: field name -> width; None for one entry per constraint
    :param unmeasured: fields that may be NaN or infinite, because they are not measured yet
    """

    widths: Mapping[str, int | None]
    unmeasured: frozenset[str] = field(default_factory=frozenset)

    def sized(self, constraints: int = 0) -> dict[str, int]:
        """Return field name -> width for a number of constraints."""
        return {name: constraints if width is None else width
                for name, width in self.widths.items()}


LAYOUTS: Mapping[str, Layout] = {
    'cost_monitor/cost': Layout({
        'sequence': 1, 'episode': 1, 'ended': 1, 'valid': 1, 'cost': None, 'episode_cost': None,
        'discounted_cost': None}),
    'cost_monitor/multiplier': Layout({
        'episode': 1, 'cost': None, **dict.fromkeys(COLUMNS)}),
    'learner/progress': Layout(
        dict.fromkeys(('received', 'stamp', 'updates', 'recorded', 'phase', 'bc_error', 'novelty',
                       'margin', 'gate_share', 'bundle_version', 'owed', 'fault', 'taught',
                       'out_of_reach', 'paused'), 1),
        frozenset(('bc_error', 'novelty', 'margin', 'gate_share', 'out_of_reach'))),
    TOPIC: Layout({'episode': 1, 'outcome': 1}),
}
"""Topic -> layout; `policy_server/step` has that of the step record, `data.schema.StepSchema`."""
