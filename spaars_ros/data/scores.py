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

"""D4RL's reference scores, to compare returns across tasks."""

from collections.abc import Mapping
from types import MappingProxyType

REFERENCE: Mapping[str, tuple[float, float]] = MappingProxyType({
    'halfcheetah': (-280.178953, 12135.0),
    'hopper': (-20.272305, 3234.3),
    'kitchen': (0.0, 4.0),
    'spaarsstaged': (0.0, 4.0),
    'walker2d': (1.629008, 4592.3),
})
"""
Task -> return of a random policy and of an expert (docs/reference/data.md, sourced).

The entry of SpaarsStaged is not measured: its return is the number of completed sub-tasks, of
four.
"""

KITCHENS = dict.fromkeys(('frankakitchen', 'spaarskitchen', 'spaarskitchenevaluation'), 'kitchen')


def reference_of(env_id: str) -> tuple[float, float] | None:
    """
    Return the (random, expert) returns of an environment, or None where D4RL has none.

    :param env_id: Gymnasium's or D4RL's name: `Hopper-v5`, `hopper-medium-v2`
    """
    task = env_id.rsplit('/', 1)[-1].split('-')[0].lower()
    return REFERENCE.get(KITCHENS.get(task, task))


def normalised_score(env_id: str, ret: float) -> float | None:
    """
    Return 100 (ret - random) / (expert - random), or None where D4RL has no reference.

    D4RL measured its references on the v2 environments. The v5 environments differ a little in
    contacts and in the rewards of Hopper and Walker2d. Scores on v5 are therefore comparable
    within a table, and only roughly comparable with those of papers.

    :param env_id: as for `reference_of`
    :param ret: undiscounted return of an episode, or the mean of several
    """
    reference = reference_of(env_id)
    if reference is None:
        return None
    random, expert = reference
    return 100.0 * (ret - random) / (expert - random)
