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

"""Specification of a task: terms, actions, channels, sources, costs, metrics, horizon."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import Literal

SHOWN = {('m', 'mm'): 1e3, ('rad', 'deg'): 57.29577951308232, ('', '%'): 100.0}
"""(unit, displayed unit) -> factor."""
AXES = ('x', 'y', 'z', 'rx', 'ry', 'rz')


class SpecError(ValueError):
    """A specification is inconsistent; the message names the part and the value."""


@dataclass(frozen=True)
class Term:
    """Part of the observation."""

    name: str
    width: int
    unit: str = ''
    low: float = float('-inf')
    """Least value, physical units."""
    high: float = float('inf')
    names: tuple[str, ...] = ()
    """Names of the values; (): name.0, name.1, ..., or the name itself for a single value."""
    made_by: Mapping[str, str] = field(default_factory=dict, hash=False)
    """
    Setting in `sources` -> its text, for values whose meaning depends on an encoder; see
    `tasks.seen.camera_term`.
    """

    def __post_init__(self) -> None:
        """Check the values; raises SpecError."""
        if self.width < 1 or not self.name:
            raise SpecError(f'term {self.name!r} has width {self.width}')
        if not self.low < self.high:
            raise SpecError(f'term {self.name!r}: low {self.low} is not below high {self.high}')
        if self.names and len(self.names) != self.width:
            raise SpecError(f'term {self.name!r} has {len(self.names)} names for {self.width} '
                            'values')

    @property
    def value_names(self) -> tuple[str, ...]:
        """Return one name per value."""
        if self.names or self.width == 1:
            return self.names or (self.name,)
        return tuple(f'{self.name}.{i}' for i in range(self.width))


@dataclass(frozen=True)
class ActionSpace:
    """Meaning of the arm's part of an action; its values are in [-1, 1]."""

    space: Literal['joint_velocity', 'twist'] = 'joint_velocity'
    joints: int = 0
    """Number of joints of the robot."""
    frame: Literal['base', 'tool'] = 'base'
    """Frame of a twist."""
    axes: tuple[str, ...] = AXES
    """Commanded axes of a twist; the other axes are held at rest."""
    linear: float = 0.1
    """m/s of a twist at action 1."""
    angular: float = 0.5
    """rad/s of a twist at action 1."""

    def __post_init__(self) -> None:
        """Check the values; raises SpecError."""
        if self.space == 'twist' and (not self.axes or set(self.axes) - set(AXES)
                                      or len(set(self.axes)) != len(self.axes)):
            raise SpecError(f'twist axes {list(self.axes)}: expected some of {list(AXES)}')

        if not (self.linear > 0 and self.angular > 0):
            raise SpecError(f'twist of {self.linear} m/s and {self.angular} rad/s at action 1: '
                            'both have to be above 0')

    @property
    def width(self) -> int:
        """Return the number of values."""
        return len(self.axes) if self.space == 'twist' else self.joints


@dataclass(frozen=True)
class Channel:
    """An actuator in addition to the arm that is part of the action, such as a gripper."""

    name: str
    kind: Literal['continuous', 'open_close'] = 'continuous'
    topic: str = ''
    """Topic; '': the name."""
    type: str = 'std_msgs/msg/Float64'
    low: float = 0.0
    """Value at action -1."""
    high: float = 1.0
    """Value at action 1."""
    rate: float = float('inf')
    """Greatest change, in units of the value per second."""
    threshold: float = 0.3
    """Threshold on the action: open_close closes above it and opens below its negative."""
    on_stop: Literal['hold', 'low', 'high'] = 'hold'

    def __post_init__(self) -> None:
        """Check the values; raises SpecError."""
        if not self.low < self.high:
            raise SpecError(f'channel {self.name!r}: low {self.low} is not below high {self.high}')
        if not (self.rate > 0 and 0 <= self.threshold < 1):
            raise SpecError(f'channel {self.name!r}: rate {self.rate}, threshold {self.threshold}')


@dataclass(frozen=True)
class MetricSpec:
    """A number that a task reports per episode."""

    name: str
    unit: str = ''
    better: Literal['lower', 'higher'] = 'lower'
    title: str = ''
    """Displayed name; '': the name with spaces."""
    shown: str = ''
    """Displayed unit, from `SHOWN`; '': the same unit."""
    flat: bool = False
    """Whether summary.json also has it as `<name>_before` and `<name>_after` at the top level."""

    def __post_init__(self) -> None:
        """Check the values; raises SpecError."""
        if self.shown and (self.unit, self.shown) not in SHOWN:
            raise SpecError(f'metric {self.name!r} in {self.unit!r} cannot be shown in '
                            f'{self.shown!r}')

    @property
    def label(self) -> str:
        """Return the displayed name."""
        return self.title or self.name.replace('_', ' ')

    @property
    def scale(self) -> float:
        """Return the factor from the value to the displayed value."""
        return SHOWN[self.unit, self.shown] if self.shown else 1.0

    @property
    def shown_unit(self) -> str:
        """Return the displayed unit."""
        return self.shown or self.unit

    def text(self, value: float | None, digits: str = '.1f') -> str:
        """Return a value with its unit for display, '-' if it is None or NaN."""
        if value is None or value != value:
            return '-'
        return f'{self.scale * value:{digits}} {self.shown_unit}'.rstrip()

    def change(self, summary: Mapping[str, Any]) -> str:
        """Return 'before -> after' for display, from an entry of summary.json's `metrics`."""
        texts = ['not measured' if summary[when] is None else f'{self.scale * summary[when]:.1f}'
                 for when in ('before', 'after')]
        return f'{texts[0]} -> {texts[1]} {self.shown_unit}'.rstrip()


