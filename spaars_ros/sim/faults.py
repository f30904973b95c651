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

"""Fault injection: errors of the states on the way from a robot to the policy server."""

from collections.abc import Mapping
from dataclasses import replace
import os
from pathlib import Path
from typing import Any

import numpy as np

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import read_document
from spaars_ros.sim.fault_table import check_faults
from spaars_ros.sim.fault_table import DEFAULTS

REORDERED = 1.5
"""Control periods by which a reordered state is late: after the next one, before the one after
it."""


LONGEST = 1e6
"""s; the latest start and the longest duration of a fault."""


class FaultScript:
    """
    Timed faults: a YAML list of `{at: s, for: s, set: {<fault>: value}}`, s since activation.

    Without `for` a fault lasts for ever. If two entries apply at the same time, the later in the
    list takes precedence.

    :raises ConfigError: the file is not such a list
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        content = read_document(Path(path)).content
        if not isinstance(content, list):
            raise ConfigError(f'{path}: expected a list of faults')
        self._entries = [self._entry(item, f'{path}: entry {number}')
                         for number, item in enumerate(content)]

    @staticmethod
    def _entry(item: Any, where: str) -> tuple[float, float, dict[str, float]]:
        if not isinstance(item, dict) or not {'at', 'set'} <= item.keys() <= {'at', 'for', 'set'}:
            raise ConfigError(f'{where}: expected at, set and perhaps for, found {item!r}')
        times = [item['at'], item.get('for', np.inf)]
        # Without `for` a fault lasts for ever; a given duration has to be finite.
        if any(type(item[name]) not in (int, float) or not 0.0 <= item[name] <= LONGEST
               for name in ('at', 'for') if name in item):
            raise ConfigError(f'{where}: at and for have to be s, 0 to {LONGEST:g}')
        if not isinstance(item['set'], dict):
            raise ConfigError(f'{where}: set has to map faults to values')
        return float(times[0]), float(times[0]) + float(times[1]), check_faults(item['set'], where)

    def at(self, elapsed: float) -> dict[str, float]:
        """Return the faults that apply `elapsed` s after activation."""
        now: dict[str, float] = {}
        for begin, end, values in self._entries:
            if begin <= elapsed < end:
                now.update(values)
        return now


class FaultInjector:
    """
    Apply faults to measured states; the same seed and states give the same result.

    Time is that of the states' stamps, so that the result does not depend on the clock.

    :param seed: of random faults
    :param joints: d, number of joints of a state
    :param period: s, control period
    """

    def __init__(self, *, seed: int, joints: int, period: float) -> None:
        self._rng = np.random.default_rng([seed, 13])
        self._joints = joints
        self._period_ns = round(1e9 * period)
        self._held: list[tuple[int, RobotState]] = []
        self._frozen_at: RobotState | None = None
        self._drifting_since: int | None = None
        self.values = dict(DEFAULTS)

    def set(self, values: Mapping[str, float]) -> None:
        """Set faults by name; all others stay. Raise ConfigError for an unknown or invalid one."""
        self.values.update(check_faults(values, 'faults'))
        if self.values['frozen'] < 1.0:
            self._frozen_at = None
        if not self.values['drift']:
            self._drifting_since = None

    @property
    def offset_ns(self) -> int:
        """Return the offset of stamps and /clock, ns."""
        return round(1e9 * self.values['clock_jump'])

    def clear(self) -> None:
        """Discard delayed states, for a reset of the arm."""
        self._held.clear()

    def measured(self, state: RobotState, again: bool = False) -> list[RobotState]:
        """
        Return the states to publish now, in order, given the newest state.

        :param state: the newest state
        :param again: the state was given before and got no answer. Then no state is delayed, since
            a simulation that waits for the answer would wait for ever.
        """
        v, now = self.values, state.stamp_ns
        if v == DEFAULTS and not self._held:
            return [state]
        # The number of draws does not depend on the faults, so one fault does not change when
        # another occurs.
        drop, duplicate, reorder, nan, spike = self._rng.random(5)
        joint = int(self._rng.integers(self._joints))
        if drop >= v['drop']:
            seen = self._corrupted(state, joint if nan < v['nan'] else None,
                                   joint if spike < v['spike_share'] else None)
            seen = replace(seen, stamp_ns=max(now + self.offset_ns, 0))
            due = now + round(1e9 * v['delay'])
            if reorder < v['reorder']:
                due += round(REORDERED * self._period_ns)
            self._held += [(due, seen)] * (2 if duplicate < v['duplicate'] else 1)
        out = sorted((held for held in self._held if again or held[0] <= now),
                     key=lambda held: held[0])
        self._held = [] if again else [held for held in self._held if held[0] > now]
        return [seen for _, seen in out]

    def _corrupted(self, state: RobotState, nan: int | None, spike: int | None) -> RobotState:
        """Return a state with wrong values; `nan` and `spike` are the joints that have them."""
        frozen = int(self.values['frozen'])
        if frozen:
            old = self._frozen_at = self._frozen_at or state
            position, velocity, effort = (
                np.concatenate([getattr(old, name)[:frozen], getattr(state, name)[frozen:]])
                for name in ('position', 'velocity', 'effort'))
            state = replace(state, position=position, velocity=velocity, effort=effort)
        state = self._unmeasured(self._drifted(state))
        if nan is None and (spike is None or not self.values['spike']):
            return state
        wrong: Array = state.position.copy()
        if spike is not None:
            wrong[spike] += self.values['spike']
        if nan is not None:
            wrong[nan] = np.nan
        return replace(state, position=wrong)

    def _drifted(self, state: RobotState) -> RobotState:
        """Return a state whose position has drifted since the fault began."""
        if not self.values['drift']:
            return state
        if self._drifting_since is None:
            self._drifting_since = state.stamp_ns
        position: Array = state.position.copy()
        position[min(int(self.values['drift_joint']), self._joints) - 1] += \
            self.values['drift'] * (state.stamp_ns - self._drifting_since) * 1e-9
        return replace(state, position=position)

    def _unmeasured(self, state: RobotState) -> RobotState:
        """Return a state without the quantities that the robot does not measure."""
        velocity = self._missing('velocity')
        if velocity is not None:
            state = replace(state, velocity=velocity)
        effort = self._missing('effort')
        if effort is not None:
            state = replace(state, effort=effort)
        if self.values['velocity_zero']:
            state = replace(state, velocity=np.zeros(self._joints))
        return state

    def _missing(self, name: str) -> Array | None:
        """Return the replacement of a measurement that the robot lacks; None where it has it."""
        if self.values[f'{name}_empty']:
            return np.zeros(0)
        return np.full(self._joints, np.nan) if self.values[f'{name}_nan'] else None
