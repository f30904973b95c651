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

"""Paths of the tip in the last episodes."""

from collections import deque
from dataclasses import dataclass
from dataclasses import field
import threading

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode

KEPT = 5
"""Number of episodes whose paths are kept."""
LONGEST = 2000
"""Maximum points per path; older ones are dropped."""


@dataclass
class Path:
    """Path of the tip in one episode."""

    episode: int
    tips: deque[Array] = field(default_factory=lambda: deque(maxlen=LONGEST))
    modes: deque[int] = field(default_factory=lambda: deque(maxlen=LONGEST))
    intervened: deque[bool] = field(default_factory=lambda: deque(maxlen=LONGEST))


class Paths:
    """Thread-safe store of the last paths: one thread subscribes and writes, another draws."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: deque[Path] = deque(maxlen=KEPT)
        self.changed = 0
        """Counter that increases with every point."""

    def add(self, episode: int, tip: Array, mode: int, intervened: bool) -> None:
        """Add one point: episode number, tip (3,) in m, mode and filter intervention."""
        with self._lock:
            if not self._paths or self._paths[-1].episode != episode:
                self._paths.append(Path(episode))
            path = self._paths[-1]
            path.tips.append(tip)
            path.modes.append(mode if mode in list(Mode) else int(Mode.NONE))
            path.intervened.append(intervened)
            self.changed += 1

    def snapshot(self) -> list[tuple[int, Array, list[int], list[bool]]]:
        """Return (episode, tips (T, 3) in m, modes, intervened) per path, oldest first."""
        with self._lock:
            return [(path.episode, np.array(path.tips), list(path.modes), list(path.intervened))
                    for path in self._paths]
