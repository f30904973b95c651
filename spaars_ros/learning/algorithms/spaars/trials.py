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

"""Control episodes: compare the returns of episodes with and without the gate."""

from collections.abc import Mapping
from typing import Any

import numpy as np

LOOK = 100
"""Minimum number of steps of one sample of a policy, in one episode or in several."""
WINDOW = 6
"""Number of newest samples of a kind that count: both policies learn, so old returns are stale."""
LEAST = 2
"""Minimum number of samples of each kind before the gate can come into use."""
WORSE = 2.0
"""Standard errors by which the gate must earn less to go out of use again."""

UNPROVEN = 0.5
"""Maximum share of the steps for a policy that has not yet beaten the pretrained one."""


class GateTrials:
    """
    Decide whether the gate is in use, and which training episodes are controls without it.

    The gate compares single actions by the critic, which is least reliable where raw actions
    lead. Returns of episodes take longer to collect, but are correct (not in the paper;
    docs/concepts/spaars.md). Some training episodes are controls, with the gate closed. The gate
    comes into use when the newest samples with it (at least `LEAST`, at most `WINDOW`) have a
    higher mean return than those without, by more than the standard error of the difference. It
    goes out of use when they have a lower one by `WORSE` standard errors.

    A sample is the mean return of one or more episodes, with at least `LOOK` steps in total.
    A series of early failures is thus one sample of weights that a few updates change, whereas
    the deployed weights are a mean over many updates.

    If controls run the frozen pretrained policy (`stationary`), their return does not drift, and
    all their samples count. The tried policy is then unproven: until it pays it acts in at most
    `UNPROVEN` of the steps, since an operator beside the arm sees every one of them.

    :param share: share of the environment steps that control episodes take, 0 to 1
    :param stationary: whether the policy of the controls never changes
    """

    def __init__(self, share: float, stationary: bool = False) -> None:
        self.share = share
        self.stationary = stationary
        self.control = False
        """Whether the present training episode is a control."""
        self.with_gate: list[float] = []
        """Mean return of each of the newest samples with the gate."""
        self.without: list[float] = []
        """Mean return of each of the newest samples without it."""
        self.gate_pays = False
        """Whether the gate is in use."""
        self._unfinished: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
        """(return, steps) of the episodes of the unfinished sample, by whether it is a control."""
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
        """Add return and steps of an episode, and choose whether the next one is a control."""
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
        # By steps, not episodes: long episodes of one kind would leave few steps for the other.
        unproven = self.stationary and not self.gate_pays
        share = max(self.share, 1.0 - UNPROVEN) if unproven else self.share
        self.control = self._spent < share * self._steps

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`."""
        return {'control': self.control, 'with_gate': self.with_gate, 'without': self.without,
                'unfinished': [self._unfinished[False], self._unfinished[True]],
                'gate_pays': self.gate_pays, 'steps': [self._steps, self._spent]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.control = bool(state['control'])
        self.with_gate = [float(value) for value in state['with_gate']]
        self.without = [float(value) for value in state['without']]
        # Older checkpoints have only finished samples.
        for control, episodes in enumerate(state.get('unfinished', ([], []))):
            self._unfinished[bool(control)] = [(float(total), int(steps))
                                               for total, steps in episodes]
        self.gate_pays = bool(state['gate_pays'])
        self._steps, self._spent = state['steps']
