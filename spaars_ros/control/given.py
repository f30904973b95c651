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

"""Success and reward from sources instead of from the task; free of ROS."""

from collections.abc import Mapping

from spaars_ros.data.schema import Outcome
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.base import Task


class Given:
    """Success and reward as declared in a task file, per tick."""

    def __init__(self, task: Task) -> None:
        self._success = task.settings.success
        self._reward = task.settings.reward
        self._done = False
        self._held = 0

    def restart(self) -> None:
        """Begin an episode: forget the success of the one before."""
        self._done, self._held = False, 0

    def outcome(self, computed: Outcome, sources: Mapping[str, Sample]) -> Outcome:
        """
        Return the outcome of a state.

        :param computed: the task's own outcome, used where no source is named; its failures always
            count
        :param sources: newest sample per source
        """
        if self._success is None:
            return computed
        value = float(sources[self._success.source].values[0])
        if value >= self._success.above:
            self._done = True
        elif value < self._success.below:
            self._done = False
        self._held = self._held + 1 if self._done else 0
        if self._held >= self._success.hold:
            return Outcome.SUCCESS
        return computed if computed is Outcome.FAILURE else Outcome.RUNNING

    def reward(self, sources: Mapping[str, Sample]) -> dict[str, float]:
        """Return the record's fields of the given reward, {} for none."""
        if not self._reward or self._reward not in sources:
            return {}
        return {'reward_given': 1.0, 'reward': float(sources[self._reward].values[0])}
