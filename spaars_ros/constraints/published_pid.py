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

"""The PID Lagrangian of Marvel's released code, as it is, to compare against."""

from collections import deque
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

SMOOTH = 0.9
"""a_p and a_d: share of the old value in the smoothed error and cost."""
DELAY = 10
"""Calls between the two smoothed costs whose difference is D, and the window that adapts."""
RATE = 0.05
"""Of the gains' adaptation, a call."""
OFFSET = 0.1
"""Added to the window's mean, which would else divide by 0."""
SPAN = 10.0
"""A gain stays within this factor of its first value."""


@dataclass(frozen=True)
class ReleasedGains:
    """The released constants; costs are undiscounted episode costs, not relative to the limit."""

    gain: float = 5e-6
    """K0: kp, ki and kd to begin with; tied to rewards and costs scaled by 0.1."""
    calls: int = 4
    """PID calls per episode: 4 a train(), 5 train() an iteration of 5 episodes."""
    lambda_max: float = math.inf
    """Cap on lambda; the released code has none (sum_norm switches its penalty_max off)."""


class ReleasedPID:
    """
    One constraint's multiplier as Marvel's released code has it (docs/concepts/constraints.md).

    A call takes the episode cost Jc at limit d, delta = Jc - d, everything else starting at 0:

        I      <- max(0, I + K_i delta)
        P      <- 0.9 P + 0.1 delta
        C      <- 0.9 C + 0.1 Jc
        D      <- max(0, C - C of 10 calls before)
        lambda <- max(0, K_p P + I + K_d D)
        m, s   =  mean of the last 10 C + 0.1, and their standard deviation
        K_p,i  <- K_p,i (1 + 0.05 (m - d) / m)         one law above d and below
        K_d    <- K_d (1 + 0.05 s / m)                 each clamped to [K0 / 10, 10 K0]

    The section leaves the window's beginning open. Its simulated figures come out to the printed
    digit when the last 10 C are the delay queue, which holds the initial C_0 = 0 until ten more
    have come, and the gains adapt after lambda, for the next call. So it is done here.

    Known quirks, kept:

    * with m near 0 the factor of K_p and K_i is strongly negative (cost 0, limit 20: -8.95) and
      only the clamp rescues it. The smoothed cost starts at 0, so the gains fall before they
      rise: to the floor at a cost of 25, to 0.30 K0 at 40, to 0.70 K0 at 80. From the floor to
      the cap takes at least 94 calls.
    * K_d never falls.
    * no anti-windup, no cap, no deadband; the gains fit one scale of costs and rewards.

    What is not kept: a cost or limit that is not finite is refused.

    :param limit: d, the measured cost that is allowed, >= 0
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
        Take another limit from the next call on.

        Raises ValueError on a limit that is negative or not finite.
        """
        if not math.isfinite(limit) or limit < 0:
            raise ValueError(f'cost limit {limit}: has to be finite and not negative')
        self.limit = limit

    def set_gains(self, gains: ReleasedGains) -> None:
        """Take other gains; a changed K0 starts all three from there."""
        if gains.gain != self.gains.gain:
            self.kp = self.ki = self.kd = gains.gain
        self.gains = gains
        self.value = min(self.value, gains.lambda_max)

    def update(self, cost: float) -> float:
        """
        Take one finished episode's measured cost, in `gains.calls` calls, and return lambda >= 0.

        Raises ValueError, and changes nothing, on a cost that is negative or not finite.
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
        """Return all that `load_state_dict` needs, as JSON-able values."""
        return {'limit': self.limit, 'gain': self.gains.gain, 'value': self.value,
                'kp': self.kp, 'ki': self.ki, 'kd': self.kd, 'p_term': self.p_term,
                'i_term': self.i_term, 'd_term': self.d_term, 'error': self._error,
                'smooth': self._smooth, 'queue': list(self._queue), 'updates': self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; raises ValueError on missing or non-finite values."""
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
