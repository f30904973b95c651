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

"""One multiplier a constraint, in one of the published forms, kept over a restart."""

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any
from typing import Union

from spaars_ros.constraints.lagrangian import AdaptivePID
from spaars_ros.constraints.lagrangian import PIDGains
from spaars_ros.constraints.published_pid import ReleasedGains
from spaars_ros.constraints.published_pid import ReleasedPID
from spaars_ros.data.files import write_whole
from spaars_ros.data.schema import Array

FORMS = ('safe', 'released')
COLUMNS = {'multiplier': 'value', 'limit': 'limit', 'p': 'p_term', 'i': 'i_term', 'd': 'd_term',
           'kp': 'kp', 'ki': 'ki', 'kd': 'kd'}


class Multipliers:
    """
    The controllers of all constraints.

    :param names: constraint names, C of them
    :param limits: (C,) measured cost allowed
    :param units: (C,) cost by which an excess is measured where the limit is smaller (safe form)
    :param safe: gains; chooses the safe form (`AdaptivePID`)
    :param released: gains; chooses the released form (`ReleasedPID`)
    """

    def __init__(self, names: Sequence[str], limits: Sequence[float], units: Sequence[float],
                 gains: Union[PIDGains, ReleasedGains]) -> None:
        self.names = list(names)
        self.kept: dict[str, dict[str, float]] = {}
        """What else the file had that was loaded."""
        self.controllers: list[Union[AdaptivePID, ReleasedPID]] = [
            AdaptivePID(limit, gains, unit=unit) if isinstance(gains, PIDGains)
            else ReleasedPID(limit, gains) for limit, unit in zip(limits, units)]

    def update(self, costs: Array) -> None:
        """Take what a finished episode measured (C,); raises ValueError when not finite."""
        for controller, cost in zip(self.controllers, costs):
            controller.update(float(cost))

    def update_above(self, costs: Array) -> bool:
        """
        Take those of (C,) that are above their limits; returns whether there were any.

        Of an episode that was cut short: the rest of it can only have made them larger.
        """
        above = [(controller, float(cost)) for controller, cost in zip(self.controllers, costs)
                 if cost > controller.limit]
        for controller, cost in above:
            controller.update(cost)
        return bool(above)

    def set_limits(self, limits: Sequence[float]) -> None:
        """Take other limits (C,); lambda goes on from where it is."""
        for controller, limit in zip(self.controllers, limits):
            if limit != controller.limit:
                controller.set_limit(limit)

    def set_gains(self, gains: Union[PIDGains, ReleasedGains]) -> None:
        """Take other gains of the same form."""
        for controller in self.controllers:
            controller.set_gains(gains)  # type: ignore[arg-type]

    @property
    def limits(self) -> list[float]:
        """Return the limits (C,) as they are now."""
        return [controller.limit for controller in self.controllers]

    def columns(self) -> dict[str, list[float]]:
        """Return the fields of `cost_monitor/multiplier`, C values each."""
        return {name: [getattr(controller, attribute) for controller in self.controllers]
                for name, attribute in COLUMNS.items()}

    def save(self, path: Path, **kept: dict[str, float]) -> None:
        """
        Write the controllers' state as JSON, atomically; raises OSError.

        :param kept: what else is to come back as `kept` from `load`
        """
        write_whole(path, json.dumps({
            'controllers': {name: controller.state_dict() for name, controller
                            in zip(self.names, self.controllers)}, **kept}).encode())

    def load(self, path: Path) -> list[str]:
        """
        Continue from `save`'s file; raises ValueError naming it when it does not fit.

        Returns a line for every limit that was another one when the file was written.
        """
        limits, gains = self.limits, [controller.gains for controller in self.controllers]
        try:
            written: Any = json.loads(path.read_text())
            content = written.pop('controllers', None)
            if content is None:  # of before anything else was kept
                content, written = written, {}
            self.kept = {name: {str(key): float(value) for key, value in values.items()}
                         for name, values in written.items()}
            if set(content) != set(self.names):
                raise ValueError(f'constraints {sorted(content)}, the robot file has {self.names}')
            for name, controller in zip(self.names, self.controllers):
                controller.load_state_dict(content[name])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path}: {error}; without the file the multipliers start from 0') \
                from None
        for controller, kept in zip(self.controllers, gains):
            controller.set_gains(kept)  # type: ignore[arg-type]
        said = [f'limit of {name} is {limit:g}, it was {then:g} before'
                for name, limit, then in zip(self.names, limits, self.limits) if limit != then]
        # What the operator sets now wins over what was set then.
        self.set_limits(limits)
        return said
