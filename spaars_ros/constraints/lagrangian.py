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

"""Adaptive PID controller from measured episode costs to a Lagrange multiplier."""

from collections import deque
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import InitVar
import math
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PIDGains:
    """
    Gains on the relative excess e = (C - setpoint d) / max(d, unit), one update per episode.

    With the default gains, e = 1 raises lambda to about 1.1 in 15 episodes (simulated: 0.5 after
    6, 2.1 after 30), and a cost of half the limit lowers it again.
    """

    kp: float = 0.1
    """Contribution to the multiplier of a relative excess of 1, immediately."""
    ki: float = 0.05
    """Contribution to the multiplier of a relative excess of 1, per episode."""
    kd: float = 0.05
    """Contribution to the multiplier of a cost that grows by one limit per episode."""
    kp_rate: float = 0.05
    """Greatest relative change of kp per episode, 0 to 0.1; 0 keeps it fixed."""
    ki_rate: float = 0.05
    """Greatest relative change of ki per episode, 0 to 0.1; 0 keeps it fixed."""
    kd_rate: float = 0.05
    """Greatest relative change of kd per episode, 0 to 0.1; 0 keeps it fixed."""
    kb: float = 1.0
    """Fraction of the excess of lambda over its cap that is subtracted from I, 0 to 1."""
    deadband: float = 0.0
    """Relative excess below which I does not change."""
    lambda_max: float = 20.0
    """Upper bound of the multiplier."""
    setpoint: float = 0.7
    """
    Fraction of the limit to which the cost is controlled. With the limit itself as the target,
    every second episode would exceed it.
    """
    violation_rate: float = 0.0
    """
    Fraction of the episodes that may exceed the limit, 0 to 0.5. If it is not 0, this fraction is
    controlled instead of the mean cost.
    """
    rate: InitVar[float | None] = None
    """Common value of all three rates; 0 gives a plain PID."""

    def __post_init__(self, rate: float | None) -> None:
        """Set the three rates to one value, if one is given."""
        if rate is not None:
            for name in ('kp_rate', 'ki_rate', 'kd_rate'):
                object.__setattr__(self, name, rate)


SMOOTH = 0.7
"""Weight of the old value in the smoothed error and cost."""
WINDOW = 10
"""Number of episodes whose mean cost adapts the gains."""
SPAN = 10.0
"""A gain stays within this factor of its set value."""
SETTLE = 0.02
"""Fraction of its distance to the set value by which kd returns per episode."""


