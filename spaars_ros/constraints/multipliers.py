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

"""One Lagrange multiplier per constraint, in one of two forms, stored across restarts."""

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
from spaars_ros.robot.resources import read_file

FORMS = ('safe', 'released')
COLUMNS = {'multiplier': 'value', 'limit': 'limit', 'p': 'p_term', 'i': 'i_term', 'd': 'd_term',
           'kp': 'kp', 'ki': 'ki', 'kd': 'kd'}


class Multipliers:
    """
    Controllers of the multipliers of all constraints.

    :param names: constraint names, C of them
    :param limits: (C,) allowed measured cost
    :param units: (C,) cost that scales an excess if the limit is smaller (safe form)
    :param gains: their class chooses the form: `AdaptivePID` (safe) or `ReleasedPID` (released)
    """

    def __init__(self, names: Sequence[str], limits: Sequence[float], units: Sequence[float],
                 gains: Union[PIDGains, ReleasedGains]) -> None:
        self.names = list(names)
        self.kept: dict[str, dict[str, float]] = {}
        """Additional entries of the loaded file."""
        self.controllers: list[Union[AdaptivePID, ReleasedPID]] = [
            AdaptivePID(limit, gains, unit=unit) if isinstance(gains, PIDGains)
            else ReleasedPID(limit, gains) for limit, unit in zip(limits, units)]

    def update(self, costs: Array) -> None:
        """Update with a finished episode's measured costs (C,); raises ValueError."""
        for controller, cost in zip(self.controllers, costs):
            controller.update(float(cost))

    def update_above(self, costs: Array) -> bool:
        """
        Update with those of the costs (C,) that are above their limits.

        For an interrupted episode: its remaining part could only have increased them.

        :return: whether any cost was above its limit
        """
        above = [(controller, float(cost)) for controller, cost in zip(self.controllers, costs)
                 if cost > controller.limit]
        for controller, cost in above:
            controller.update(cost)
        return bool(above)

    def set_limits(self, limits: Sequence[float]) -> None:
        """Set other limits (C,); lambda continues from its present value."""
        for controller, limit in zip(self.controllers, limits):
            if limit != controller.limit:
                controller.set_limit(limit)

    def set_gains(self, gains: Union[PIDGains, ReleasedGains]) -> None:
        """Set other gains of the same form."""
        for controller in self.controllers:
            controller.set_gains(gains)  # type: ignore[arg-type]

    @property
    def limits(self) -> list[float]:
        """Return the present limits (C,)."""
        return [controller.limit for controller in self.controllers]

    def columns(self) -> dict[str, list[float]]:
        """Return the fields of `cost_monitor/multiplier`, C values each."""
        return {name: [getattr(controller, attribute) for controller in self.controllers]
                for name, attribute in COLUMNS.items()}

    def save(self, path: Path, **kept: dict[str, float]) -> None:
        """
        Write the controllers' state as JSON, atomically; raises OSError.

        :param kept: additional entries, which `load` restores as `kept`
        """
        write_whole(path, json.dumps({
            'controllers': {name: controller.state_dict() for name, controller
                            in zip(self.names, self.controllers)}, **kept}).encode())

    def load(self, path: Path) -> list[str]:
        """
        Restore the state from a file of `save`; the present limits and gains are kept.

        :return: one line per limit that was different when the file was written
        :raises ValueError: the file does not fit; the message names it
        """
        limits, gains = self.limits, [controller.gains for controller in self.controllers]
        try:
            written: Any = json.loads(read_file(path))
            content = written.pop('controllers', None)
            if content is None:  # file of a version without additional entries
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
        # The present setting of the operator overrides the stored one.
        self.set_limits(limits)
        return said
