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

"""State that a cost monitor keeps over a restart in its run folder."""

from collections.abc import Collection
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaars_ros.constraints.lost_bounds import LostBounds
from spaars_ros.constraints.multipliers import Multipliers

FILE = 'cost_monitor.json'


class PersistentState:
    """
    Multipliers, last counted episode, and limits and bounds that an operator set at run time.

    In ROS 2, a parameter value that was set at run time is lost on a restart. The lost limits and
    bounds are reported, so that none is missed silently.

    :param folder: run folder; None: nothing is kept
    :param multipliers: restored from the file, if it exists
    :param values: values of all parameters
    :raises ValueError: the file exists and cannot be read
    """

    def __init__(self, folder: Path | None, multipliers: Multipliers, values: Mapping[str, Any]
                 ) -> None:
        self.file = None if folder is None else folder / FILE
        self._multipliers, self._values = multipliers, values
        self._limits: list[str] = []
        kept: dict[str, Any] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        if self.file is not None and self.file.exists():
            self._limits = multipliers.load(self.file)
            kept = multipliers.kept
        self._lost = LostBounds(kept.get('bounds', {}), values)
        self.counted: dict[str, float] = kept.get('counted', {})
        """`sequence` and `stamp` (s) of the last step of the last counted episode; or empty."""

    def count(self, sequence: int, stamp: float) -> None:
        """Note the last step of an episode, so that the episode is not counted again."""
        self.counted = {'sequence': sequence, 'stamp': stamp}

    def changed(self, names: Mapping[str, Any], values: Mapping[str, Any],
                limits: Collection[str]) -> None:
        """
        Note that parameters were set.

        :param names: parameters that were set
        :param values: current values of all parameters
        :param limits: names of the cost limits
        """
        self._values = values
        if set(names) & set(limits):
            self._limits = []
        self._lost.set_again(names)

    def missed(self) -> list[str]:
        """Return one line per limit or bound that was set at run time and is lost."""
        return [*self._limits, *self._lost.lines(self._values)]

    def save(self) -> None:
        """Write the file atomically; raises OSError."""
        if self.file is not None:
            self._multipliers.save(self.file, counted=self.counted,
                                   bounds=self._lost.to_keep(self._values))
