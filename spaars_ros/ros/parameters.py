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

"""Node parameters, declared in one table from which the README's table is generated."""

from collections.abc import Iterable
from dataclasses import dataclass
import math
import os
from typing import Any
from typing import Union

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

Value = Union[bool, int, float, str]


class ParameterError(ValueError):
    """Raised for an invalid parameter value; the message names parameter and value."""


@dataclass(frozen=True)
class Param:
    """Declaration of one parameter; its type is the type of its default."""

    name: str
    default: Value
    description: str
    unit: str = ''
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    """Whether it can be set at run time; otherwise it is read-only."""

    def check(self, value: Any) -> str:
        """Return the error of a value; '' if the value is valid."""
        kind = type(self.default)
        given: Any = float(value) if kind is float and type(value) is int else value
        fits = type(given) is kind
        if not fits:
            return f'{self.name}: {value!r} is not a {kind.__name__}'
        # NaN compares false with both ends of a range, so it is checked separately.
        if kind is float and not math.isfinite(given):
            return f'{self.name}: {value} is not finite'
        if self.low is not None and given < self.low:
            return f'{self.name}: {value} is below {self.low:g}'
        if self.high is not None and given > self.high:
            return f'{self.name}: {value} is above {self.high:g}'
        if self.choices and given not in self.choices:
            return f'{self.name}: {value!r} is not one of {list(self.choices)}'
        return ''

    @property
    def range_text(self) -> str:
        """Return the range as readable text; '' if unlimited."""
        if self.choices:
            return ', '.join(choice or "''" for choice in self.choices)
        if self.low is None and self.high is None:
            return ''
        low = '' if self.low is None else f'{self.low:g}'
        high = '' if self.high is None else f'{self.high:g}'
        return f'{low} to {high}' if high else f'from {low}'

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor that `ros2 param describe` shows."""
        text = self.description + (f' [{self.unit}]' if self.unit else '')
        made = ParameterDescriptor(description=text, read_only=not self.live)
        made.additional_constraints = ', '.join(self.choices)
        if type(self.default) is float:
            # Dynamic typing: `ros2 param set ... 5` is accepted as 5.0.
            made.dynamic_typing = True
            if self.low is not None or self.high is not None:
                made.floating_point_range = [FloatingPointRange(
                    from_value=float(-1e300 if self.low is None else self.low),
                    to_value=float(1e300 if self.high is None else self.high))]
        elif type(self.default) is int and (self.low is not None or self.high is not None):
            made.integer_range = [IntegerRange(
                from_value=int(-2**62 if self.low is None else self.low),
                to_value=int(2**62 if self.high is None else self.high), step=0)]
        return made


RUN = Param('run', '', 'token of the run that started this node, set by launch and command line; '
            'a conductor acts only on nodes with its own token, and such a node ends with the '
            "process that started it. '' for none")
"""Parameter of every node."""


class ParameterTable:
    """Table of the parameters of one node."""

    def __init__(self, *params: Param) -> None:
        self.params = {param.name: param for param in params}

    def declare(self, node: Node) -> None:
        """Declare all parameters; raises ParameterError if an override is invalid."""
        for param in self.params.values():
            if node.has_parameter(param.name):
                continue
            try:
                node.declare_parameter(param.name, param.default, param.descriptor())
            except Exception as error:  # rclpy raises five unrelated classes here
                raise ParameterError(f'parameter {param.name}: {error}') from None
            wrong = param.check(node.get_parameter(param.name).value)
            if wrong:
                raise ParameterError(f'parameter {wrong}')

    def values(self, node: Node) -> dict[str, Any]:
        """Return name -> current value of each parameter."""
        return {name: self._cast(name, node.get_parameter(name).value) for name in self.params}

    def check(self, parameters: 'Iterable[Parameter[Any]]') -> SetParametersResult:
        """Validate parameters without side effects; for `add_on_set_parameters_callback`."""
        for parameter in parameters:
            param = self.params.get(parameter.name)
            wrong = param.check(parameter.value) if param is not None else ''
            if wrong:
                return SetParametersResult(successful=False, reason=wrong)
        return SetParametersResult(successful=True)

    def markdown(self) -> str:
        """Return the README's table in Markdown."""
        lines = ['| parameter | type | default | unit | range | live | meaning |',
                 '|---|---|---|---|---|---|---|']
        for param in self.params.values():
            default = f"'{param.default}'" if isinstance(param.default, str) else param.default
            lines.append(f'| `{param.name}` | {type(param.default).__name__} | `{default}` '
                         f'| {param.unit} | {param.range_text} | {"yes" if param.live else "no"} '
                         f'| {param.description} |')
        return '\n'.join(lines)

    def _cast(self, name: str, value: Any) -> Any:
        if type(value) is str and value.startswith('~'):  # home folder; no topic here
            return os.path.expanduser(value)
        return float(value) if type(self.params[name].default) is float else value
