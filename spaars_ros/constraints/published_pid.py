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

"""PID Lagrangian of Marvel's released code, unchanged, for comparison."""

from collections import deque
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

SMOOTH = 0.9
"""a_p and a_d: weight of the old value in the smoothed error and cost."""
DELAY = 10
"""
Number of calls between the two smoothed costs whose difference is D, and length of the window that
adapts the gains.
"""
RATE = 0.05
"""Rate of the gains' adaptation, per call."""
OFFSET = 0.1
"""Added to the window's mean, to avoid division by 0."""
SPAN = 10.0
"""A gain stays within this factor of its initial value."""


@dataclass(frozen=True)
class ReleasedGains:
    """Constants of the released code; costs are undiscounted sums, not relative to the limit."""

    gain: float = 5e-6
    """K0: initial kp, ki and kd; tuned for rewards and costs scaled by 0.1."""
    calls: int = 4
    """PID calls per episode: 4 per train(), 5 train() per iteration of 5 episodes."""
    lambda_max: float = math.inf
    """Cap on lambda; the released code has none (sum_norm disables its penalty_max)."""


class ReleasedPID:
    """
    Multiplier of one constraint as in Marvel's released code (docs/concepts/constraints.md).

    A call uses the episode cost Jc with limit d, delta = Jc - d; all other values start at 0:

        I      <- max(0, I + K_i delta)
        P      <- 0.9 P + 0.1 delta
        C      <- 0.9 C + 0.1 Jc
        D      <- max(0, C - C of 10 calls before)
        lambda <- max(0, K_p P + I + K_d D)
        m, s   =  mean of the last 10 C + 0.1, and their standard deviation
        K_p,i  <- K_p,i (1 + 0.05 (m - d) / m)         one law above d and below
        K_d    <- K_d (1 + 0.05 s / m)                 each clamped to [K0 / 10, 10 K0]

    The section does not define the start of the window. Its simulated figures are reproduced to
    the printed digit if the last 10 C are the delay queue, which contains the initial C_0 = 0
    until ten more values have arrived, and if the gains adapt after lambda, for the next call.
    This implementation does both.

    Known properties of the released code, kept:

    * With m near 0, the factor of K_p and K_i is strongly negative (cost 0, limit 20: -8.95), and
    only the clamp limits the effect. The smoothed cost starts at 0, so the gains fall before they
    rise: to the floor at a cost of 25, to 0.30 K0 at 40, to 0.70 K0 at 80. From the floor to the
    cap takes at least 94 calls.
    * K_d never falls.
    * There is no anti-windup, no cap and no deadband; the gains fit one scale of costs and
    rewards.

    One difference: a cost or a limit that is not finite is refused.

    :param limit: d, the allowed measured cost, >= 0
    :param gains: None: the defaults
    """

    def __init__(self, limit: float, gains: ReleasedGains | None = None) -> None:
        self.gains = gains or ReleasedGains()
        self.value = 0.0
        """lambda."""
        self.kp = self.ki = self.kd = self.gains.gain
        self.p_term = self.i_term = self.d_term = 0.0
        self.updates = 0
        self._error = self._smooth = 0.0
        self._queue: deque[float] = deque([0.0], maxlen=DELAY)
        self.limit = limit
        self.set_limit(limit)

    def set_limit(self, limit: float) -> None:
        """
        Set another limit from the next call on.

        :raises ValueError: the limit is negative or not finite
        """
        if not math.isfinite(limit) or limit < 0:
            raise ValueError(f'cost limit {limit}: has to be finite and not negative')
        self.limit = limit

    def set_gains(self, gains: ReleasedGains) -> None:
        """Set other gains; a changed K0 becomes the new start of all three gains."""
        if gains.gain != self.gains.gain:
            self.kp = self.ki = self.kd = gains.gain
        self.gains = gains
        self.value = min(self.value, gains.lambda_max)

    def update(self, cost: float) -> float:
        """
        Update with a finished episode's measured cost, in `gains.calls` calls; return lambda >= 0.

        :raises ValueError: the cost is negative or not finite; nothing is changed
        """
        if not math.isfinite(cost) or cost < 0:
            raise ValueError(f'episode cost {cost}: has to be finite and not negative')
        for _ in range(self.gains.calls):
            self._call(cost)
        self.updates += 1
        return self.value

    def _call(self, cost: float) -> None:
        delta = cost - self.limit
        self.i_term = max(0.0, self.i_term + self.ki * delta)
        self._error = SMOOTH * self._error + (1.0 - SMOOTH) * delta
        self._smooth = SMOOTH * self._smooth + (1.0 - SMOOTH) * cost
        self.p_term = self.kp * self._error
        self.d_term = self.kd * max(0.0, self._smooth - self._queue[0])
        self._queue.append(self._smooth)
        asked = max(0.0, self.p_term + self.i_term + self.d_term)
        self.value = min(asked, self.gains.lambda_max)
        mean, spread = float(np.mean(self._queue)) + OFFSET, float(np.std(self._queue))
        factor = 1.0 + RATE * (mean - self.limit) / mean
        self.kp, self.ki = self._clamp(self.kp * factor), self._clamp(self.ki * factor)
        self.kd = self._clamp(self.kd * (1.0 + RATE * spread / mean))

    def _clamp(self, gain: float) -> float:
        return min(max(gain, self.gains.gain / SPAN), self.gains.gain * SPAN)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`, as values for JSON."""
        return {'limit': self.limit, 'gain': self.gains.gain, 'value': self.value,
                'kp': self.kp, 'ki': self.ki, 'kd': self.kd, 'p_term': self.p_term,
                'i_term': self.i_term, 'd_term': self.d_term, 'error': self._error,
                'smooth': self._smooth, 'queue': list(self._queue), 'updates': self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of `state_dict`; raises ValueError on missing or non-finite values."""
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(f'controller state differs in {sorted(expected ^ set(state))}')
        numbers = [state[name] for name in expected - {'queue'}] + list(state['queue'])
        if not state['queue'] or not all(math.isfinite(number) for number in numbers):
            raise ValueError('controller state is not finite')
        self.gains = ReleasedGains(float(state['gain']), self.gains.calls, self.gains.lambda_max)
        self.limit, self.value = float(state['limit']), float(state['value'])
        self.kp, self.ki, self.kd = (float(state[name]) for name in ('kp', 'ki', 'kd'))
        self.p_term, self.i_term, self.d_term = (
            float(state[name]) for name in ('p_term', 'i_term', 'd_term'))
        self._error, self._smooth = float(state['error']), float(state['smooth'])
        self._queue = deque((float(cost) for cost in state['queue']), maxlen=DELAY)
        self.updates = int(state['updates'])
