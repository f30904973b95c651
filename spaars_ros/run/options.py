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

"""Declaration of a run option: name, type, default, range, help, and where it is accepted."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import Field
from dataclasses import field
from dataclasses import fields
import math
from types import UnionType
from typing import Any
from typing import get_args
from typing import get_type_hints

COMMANDS = ('finetune', 'record')
"""Subcommands of `spaars`."""
LAUNCHES = ('finetune.launch', 'record.launch', 'deploy.launch', 'sim.launch', 'fleet.launch')
CONDUCTOR = 'conductor'
"""Command line of the conductor, which a launch file writes."""
KEPT = 'config.json'
"""Configuration that a run folder keeps for --resume."""
PLACES = (*COMMANDS, *LAUNCHES, CONDUCTOR, KEPT)


@dataclass(frozen=True, kw_only=True)
class Option:
    """Option of a run; command lines, launch files, conductor and resume derive from it."""

    name: str
    kind: type
    default: Any
    """Value when none is given; '' or None may stand for a value that the run determines."""
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    flags: str = ''
    """Command-line flags; '': --name, and --no-name for a bool."""
    metavar: str = ''
    switch: bool = False
    """Whether the flag can only turn it on."""
    path: str = ''
    """'shipped': path or name of a shipped file; 'data': path; '': not a file."""
    anew: bool = False
    """Whether a resumed run accepts a new value; False: it keeps its own."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Place where the option is not accepted -> reason."""
    differs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Place -> fields that differ there, such as default, low, high."""

    def at(self, place: str) -> 'Option':
        """Return the option as declared for one place."""
        return Option(**{**vars(self), **self.differs.get(place, {}), 'differs': {}})

    @property
    def sentence(self) -> str:
        """Return the help text for a command line."""
        return f'{self.help[0].upper()}{self.help[1:]}.'

    @property
    def dashed(self) -> str:
        """Return the name with dashes, as on a command line."""
        return self.name.replace('_', '-')

    @property
    def expected(self) -> str:
        """Return a description of accepted values."""
        if self.choices:
            return f'one of {", ".join(self.choices)}'
        if self.kind is bool:
            return 'true or false'
        words = {int: 'a whole number', float: 'a number', dict: 'names and values'}
        text = words.get(self.kind, 'a text')
        if self.low is not None:
            text += f' from {self.low:.15g} on' if self.high is None else \
                f' from {self.low:.15g} to {self.high:.15g}'
        return text

    def parse(self, text: str, said: str) -> Any:
        """
        Parse a value.

        :param said: the argument as given; the error message begins with it
        :raises ValueError: the text is not an accepted value
        """
        try:
            value: Any = {'true': True, '1': True, 'false': False, '0': False}[text.lower()] \
                if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            raise ValueError(f'{said}: expected {self.expected}') from None
        return self.checked(value, said)

    def checked(self, value: Any, said: str) -> Any:
        """Return an accepted value, with an int as float where needed; raises ValueError."""
        if self.kind is float and type(value) is int:
            value = float(value)
        right = type(value) is self.kind or (value is None and self.default is None)
        if right and self.choices:
            right = value in self.choices
        if right and isinstance(value, (int, float)) and not isinstance(value, bool):
            right = math.isfinite(value) and (self.low is None or value >= self.low) \
                and (self.high is None or value <= self.high)
        if not right:
            raise ValueError(f'{said}: expected {self.expected}')
        return value


def option(default: Any, meaning: str, *, absent: Mapping[str, str] | None = None, **more: Any
           ) -> Any:
    """
    Return a dataclass field that declares an option.

    :param default: default of the field and, without `asked`, of the option; dict: an empty dict
    :param meaning: help text
    :param absent: reason -> places, separated by spaces, where the option is not accepted
    :param more: other fields of `Option`; `asked`: default of the option if it differs
    :raises ValueError: a place is unknown
    """
    asked = more.pop('asked', {} if default is dict else default)
    where = {place: reason for reason, places in (absent or {}).items()
             for place in places.split()}
    unknown = set(where) - set(PLACES)
    if unknown:
        raise ValueError(f'no such places: {sorted(unknown)}')
    metadata = {'option': {'default': asked, 'help': meaning, 'absent': where, **more}}
    return field(default_factory=dict, metadata=metadata) if default is dict else \
        field(default=default, metadata=metadata)


def _kind(annotation: Any) -> type:
    """Return the type of an option from its annotation; None stands for a value not given."""
    if isinstance(annotation, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    return getattr(annotation, '__origin__', annotation)  # type: ignore[no-any-return]


def _option_of(declared: 'Field[Any]', annotation: Any) -> Option:
    return Option(name=declared.name, kind=_kind(annotation), **declared.metadata['option'])


def options_of(*declarations: type) -> dict[str, Option]:
    """Return name -> option of dataclasses; raises ValueError for a name declared twice."""
    found: dict[str, Option] = {}
    for declaration in declarations:
        hints = get_type_hints(declaration)
        for each in fields(declaration):
            if each.name in found:
                raise ValueError(f'{each.name} is declared twice')
            found[each.name] = _option_of(each, hints[each.name])
    return found
