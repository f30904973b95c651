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

"""Control episodes: what the gate is worth, by what whole episodes with and without it earn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

WINDOW = 4
"""Newest episodes of a kind that count: both policies learn, and old returns are of old ones."""
LEAST = 2
"""Episodes of each kind without which the gate stays shut in use."""


class Trials:
    """
    Whether the gate has earned its use, and which training episodes go without it.

    The gate asks the critic about one action at a time, and the critic is least reliable where
    raw actions lead. Returns of whole episodes are slower to come by, but right (ours,
    docs/method.md). Some training episodes are controls, with the gate shut. The gate comes into
    use when the newest returns with it are above those without by more than the standard error
    of the difference, and goes out of use when they are as far below: one episode that failed
    early decides nothing.

    :param share: of the environment steps that control episodes take
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.control = False
        """Whether the present training episode is one."""
        self.with_gate: list[float] = []
        self.without: list[float] = []
        self.gate_pays = False
        """Whether the gate is to be used."""
        self._steps = self._spent = 0

    def _weigh(self) -> None:
        if min(len(self.with_gate), len(self.without)) < LEAST:
            return
        gain = np.mean(self.with_gate) - np.mean(self.without)
        error = np.sqrt(sum(np.var(returns, ddof=1) / len(returns)
                            for returns in (self.with_gate, self.without)))
        if abs(gain) > error:
            self.gate_pays = bool(gain > 0.0)

    def take(self, total: float, steps: int) -> None:
        """Take return and length of an episode, and say whether the next one is a control."""
        self._steps += steps
        self._spent += self.control * steps
        returns = self.without if self.control else self.with_gate
        returns[:] = [*returns, total][-WINDOW:]
        self._weigh()
        # By steps, since good episodes are long and would leave few for the others.
        self.control = self._spent < self.share * self._steps

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {'control': self.control, 'with_gate': self.with_gate, 'without': self.without,
                'gate_pays': self.gate_pays, 'steps': [self._steps, self._spent]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.control = bool(state['control'])
        self.with_gate = [float(value) for value in state['with_gate']]
        self.without = [float(value) for value in state['without']]
        self.gate_pays = bool(state['gate_pays'])
        self._steps, self._spent = state['steps']
