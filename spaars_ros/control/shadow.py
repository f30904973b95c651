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


"""Shadow trial of a new bundle: its decisions are computed and compared, never executed."""

import time

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.schema import Mode
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import Decision
from spaars_ros.policy.runtime import PolicyRuntime

Array = NDArray[np.float64]

QUANTILE = 0.9
"""Share of the ticks on which a candidate has to be near the running policy."""
SLOW = 0.25
"""Share of the control period that a decision may take."""
TOLERANCE = 1e-5
"""Tolerance for float32 at a bound."""


class Shadow:
    """
    Compare another bundle's decisions with those of the running policy for some ticks.

    Both are compared without exploration noise, in normalised action units: the largest difference
    of any joint between the action that the candidate would execute and the one of the running
    policy. Reconstructed; the issue asks for "finite, within bounds, inside the trust region".

    :param candidate: a runtime that passed `check_bundle`
    :param ticks: decisions to compare, at least 1
    :param bound: largest difference allowed on `QUANTILE` of the ticks, 0 to 2
    :param period: s, the control period
    """

    def __init__(self, candidate: PolicyRuntime, *, ticks: int, bound: float,
                 period: float) -> None:
        self.candidate = candidate
        self._wanted = ticks
        self._bound = bound
        self._slow = SLOW * period
        self._distances: list[float] = []
        self._seconds: list[float] = []

    @property
    def ticks(self) -> int:
        """Return how many decisions were compared."""
        return len(self._distances)

    @property
    def distance(self) -> float:
        """Return the `QUANTILE` of the differences so far, 0 before the first."""
        # Not interpolated: one tick of ten may differ by any amount.
        return float(np.quantile(self._distances, QUANTILE, method='lower')) \
            if self._distances else 0.0

    def observe(self, observation: Array, running: Decision,
                skill: NDArray[np.float32] | None = None, noise: Array | None = None) -> bool:
        """
        Decide for a tick's observation and compare; return whether the trial is passed.

        :param observation: (n,) physical units
        :param running: decision of the running policy
        :param skill: (k,) skill in effect of the running policy, None where it began one. The
            candidate gets the same skill; otherwise the two would differ by when their skills
            begin.
        :param noise: (k + a,) of the running policy; a candidate with skills begins its skill with
            the same noise
        :raises BundleError: shadow_failed, shadow_not_finite or shadow_out_of_bounds at once,
            shadow_diverged or shadow_slow after the last tick
        """
        begin = time.perf_counter()
        try:
            decision = self.candidate.decide(observation, self._drawn(noise), skill)
        except Exception as error:  # a trial must not affect the tick that it runs beside
            raise BundleError('shadow_failed', f'{type(error).__name__}: {error}') from None
        self._seconds.append(time.perf_counter() - begin)
        self._check(decision)
        modal = running.raw_action if running.mode is Mode.RAW else running.latent_action
        self._distances.append(float(np.abs(decision.action - modal).max()))
        if self.ticks < self._wanted:
            return False
        if not self.distance <= self._bound:
            raise BundleError('shadow_diverged', f'{self.distance:.3f} from the running policy '
                              f'on {QUANTILE:.0%} of {self.ticks} ticks, at most {self._bound}')
        seconds = float(np.median(self._seconds))
        if seconds > self._slow:
            raise BundleError('shadow_slow', f'{seconds * 1e3:.1f} ms a decision, at most '
                                             f'{self._slow * 1e3:.1f}')
        return True

    def _drawn(self, noise: Array | None) -> Array | None:
        """Return noise (k + a,) that only draws a skill, not actions; None without skills."""
        m = self.candidate.manifest
        if noise is None or m.skill_length == 1:
            return None
        return np.concatenate([noise[:m.latent_dim], np.zeros(m.action_dim)])

    def _check(self, decision: Decision) -> None:
        m = self.candidate.manifest
        for name in ('action', 'latent', 'latent_action', 'raw_action', 'gate'):
            if not np.isfinite(getattr(decision, name)).all():
                raise BundleError('shadow_not_finite', f'{name} is {getattr(decision, name)}')
        apart = decision.raw_action - decision.latent_action
        for name, values, limit in (('action', decision.action, 1.0),
                                    ('latent', decision.latent, m.latent_bound),
                                    ('raw - latent action', apart, m.trust)):
            largest = float(np.abs(values).max())
            if largest > limit + TOLERANCE:
                raise BundleError('shadow_out_of_bounds',
                                  f'|{name}| {largest:.4f}, at most {limit}')
