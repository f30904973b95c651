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

"""Command-line options of a run, derived from their declaration in `run_config`."""

from collections.abc import Callable
from enum import Enum
from inspect import Parameter
from inspect import Signature
import sys
from typing import Annotated
from typing import Any
from typing import Optional
from typing import TYPE_CHECKING

import typer

from spaars_ros.run.options import Option
from spaars_ros.run.run_config import Asked
from spaars_ros.run.run_config import OPTIONS
from spaars_ros.run.run_config import options_in

if TYPE_CHECKING:
    from spaars_ros.run.folder import RunFolder


def run_option(name: str, meaning: str = '', **more: Any) -> Any:
    """
    Return the typer option of another command that has the same meaning as an option of a run.

    :param name: name of the option of a run
    :param meaning: help text; '': that of the run's option
    :param more: further arguments of `typer.Option`
    """
    return _typer_option(OPTIONS[name], meaning, **more)


def _typer_option(option: Option, meaning: str = '', **more: Any) -> Any:
    flags = [option.flags or f'--{option.dashed}'] if option.flags or option.switch else []
    ranged = {} if option.kind not in (int, float) else {'min': option.low, 'max': option.high}
    if option.metavar:
        more['metavar'] = option.metavar
    return typer.Option(*flags, help=meaning or option.sentence, **{**ranged, **more})


def _annotation(option: Option) -> Any:
    if option.kind is dict:
        return Optional[list[str]]
    if option.choices:
        return Enum(option.name, [(each, each) for each in option.choices], type=str)
    return Optional[option.kind] if option.default is None else option.kind


def takes_options_of(place: str) -> Callable[[Callable[[Asked, typer.Context], None]],
                                             Callable[..., None]]:
    """Return a decorator that turns a function of `Asked` into a command with all options."""
    declared = options_in(place)

    def decorate(run: Callable[[Asked, typer.Context], None]) -> Callable[..., None]:
        def command(context: typer.Context, **values: Any) -> None:
            said = {name for name in values
                    if str(getattr(context.get_parameter_source(name), 'name', ''))
                    == 'COMMANDLINE'}
            plain = {name: value.value if isinstance(value, Enum) else value
                     for name, value in values.items()}
            run(Asked(plain, frozenset(said)), context)
        parameters = [Parameter('context', Parameter.POSITIONAL_OR_KEYWORD,
                                annotation=typer.Context)]
        for option in declared:
            parameters.append(Parameter(
                option.name, Parameter.KEYWORD_ONLY,
                default=None if option.kind is dict else option.default,
                annotation=Annotated[_annotation(option), _typer_option(option)]))
        command.__doc__ = run.__doc__
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command
    return decorate


def refuse_with_resume(asked: Asked, context: typer.Context) -> None:
    """Raise ValueError when an option is given that a resumed run would ignore."""
    ignored = [parameter.opts[0] for parameter in context.command.params
               if parameter.name in asked.said and not OPTIONS[str(parameter.name)].anew]
    if ignored:
        raise ValueError(f'--resume takes {", ".join(ignored)} from the run: leave it out, or '
                         'start a new run without --resume')


def make_arm_ready(folder: 'RunFolder', yes: bool) -> None:
    """Check the wiring of a robot if not yet done, and move it home; ask first unless `yes`."""
    from spaars_ros.commissioning.ready import make_ready
    options = folder.options
    make_ready(folder.robot, folder.settings.start_noise, say=typer.echo,
               confirm=lambda text: yes or (sys.stdin.isatty() and typer.confirm(text)),
               namespace=options.namespace, interface=options.command_interface,
               remappings=options.remappings)


Robot = Annotated[str, run_option('robot')]
Task = Annotated[str, run_option('task')]
Demonstrations = Annotated[str, run_option('demonstrations')]
Training = Annotated[str, run_option('training')]
Algorithm = Annotated[str, run_option('algorithm')]
Overrides = Annotated[Optional[list[str]], run_option('overrides')]
JointStates = Annotated[str, run_option('joint_states')]
ControllerTopic = Annotated[str, run_option('command')]
CommandInterface = Annotated[str, run_option('command_interface')]