@dataclass(frozen=True)
class TaskSpec:
    """Everything that the rest of the package needs to know about a task."""

    name: str
    terms: tuple[Term, ...]
    """Terms of the observation, in order."""
    action: ActionSpace
    channels: tuple[Channel, ...] = ()
    """Their actions, one value each, follow the arm's."""
    sources: tuple[str, ...] = ()
    """Sources that a tick needs in addition to joint_states."""
    costs: tuple[str, ...] = ()
    """Terms that `Task.costs` returns; constraints in the robot file may use them."""
    metrics: tuple[MetricSpec, ...] = ()
    horizon: int = 100
    """Control ticks per episode."""
    contact: bool = False
    """
    Whether the task touches objects on purpose: a blocked arm is then not reported as a fault.
    """

    def __post_init__(self) -> None:
        """Check the values; raises SpecError."""
        for what, names in (('term', [t.name for t in self.terms]),
                            ('channel', [c.name for c in self.channels]),
                            ('source', self.sources), ('cost term', self.costs),
                            ('metric', [m.name for m in self.metrics])):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if twice:
                raise SpecError(f'task {self.name!r}: {what} {twice[0]!r} is there twice')
        if not self.terms:
            raise SpecError(f'task {self.name!r}: no observation term')
        if self.action_dim < 1 or self.horizon < 1:
            raise SpecError(f'task {self.name!r}: action of {self.action_dim} values, horizon '
                            f'{self.horizon}')

    @cached_property
    def observation_dim(self) -> int:
        """Return n, the number of values of an observation."""
        return sum(term.width for term in self.terms)

    @property
    def action_dim(self) -> int:
        """Return the width of an action: the arm's, then the channels'."""
        return self.action.width + len(self.channels)

    @cached_property
    def observation_names(self) -> list[str]:
        """Return one name per value of an observation, n of them."""
        return [name for term in self.terms for name in term.value_names]

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Return term -> its slice of the observation."""
        places, offset = {}, 0
        for term in self.terms:
            places[term.name] = slice(offset, offset + term.width)
            offset += term.width
        return places

    @property
    def widths(self) -> dict[str, int]:
        """Return term -> width, as bundles and data sets store it."""
        return {term.name: term.width for term in self.terms}

    @property
    def encoders(self) -> dict[str, dict[str, str]]:
        """Return term -> what makes its values (`Term.made_by`), for terms of an encoder."""
        return {term.name: dict(term.made_by) for term in self.terms if term.made_by}

    @property
    def action_text(self) -> str:
        """Return a description of the action; two are equal only if the actions mean the same."""
        arm = self.action
        text = f'{arm.space} of {arm.joints} joints' if arm.space == 'joint_velocity' \
            else f'twist {",".join(arm.axes)} in the {arm.frame} frame, {arm.linear:g} m/s, ' \
            f'{arm.angular:g} rad/s'
        return ' + '.join([text, *(f'{c.name} ({c.kind}, {c.low:g} to {c.high:g})'
                                   for c in self.channels)])


def differing(spec: TaskSpec, widths: Mapping[str, int], action: str,
              encoders: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """Return each difference of stored terms, action and encoders from a spec's, in words."""
    mine = spec.widths
    lines = [f'term {name!r} is missing' for name in mine if name not in widths]
    lines += [f'term {name!r} is not of the task' for name in widths if name not in mine]
    lines += [f'term {name!r} is {widths[name]} wide, the task has {width}'
              for name, width in mine.items() if widths.get(name, width) != width]
    if not lines and list(widths) != list(mine):
        lines.append(f'terms are in the order {list(widths)}, the task has {list(mine)}')
    if action and action != spec.action_text:
        lines.append(f'the action is {action}, the task has {spec.action_text}')
    for name, mine_by in spec.encoders.items():
        other_by = (encoders or {}).get(name, {})
        lines += [f'term {name!r}: {place} was {other_by.get(place, "none")[:16]}, here it is '
                  f'{here[:16]}' for place, here in mine_by.items()
                  if other_by.get(place) != here and name in widths]
    return lines
