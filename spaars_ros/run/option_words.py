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

"""Conversion of run options to and from command-line and launch arguments."""

import argparse
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spaars_ros.run.options import CONDUCTOR
from spaars_ros.run.options import Option
from spaars_ros.run.run_config import as_everywhere
from spaars_ros.run.run_config import Asked
from spaars_ros.run.run_config import OF_RUN
from spaars_ros.run.run_config import options_in
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_config import StartOptions

JOBS = ('finetune', 'hold', 'record')


def words_of(place: str, values: Mapping[str, Any], *, defaults: bool = False) -> list[str]:
    """
    Return the command-line arguments for option values.

    :param place: one of `PLACES`
    :param values: option name -> value; a missing one has its default
    :param defaults: include values equal to their default, except ''
    """
    words = []
    for option in options_in(place):
        value = values.get(option.name, option.default)
        if value is None or (value == option.default and not (defaults and value != '')):
            continue
        if option.kind is bool:
            on, _, off = option.flags.partition('/')
            words.append((on or f'--{option.dashed}') if value else off or f'--no-{option.dashed}')
        else:
            words.append(f'--{option.dashed}={value!r}' if option.kind is float else
                         f'--{option.dashed}={value}')
    return words


@dataclass(frozen=True)
class ConductorCall:
    """Arguments that a launch file passes to the conductor."""

    job: str
    """finetune, record, or hold to keep the nodes active."""
    nodes: tuple[str, ...]
    """Names of the nodes in order of activation."""
    run: str
    """Token of this start."""
    asked: Asked

    @classmethod
    def of(cls, job: str, nodes: Sequence[str], run: str, config: RunConfig,
           start: StartOptions) -> 'ConductorCall':
        """Return the call for the configuration of a run."""
        values = {**vars(config), **vars(start)}
        names = [option.name for option in options_in(CONDUCTOR)]
        return cls(job, tuple(nodes), run, Asked({name: values[name] for name in names},
                                                 frozenset(names)))

    @property
    def words(self) -> list[str]:
        """Return the command-line arguments."""
        return [self.job, f'--nodes={",".join(self.nodes)}', f'--run={self.run}',
                *words_of(CONDUCTOR, self.asked.values, defaults=True)]

    @classmethod
    def read(cls, words: Sequence[str]) -> 'ConductorCall':
        """Parse command-line arguments; raises SystemExit when they are wrong."""
        parser = argparse.ArgumentParser('conductor', allow_abbrev=False, description=(
            'Takes the nodes of a launch file through their lifecycle.'))
        parser.add_argument('job', choices=JOBS)
        parser.add_argument('--nodes', default='', help='comma-separated, in order of activation')
        parser.add_argument('--run', default='', help='token of the start')
        for option in options_in(CONDUCTOR):
            if option.kind is bool:
                parser.add_argument(f'--{option.dashed}', default=None, help=option.help,
                                    action=argparse.BooleanOptionalAction)
            else:
                parser.add_argument(f'--{option.dashed}', default=None, help=option.help,
                                    type=_reader(option))
        given = vars(parser.parse_args(list(words)))
        job, nodes, run = (given.pop(name) for name in ('job', 'nodes', 'run'))
        values = {option.name: option.default if given[option.name] is None
                  else given[option.name] for option in options_in(CONDUCTOR)}
        return cls(job, tuple(nodes.split(',')), run, Asked(
            values, frozenset(name for name, value in given.items() if value is not None)))


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return option.parse(text, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return read


def launch_default(option: Option, place: str) -> str:
    """
    Return the default of a launch argument as text.

    It is empty for an option that a resumed run keeps but accepts again, because launch cannot
    distinguish a default from a given value.
    """
    if option.default is None or _run_has_its_own(option, place):
        return ''
    return str(option.default).lower() if option.kind is bool else str(option.default)


def launch_help(option: Option, place: str) -> str:
    """Return the description of a launch argument."""
    own = f"; empty: {option.default}, or a resumed run's own"
    return option.help + (own if option.default and _run_has_its_own(option, place) else '')


def _run_has_its_own(option: Option, place: str) -> bool:
    resumes = any(each.name == 'resume' for each in options_in(place))
    return resumes and option.anew and option.name in OF_RUN


def read_launch(place: str, texts: Mapping[str, str]) -> Asked:
    """
    Parse the arguments of a launch file.

    :param texts: argument -> text; a missing one has its default
    :raises ValueError: the message names the argument and the expected value
    """
    values, said = {}, set()
    for option in options_in(place):
        default = launch_default(option, place)
        text = texts.get(option.name, default)
        if text == default or (not text and option.kind is not str):
            values[option.name] = option.default
            continue
        said.add(option.name)
        values[option.name] = as_everywhere(option, option.parse(
            text, f'launch argument {option.name}:={text}'))
    return Asked(values, frozenset(said))
