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

LOOK = 100
"""Steps that one look at a policy takes at least, in one episode or in several."""
WINDOW = 6
"""Newest looks of a kind that count: both policies learn, and old returns are of old ones."""
LEAST = 2
"""Looks of each kind without which the gate stays shut in use."""
WORSE = 2.0
"""Standard errors by which the gate has to earn less to go out of use again."""

UNPROVEN = 0.5
"""Share of the steps in which a policy that has not beaten the pretrained one is tried, at most.
"""


class GateTrials:
    """
    Whether the gate has earned its use, and which training episodes go without it.

    The gate asks the critic about one action at a time, and the critic is least reliable where
    raw actions lead. Returns of whole episodes are slower to come by, but right (ours,
    spaars.md). Some training episodes are controls, with the gate shut. The gate comes into
    use when the newest looks with it (at most `WINDOW`, at least `LEAST`) earn more than those
    without by more than the standard error of the difference, and goes out of use when they earn
    less by `WORSE` of them.

    A look is an episode, or as many as make `LOOK` steps: a spell of early falls is one look at
    weights that a few updates change, and what is used is the mean of the weights of many.

    Where controls run the frozen pretrained policy (`stationary`), what they earn does not drift:
    all of them count. What is tried is not proven then, and until it pays it takes `UNPROVEN` of
    the steps at most: a person beside the arm sees every one of them.

    :param share: of the environment steps that control episodes take
    :param stationary: whether the policy of the controls never changes
    """

    def __init__(self, share: float, stationary: bool = False) -> None:
        self.share = share
        self.stationary = stationary
        self.control = False
        """Whether the present training episode is one."""
        self.with_gate: list[float] = []
        """Mean return of each of the newest looks with the gate ..."""
        self.without: list[float] = []
        """... and without."""
        self.gate_pays = False
        """Whether the gate is to be used."""
        self._unfinished: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
        """Return and steps of the episodes of the present look, of controls and others."""
        self._steps = self._spent = 0

    def _weigh(self) -> None:
        if min(len(self.with_gate), len(self.without)) < LEAST:
            return
        gain = np.mean(self.with_gate) - np.mean(self.without)
        error = np.sqrt(sum(np.var(returns, ddof=1) / len(returns)
                            for returns in (self.with_gate, self.without)))
        if gain > error:
            self.gate_pays = True
        elif gain < -WORSE * error:
            self.gate_pays = False

    def take(self, total: float, steps: int) -> None:
        """Take return and length of an episode, and say whether the next one is a control."""
        self._steps += steps
        self._spent += self.control * steps
        look = self._unfinished[self.control]
        look.append((total, steps))
        if sum(length for _, length in look) >= LOOK:
            looks = self.without if self.control else self.with_gate
            kept = 0 if self.control and self.stationary else WINDOW
            looks[:] = [*looks, float(np.mean([earned for earned, _ in look]))][-kept:]
            look.clear()
            self._weigh()
        # By steps, since good episodes are long and would leave few for the others.
        unproven = self.stationary and not self.gate_pays
        share = max(self.share, 1.0 - UNPROVEN) if unproven else self.share
        self.control = self._spent < share * self._steps

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {'control': self.control, 'with_gate': self.with_gate, 'without': self.without,
                'unfinished': [self._unfinished[False], self._unfinished[True]],
                'gate_pays': self.gate_pays, 'steps': [self._steps, self._spent]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.control = bool(state['control'])
        self.with_gate = [float(value) for value in state['with_gate']]
        self.without = [float(value) for value in state['without']]
        # A checkpoint from before has only whole looks.
        for control, episodes in enumerate(state.get('unfinished', ([], []))):
            self._unfinished[bool(control)] = [(float(total), int(steps))
                                               for total, steps in episodes]
        self.gate_pays = bool(state['gate_pays'])
        self._steps, self._spent = state['steps']
