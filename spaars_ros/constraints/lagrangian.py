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

"""The adaptive PID that turns measured episode costs into a Lagrange multiplier."""

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

    With these gains e = 1 brings lambda to about 1.1 in 15 episodes
    (simulated: 0.5 after 6, 2.1 after 30), and a cost of half the limit takes it back.
    """

    kp: float = 0.1
    """Multiplier for a relative excess of 1, at once."""
    ki: float = 0.05
    """Multiplier that a relative excess of 1 adds per episode."""
    kd: float = 0.05
    """Multiplier for a cost that grows by one limit per episode."""
    kp_rate: float = 0.05
    """Greatest relative change of kp per episode, 0 to 0.1; 0 keeps it fixed."""
    ki_rate: float = 0.05
    """Greatest relative change of ki per episode, 0 to 0.1."""
    kd_rate: float = 0.05
    """Greatest relative change of kd per episode, 0 to 0.1."""
    kb: float = 1.0
    """Share of what lambda lies beyond its cap that is taken back from I, 0 to 1."""
    deadband: float = 0.0
    """Relative excess within which I rests."""
    lambda_max: float = 20.0
    """The multiplier is never above."""
    setpoint: float = 0.7
    """Share of the limit at which the cost is held: held at the limit itself, every second
    episode would be above it."""
    violation_rate: float = 0.0
    """
    Share of the episodes that may be above the limit, 0 to 0.5; where it is not 0, it is what is
    held instead of a mean cost.
    """
    rate: InitVar[float | None] = None
    """All three rates at once; 0 is a plain PID."""

    def __post_init__(self, rate: float | None) -> None:
        """Give the three rates one value, if one was given."""
        if rate is not None:
            for name in ('kp_rate', 'ki_rate', 'kd_rate'):
                object.__setattr__(self, name, rate)


SMOOTH = 0.7
"""Share of the old value in the smoothed error and cost."""
WINDOW = 10
"""Episodes whose mean cost adapts the gains."""
SPAN = 10.0
"""A gain stays within this factor of the value that was set."""
SETTLE = 0.02
"""Share of its distance to the set value that kd goes back per episode."""


class AdaptivePID:
    """
    One constraint's multiplier; safe form of docs/concepts/constraints.md (reconstructed there).

    With u = max(d, unit), e = (C - setpoint d) / u, smoothed P and M (factor 0.7, M of C / u)
    and e' = sign(e) max(|e| - deadband, 0):

        I      <- max(0, I + K_i e')
        D      <- max(0, M_t - M_{t-1})            of the measurement: a new limit d is no kick
        v      =  K_p max(P, 0) + I + K_d D
        lambda <- min(v, lambda_max)
        I      <- max(0, I + K_b (lambda - v))     back-calculation: no windup at the cap
        K_p,i  <- K_p,i clip(1 + rate tanh((m - setpoint d) / u), 0.9, 1.1),
                                                   m = mean of the last 10 C
        K_d    <- K_d clip(1 + rate tanh(s / u - 0.5), 0.9, 1.1), drawn 2 % back to its set value

    where s is the standard deviation of the last 10 C, and every gain stays within a factor of
    10 of the value set. P takes only the excess: a cost under the limit unwinds I, and does not
    also work against it. Costs that are not finite are refused, not smoothed in.

    With `violation_rate` delta > 0 the same works on whether an episode was above the limit, not
    on its cost: 1[C > d] for C, delta for setpoint d and for u. An episode over the limit counts
    (1 - delta) / delta, by little or by far, and one within it -1, so that e is 0 in the mean
    where a share delta of the episodes is over: the chance constraint P(C > d) <= delta, by
    quantile tracking (conformal PID control: Angelopoulos, Candes, Tibshirani 2023). Its place
    here, with the adaptation, is ours.

    An operator's change makes no kick: a new limit enters P through its smoothing and I by K_i,
    never at once; what a new K_p would add to P is taken from I, as far as there is any.

    :param limit: d, the measured cost that is allowed, >= 0
    :param unit: cost by which an excess is measured where the limit is smaller, 0 included
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
        """Return the cost, or share of episodes, by which an excess is measured."""
        return self.gains.violation_rate or max(self.limit, self._unit)

    @property
    def target(self) -> float:
        """Return the cost, or share of episodes over the limit, that is aimed at."""
        return self.gains.violation_rate or self.gains.setpoint * self.limit

    def set_limit(self, limit: float) -> None:
        """
        Take another limit; lambda stays as it is, and goes on from there.

        Raises ValueError on a limit that is negative or not finite.
        """
        if not math.isfinite(limit) or limit < 0:
            raise ValueError(f'cost limit {limit}: has to be finite and not negative')
        old = self.unit
        self.limit = limit
        # The smoothed cost is in the old limit's unit: unscaled it would look like a jump of
        # the cost. The smoothed error is left as it is, and so P where it was.
        self._smooth *= old / self.unit

    def set_gains(self, gains: PIDGains) -> None:
        """
        Take other gains; a gain that was changed starts from its new value.

        Another `violation_rate` measures another thing: what was smoothed of the old one is
        dropped, and lambda goes on from where it is.
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
        Take one finished episode's measured cost and return lambda in [0, lambda_max].

        Raises ValueError, and changes nothing, on a cost that is negative or not finite.
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
        """Return all that `load_state_dict` needs, as JSON-able values."""
        return {'limit': self.limit, 'gains': asdict(self.gains), 'value': self.value,
                'kp': self.kp, 'ki': self.ki, 'kd': self.kd, 'p_term': self.p_term,
                'i_term': self.i_term, 'd_term': self.d_term, 'error': self._error,
                'smooth': self._smooth, 'recent': list(self._recent), 'updates': self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; raises ValueError on missing or non-finite values."""
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(f'controller state differs in {sorted(expected ^ set(state))}')
        # What was saved before there was a violation rate held a mean cost.
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
