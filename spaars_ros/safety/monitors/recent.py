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

"""Number of recent bad events."""


class Recent:
    """
    Count the bad ones among the last `window` events.

    :param window: number of events
    :param limit: number of bad events that is too many; 0 for never
    """

    def __init__(self, window: int, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._mask = (1 << window) - 1
        # One bit per event, because this is called on every tick.
        self._bits = 0

    @property
    def count(self) -> int:
        """Return the number of bad events in the window."""
        return self._bits.bit_count()

    @property
    def too_many(self) -> bool:
        """Return whether the limit is reached."""
        return 0 < self.limit <= self._bits.bit_count()

    def add(self, bad: bool) -> bool:
        """Count one event; return whether it is bad and the limit is reached."""
        self._bits = (self._bits << 1 | bad) & self._mask
        self.total += bad
        return bad and self.too_many