class AdaptivePID:
    """
    Multiplier of one constraint; safe form of docs/concepts/constraints.md (reconstructed there).

    With u = max(d, unit), e = (C - setpoint d) / u, smoothed P and M (factor 0.7; M of C / u) and
    e' = sign(e) max(|e| - deadband, 0):

        I      <- max(0, I + K_i e')
        D      <- max(0, M_t - M_{t-1})            of the measurement: no jump with a new limit d
        v      =  K_p max(P, 0) + I + K_d D
        lambda <- min(v, lambda_max)
        I      <- max(0, I + K_b (lambda - v))     back-calculation: no windup at the cap
        K_p,i  <- K_p,i clip(1 + rate tanh((m - setpoint d) / u), 0.9, 1.1),
                                                   m = mean of the last 10 C
        K_d    <- K_d clip(1 + rate tanh(s / u - 0.5), 0.9, 1.1), drawn 2 % back to its set value

    where s is the standard deviation of the last 10 C, and every gain stays within a factor of 10
    of its set value. P uses only the excess: a cost below the limit reduces I and not also P. A
    cost that is not finite is refused, not smoothed.

    With `violation_rate` delta > 0, the controller uses whether an episode exceeds the limit, not
    its cost: 1[C > d] replaces C, and delta replaces both setpoint d and u. An episode above the
    limit then counts (1 - delta) / delta, independent of the amount, and one within the limit
    counts -1. The mean of e is 0 if a fraction delta of the episodes is above the limit. This is
    the chance constraint P(C > d) <= delta, by quantile tracking (conformal PID control:
    Angelopoulos, Candes, Tibshirani 2023). Its use here, together with the adaptation, is ours.

    A change by the operator causes no jump: a new limit enters P through the smoothing and I
    through K_i. The amount that a new K_p would add to P is subtracted from I, down to 0.

    :param limit: d, the allowed measured cost, >= 0
    :param gains: None: the defaults
    :param unit: cost that replaces the limit as the scale of an excess, if the limit is smaller or
        0
    """

    def __init__(self, limit: float, gains: PIDGains | None = None, *, unit: float = 1.0
                 ) -> None:
        self.gains = gains or PIDGains()
        self.value = 0.0
        """lambda."""
        self.kp, self.ki, self.kd = self.gains.kp, self.gains.ki, self.gains.kd
        self.p_term = self.i_term = self.d_term = 0.0
        self.updates = 0
        self._unit = unit
        self._error: float | None = None
        self._smooth = 0.0
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self.limit = limit
        self.set_limit(limit)

    @property
    def unit(self) -> float:
        """Return the scale of an excess: a cost, or a fraction of the episodes."""
        return self.gains.violation_rate or max(self.limit, self._unit)

    @property
    def target(self) -> float:
        """Return the controlled value: a cost, or the fraction of episodes above the limit."""
        return self.gains.violation_rate or self.gains.setpoint * self.limit

    def set_limit(self, limit: float) -> None:
        """
        Set another limit; lambda continues from its present value.

        :raises ValueError: the limit is negative or not finite
        """
        if not math.isfinite(limit) or limit < 0:
            raise ValueError(f'cost limit {limit}: has to be finite and not negative')
        old = self.unit
        self.limit = limit
        # The smoothed cost is relative to the old limit: unscaled, it would look like a jump of
        # the cost. The smoothed error is unchanged, and so is P.
        self._smooth *= old / self.unit

    def set_gains(self, gains: PIDGains) -> None:
        """
        Set other gains; a gain that was changed starts from its new value.

        Another `violation_rate` changes the measured quantity: smoothed values of the old one are
        dropped, and lambda continues from its present value, up to the new lambda_max.
        """
        for name in ('kp', 'ki', 'kd'):
            if getattr(gains, name) != getattr(self.gains, name):
                setattr(self, name, getattr(gains, name))
        proportional = self.kp * max(0.0, self._error or 0.0)
        if gains.kp != self.gains.kp:
            self.i_term = max(0.0, self.i_term + self.p_term - proportional)
            self.p_term = proportional
        if gains.violation_rate != self.gains.violation_rate:
            self._recent.clear()
            self._error = None
            self.i_term, self.p_term, self.d_term = self.value, 0.0, 0.0
        self.gains = gains
        self.i_term = min(self.i_term, gains.lambda_max)
        self.value = min(self.value, gains.lambda_max)

    def update(self, cost: float) -> float:
        """
        Update with the measured cost of a finished episode; return lambda in [0, lambda_max].

        :raises ValueError: the cost is negative or not finite; nothing is changed
        """
        if not math.isfinite(cost) or cost < 0:
            raise ValueError(f'episode cost {cost}: has to be finite and not negative')
        gains = self.gains
        measured = float(cost > self.limit) if gains.violation_rate else cost
        error = (measured - self.target) / self.unit
        scaled = measured / self.unit
        first = self._error is None
        before = scaled if first else self._smooth
        self._smooth = SMOOTH * before + (1.0 - SMOOTH) * scaled
        known = error if self._error is None else self._error
        self._error = SMOOTH * known + (1.0 - SMOOTH) * error
        self.p_term = self.kp * max(0.0, self._error)
        self.d_term = self.kd * max(0.0, self._smooth - before)
        felt = math.copysign(max(abs(error) - gains.deadband, 0.0), error)
        self.i_term = max(0.0, self.i_term + self.ki * felt)
        asked = self.p_term + self.i_term + self.d_term
        self.value = min(asked, gains.lambda_max)
        self.i_term = max(0.0, self.i_term + gains.kb * (self.value - asked))
        self.updates += 1
        self._recent.append(measured)
        self._adapt()
        return self.value

    def _adapt(self) -> None:
        gains = self.gains
        mean, spread = float(np.mean(self._recent)), float(np.std(self._recent))
        excess = (mean - self.target) / self.unit
        self.kp = _within(self.kp * _factor(gains.kp_rate, excess), gains.kp)
        self.ki = _within(self.ki * _factor(gains.ki_rate, excess), gains.ki)
        if gains.kd_rate:
            kd = self.kd * _factor(gains.kd_rate, spread / self.unit - 0.5)
            self.kd = _within(kd + SETTLE * (gains.kd - kd), gains.kd)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`, as values for JSON."""
        return {'limit': self.limit, 'gains': asdict(self.gains), 'value': self.value,
                'kp': self.kp, 'ki': self.ki, 'kd': self.kd, 'p_term': self.p_term,
                'i_term': self.i_term, 'd_term': self.d_term, 'error': self._error,
                'smooth': self._smooth, 'recent': list(self._recent), 'updates': self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of `state_dict`; raises ValueError on missing or non-finite values."""
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(f'controller state differs in {sorted(expected ^ set(state))}')
        # States of versions without a violation rate belong to a controlled mean cost.
        saved = {'violation_rate': 0.0, **state['gains']}
        if set(saved) != {field.name for field in fields(PIDGains)}:
            raise ValueError(f'controller gains {sorted(state["gains"])}')
        numbers = [state[name] for name in expected - {'gains', 'error', 'recent'}]
        numbers += [*state['gains'].values(), *state['recent'], state['error'] or 0.0]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError('controller state is not finite')
        self.gains = PIDGains(**saved)
        self.limit = float(state['limit'])
        self.value = float(state['value'])
        self.kp, self.ki, self.kd = (float(state[name]) for name in ('kp', 'ki', 'kd'))
        self.p_term, self.i_term, self.d_term = (
            float(state[name]) for name in ('p_term', 'i_term', 'd_term'))
        self._error = None if state['error'] is None else float(state['error'])
        self._smooth = float(state['smooth'])
        self._recent = deque((float(cost) for cost in state['recent']), maxlen=WINDOW)
        self.updates = int(state['updates'])


def _factor(rate: float, error: float) -> float:
    return min(max(1.0 + rate * math.tanh(error), 0.9), 1.1)


def _within(gain: float, base: float) -> float:
    return min(max(gain, base / SPAN), base * SPAN)
