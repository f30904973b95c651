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
"""Progress of a training run: the counters in its checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np


@dataclass
class Progress:
    """Counters of a training run."""

    offline_done: int = 0
    """Number of offline updates."""
    steps: int = 0
    """Number of environment steps, also those that the replay has overwritten."""
    episodes: int = 0
    """Number of finished training episodes."""
    begun: int = 0
    """Number of training episodes begun; the next one has this number and its seeds."""
    seconds: float = 0.0
    """s in the offline phase and in training episodes, without evaluations."""
    offline_seconds: float = 0.0
    """s in the offline phase and in the alignment, part of `seconds`."""
    online_begun: bool = False
    succeeded: list[float] = field(default_factory=list)
    """Success of each training episode since the last evaluation, 0 or 1; NaN: not reported."""

    def take_success_rate(self) -> float | None:
        """Return the success rate since the last call, None if unknown, and reset it."""
        found = float(np.mean(self.succeeded)) if self.succeeded else float('nan')
        self.succeeded = []
        return found if np.isfinite(found) else None

    def state(self, updates: int) -> dict[str, Any]:
        """Return the state for `restore`, as values for JSON; `updates`: online updates."""
        return {'counters': [self.offline_done, self.steps, updates, self.episodes],
                'seconds': [self.seconds, self.offline_seconds],
                'online_begun': self.online_begun, 'begun': self.begun,
                'succeeded': [None if np.isnan(each) else each for each in self.succeeded]}

    def restore(self, state: Mapping[str, Any]) -> int:
        """Continue from `state()`; return the number of online updates."""
        self.offline_done, self.steps, updates, self.episodes = state['counters']
        self.seconds, self.offline_seconds = state['seconds']
        self.online_begun = state['online_begun']
        self.begun = int(state.get('begun', self.episodes))  # one at a time before 0.2.0
        self.succeeded = [float('nan') if each is None else float(each)
                          for each in state.get('succeeded', [])]
        return int(updates)
