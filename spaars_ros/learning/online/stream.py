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
"""Step records of one robot, in the order of their numbers, grouped into episodes."""

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import StepSchema


class Stream:
    """
    Groups the step records of one robot into episodes.

    :param schema: schema of the records
    """

    def __init__(self, schema: StepSchema) -> None:
        self.schema = schema
        self.received = 0
        """Number of the next record; all records before it are added."""
        self.counted_from = 0
        """Number of the first record that is not counted in a checkpoint."""
        self.episode: list[Array] = []
        """Records of the running episode."""

    @property
    def taken_again_from(self) -> int:
        """Return the number of the first record that a resumed run has to add again."""
        return self.received - len(self.episode)

    @property
    def running_steps(self) -> int:
        """Return the number of environment steps of the running episode."""
        return max(0, len(self.episode) - 1)

    def add(self, row: Array) -> tuple[list[list[Array]], bool]:
        """
        Add the next record (width,).

        :return: the episodes that end with it, and whether it counts as an environment step
        :raises ValueError: it is not the next record
        """
        get = self.schema.get
        sequence = int(get(row, 'sequence'))
        if sequence != self.received:
            raise ValueError(f'step record {sequence} where {self.received} was expected')
        self.received += 1
        ended, counts = [], False
        if self.episode and get(row, 'episode') != get(self.episode[0], 'episode'):
            ended.append(self._close())  # the policy server was restarted within an episode
        if self.episode:
            if get(row, 'flag') == Flag.ABORTED \
                    and get(row, 'stamp') == get(self.episode[-1], 'stamp'):
                # The episode was aborted between two ticks: the record has no new state.
                return [*ended, self._close()], False
            counts = sequence >= self.counted_from
        self.episode.append(row.copy())
        if get(row, 'flag') != Flag.RUNNING:
            ended.append(self._close())
        return ended, counts

    def correct(self, row: Array) -> bool:
        """Replace the record with the same number; return False if its episode has ended."""
        get = self.schema.get
        for place, known in enumerate(self.episode):
            if get(known, 'sequence') == get(row, 'sequence') \
                    and get(known, 'episode') == get(row, 'episode'):
                self.episode[place] = row.copy()
                return True
        return False

    def _close(self) -> list[Array]:
        rows, self.episode = self.episode, []
        return rows
