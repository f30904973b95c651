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
import math
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PIDGains:
    """
    Gains on the relative excess e = (C - setpoint d) / max(d, 1), one update an episode.

    With these gains e = 1 brings lambda to about 1.1 in 15 episodes
    (simulated: 0.5 after 6, 2.1 after 30), and a cost of half the limit takes it back.
    """

    kp: float = 0.1
    """Multiplier for a relative excess of 1, at once."""
    ki: float = 0.05
    """Multiplier that a relative excess of 1 adds an episode."""
    kd: float = 0.05
    """Multiplier for a cost that grows by one limit an episode."""
    rate: float = 0.05
    """Greatest relative change of kp and ki an episode; 0 keeps the gains fixed."""
    lambda_max: float = 20.0
    """The multiplier is never above."""
    setpoint: float = 0.7
    """Share of the limit at which the cost is held: held at the limit itself, every second
    episode would be above it."""


SMOOTH = 0.7
"""Share of the old value in the smoothed error and cost."""
WINDOW = 10
"""Episodes whose mean cost adapts the gains."""
SPAN = 10.0
"""A gain stays within this factor of the value that was set."""
SETTLE = 0.02
"""Share of its distance to the set value that kd goes back an episode."""
UNIT = 1.0
"""Cost an episode by which an excess is measured where the limit is smaller, 0 included."""


class AdaptivePID:
    """
    One constraint's multiplier; safe form of `algorithms.md` section 5.2 (reconstructed there).

    With u = max(d, 1), e = (C - setpoint d) / u and smoothed P, M (factor 0.7, M of C / u):

        I      <- clip(I + K_i e, 0, lambda_max)   unless saturated and e pushes further
        D      <- max(0, M_t - M_{t-1})            of the measurement: a new limit d is no kick
        lambda <- clip(K_p max(P, 0) + I + K_d D, 0, lambda_max)
        K_p,i  <- K_p,i clip(1 + rate tanh((m - setpoint d) / u), 0.9, 1.1),
                                                   m = mean of the last 10 C
        K_d    <- K_d clip(1 + rate tanh(s / u - 0.5), 0.9, 1.1), drawn 2 % back to its set value

    where s is the standard deviation of the last 10 C, and every gain stays within a factor of
    10 of the value set. P takes only the excess: a cost under the limit unwinds I, and does not
    also work against it. Costs that are not finite are refused, not smoothed in.

    :param limit: d, cost an episode, >= 0
    """

    def __init__(self, limit: float, gains: PIDGains | None = None) -> None:
        self.gains = gains or PIDGains()
        self.value = 0.0
        """lambda."""
        self.kp, self.ki, self.kd = self.gains.kp, self.gains.ki, self.gains.kd
        self.p_term = self.i_term = self.d_term = 0.0
        self.updates = 0
        self._error = 0.0
        self._smooth: float | None = None
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self.limit = limit
        self.set_limit(limit)

    @property
    def unit(self) -> float:
        """Return the cost by which an excess is measured."""
        return max(self.limit, UNIT)

    @property
    def target(self) -> float:
        """Return the cost an episode that is aimed at."""
        return self.gains.setpoint * self.limit

    def set_limit(self, limit: float) -> None:
        """
        Take another limit; lambda stays as it is until the next episode.

        Raises ValueError on a limit that is negative or not finite.
        """
        if not math.isfinite(limit) or limit < 0:
            raise ValueError(f'cost limit {limit}: has to be finite and not negative')
        old = self.unit
        self.limit = limit
        # The smoothed error belongs to the old limit, and the smoothed cost to its unit.
        if self._smooth is not None:
            self._smooth *= old / self.unit
            self._error = self._smooth - self.target / self.unit

    def set_gains(self, gains: PIDGains) -> None:
        """Take other gains; a gain that was changed starts from its new value."""
        for name in ('kp', 'ki', 'kd'):
            if getattr(gains, name) != getattr(self.gains, name):
                setattr(self, name, getattr(gains, name))
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
        error = (cost - self.target) / self.unit
        scaled = cost / self.unit
        first = self._smooth is None
        before = scaled if first else float(self._smooth)  # type: ignore[arg-type]
        self._smooth = SMOOTH * before + (1.0 - SMOOTH) * scaled
        self._error = error if first else SMOOTH * self._error + (1.0 - SMOOTH) * error
        self.p_term = self.kp * max(0.0, self._error)
        self.d_term = self.kd * max(0.0, self._smooth - before)
        top = self.gains.lambda_max
        # Conditional integration: at a bound, only what leads away from it.
        saturated = self.p_term + self.i_term + self.d_term >= top and error > 0
        if not saturated:
            self.i_term = min(max(self.i_term + self.ki * error, 0.0), top)
        self.value = min(max(self.p_term + self.i_term + self.d_term, 0.0), top)
        self.updates += 1
        self._recent.append(cost)
        self._adapt()
        return self.value

    def _adapt(self) -> None:
        rate = self.gains.rate
        if rate == 0.0:
            return
        mean, spread = float(np.mean(self._recent)), float(np.std(self._recent))
        common = _factor(rate, (mean - self.target) / self.unit)
        self.kp = _within(self.kp * common, self.gains.kp)
        self.ki = _within(self.ki * common, self.gains.ki)
        kd = self.kd * _factor(rate, spread / self.unit - 0.5)
        self.kd = _within(kd + SETTLE * (self.gains.kd - kd), self.gains.kd)

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
        if set(state['gains']) != {field.name for field in fields(PIDGains)}:
            raise ValueError(f'controller gains {sorted(state["gains"])}')
        numbers = [state[name] for name in expected - {'gains', 'smooth', 'recent'}]
        numbers += [*state['gains'].values(), *state['recent'], state['smooth'] or 0.0]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError('controller state is not finite')
        self.gains = PIDGains(**state['gains'])
        self.limit = float(state['limit'])
        self.value = float(state['value'])
        self.kp, self.ki, self.kd = (float(state[name]) for name in ('kp', 'ki', 'kd'))
        self.p_term, self.i_term, self.d_term = (
            float(state[name]) for name in ('p_term', 'i_term', 'd_term'))
        self._error = float(state['error'])
        self._smooth = None if state['smooth'] is None else float(state['smooth'])
        self._recent = deque((float(cost) for cost in state['recent']), maxlen=WINDOW)
        self.updates = int(state['updates'])


def _factor(rate: float, error: float) -> float:
    return min(max(1.0 + rate * math.tanh(error), 0.9), 1.1)


def _within(gain: float, base: float) -> float:
    return min(max(gain, base / SPAN), base * SPAN)
