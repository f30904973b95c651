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

"""What a cost monitor that is restarted in its run folder must not have forgotten."""

from collections.abc import Collection
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaars_ros.constraints.lost_bounds import LostBounds
from spaars_ros.constraints.multipliers import Multipliers

FILE = 'cost_monitor.json'


class PersistentState:
    """
    The multipliers, the last episode that they count, and bounds that an operator set.

    A parameter that was set while running is gone after a restart, as in ROS 2 everywhere: nobody
    may miss a limit or a bound without a word.

    :param folder: of the run; None keeps nothing
    :param multipliers: go on from the file, where there is one
    :param values: every parameter's value
    :raises ValueError: the file is there and cannot be read
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
        """Sequence and stamp of the last step of an episode that counts; empty before one."""

    def count(self, sequence: int, stamp: float) -> None:
        """Remember the last step of an episode, which is not to be counted again."""
        self.counted = {'sequence': sequence, 'stamp': stamp}

    def changed(self, names: Mapping[str, Any], values: Mapping[str, Any],
                limits: Collection[str]) -> None:
        """Take the parameters after some were set; `limits` are the names of cost limits."""
        self._values = values
        if set(names) & set(limits):
            self._limits = []
        self._lost.set_again(names)

    def missed(self) -> list[str]:
        """Return a line for every limit or bound that was set while running, and is not kept."""
        return [*self._limits, *self._lost.lines(self._values)]

    def save(self) -> None:
        """Write the file, whole or not at all; raises OSError."""
        if self.file is not None:
            self._multipliers.save(self.file, counted=self.counted,
                                   bounds=self._lost.to_keep(self._values))
