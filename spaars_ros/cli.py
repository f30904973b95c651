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

"""The `spaars` command; each subcommand is a thin module in `commands`."""

import signal
import sys

from spaars_ros.interrupts import load_glfw_here

AS_PROGRAM = __name__ == '__main__' or sys.argv[0].endswith('spaars')
if AS_PROGRAM and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    # During the imports there is nothing to clean up: Ctrl-C ends the process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
if AS_PROGRAM:
    load_glfw_here()

from importlib import import_module
from pathlib import Path
import re
import warnings

import typer

from spaars_ros.commands import check
from spaars_ros.commands import collect
from spaars_ros.commands import data
from spaars_ros.commands import describe
from spaars_ros.commands import doctor
from spaars_ros.commands import encoder
from spaars_ros.commands import evaluate
from spaars_ros.commands import film
from spaars_ros.commands import finetune
from spaars_ros.commands import import_bag
from spaars_ros.commands import judge
from spaars_ros.commands import keys
from spaars_ros.commands import operator
from spaars_ros.commands import page
from spaars_ros.commands import pretrain
from spaars_ros.commands import record
from spaars_ros.commands import robot
from spaars_ros.commands import stress
from spaars_ros.commands import sweep
from spaars_ros.commands import train
from spaars_ros.interrupts import interrupt_and_note
from spaars_ros.interrupts import leave

HOME = re.compile(r'^(--[\w-]+=|)~(?=/|$)')

app = typer.Typer(
    name='spaars', no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help='Lets a robot arm fine-tune its own policy, safely, on the robot.')
app.command('finetune', epilog=finetune.EXAMPLES)(finetune.command)
app.command('evaluate', epilog=evaluate.EXAMPLES)(evaluate.command)
app.command('pretrain', epilog=pretrain.EXAMPLES)(pretrain.command)
app.command('train', epilog=train.EXAMPLES)(train.command)
app.command('sweep', epilog=sweep.EXAMPLES)(sweep.command)
app.command('collect', epilog=collect.EXAMPLES)(collect.command)
app.command('record', epilog=record.EXAMPLES)(record.command)
app.command('teleop', epilog=record.TELEOP_EXAMPLES)(record.teleop)
app.command('label', epilog=record.LABEL_EXAMPLES)(record.label)
app.command('page', epilog=page.EXAMPLES)(page.command)
app.command('film', epilog=film.EXAMPLES)(film.command)
app.command('replay', epilog=page.REPLAY_EXAMPLES)(page.replay)
app.command('stress', epilog=stress.EXAMPLES)(stress.command)
app.command('check', epilog=check.EXAMPLES)(check.command)
app.command('describe', epilog=describe.EXAMPLES)(describe.command)
app.command('doctor', epilog=doctor.EXAMPLES)(doctor.command)
for name in ('stop', 'reset', 'rollback', 'pause', 'resume', 'status'):
    app.command(name, epilog=operator.EXAMPLES)(getattr(operator, name))
app.add_typer(keys.app, name='keys')
app.add_typer(judge.app, name='judge')
app.add_typer(robot.app, name='robot')
app.add_typer(data.app, name='data')
app.add_typer(encoder.app, name='encoder')
app.command('import', epilog=import_bag.EXAMPLES)(import_bag.command)


def _add_benchmarks() -> None:
    """Add `bench` in a checkout; the benchmarks are not part of the installed package."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / 'benchmarks' / 'commands').is_dir():
        if str(checkout) not in sys.path:
            sys.path.append(str(checkout))
        app.add_typer(import_module('benchmarks.commands.cli').app, name='bench')


_add_benchmarks()


def main() -> None:
    """Run the command line."""
    # One line per warning, without the position in the source.
    warnings.formatwarning = lambda message, *where, **line: f'warning: {message}\n'
    from spaars_ros.run.terminal import steady_streams
    steady_streams()
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, interrupt_and_note)
    # A shell expands ~ at the start of an argument, but not after --out= or in quotes.
    try:
        app([HOME.sub(lambda found: found[1] + str(Path.home()), given) for given in sys.argv[1:]])
    except SystemExit as end:
        if isinstance(end.code, int):
            leave(end.code)
        raise


if __name__ == '__main__':
    main()
