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

"""`spaars stop`, `reset`, `rollback`, `pause`, `resume` and `status`; no ros2 CLI is needed."""

from collections.abc import Callable
import os
from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.run_options import run_option
from spaars_ros.run.ros_names import checked_namespace

Namespace = Annotated[str, run_option('namespace', 'Namespace of the run.')]
Domain = Annotated[int, typer.Option(
    min=-1, max=232, help='ROS_DOMAIN_ID of the run; -1: that of the environment.')]
EXAMPLES = """\b
Examples:
  spaars stop
  spaars reset --domain 37
  spaars status --namespace left
"""


def prepare(namespace: str, domain: int) -> str:
    """Set ROS_DOMAIN_ID unless it is -1; return the checked namespace. Raises ValueError."""
    if domain >= 0:
        os.environ['ROS_DOMAIN_ID'] = str(domain)
    return checked_namespace(namespace)


def asking(question: str, argument: str | bool, summary: str) -> Callable[[str, int], None]:
    """
    Return a command that calls a function of `spaars_ros.run.operator`.

    :param question: name of the function
    :param argument: its first argument; the second one is the namespace
    :param summary: help of the command
    """
    def command(namespace: Namespace = '', domain: Domain = -1) -> None:
        with errors_as_one_line():
            place = prepare(namespace, domain)
            from spaars_ros.run import operator
            typer.echo(getattr(operator, question)(argument, place))
    command.__doc__ = summary
    return command


def trigger(service: str, summary: str) -> Callable[[str, int], None]:
    """Return a command that calls a service of the policy server."""
    return asking('call', service, summary)


stop = trigger('estop', 'Brake the arm and latch a stop; not a certified emergency stop.')
reset = trigger('reset', 'Clear a latched stop after its cause is gone; the arm moves again.')
rollback = trigger('rollback', 'Return to the policy before the acting one.')


pause = asking('set_paused', True, 'Pause the learner: the arm acts and is recorded, but no '
               'policy is learned or pushed.')
resume = asking('set_paused', False, 'Continue learning after spaars pause (to continue a run '
                'that has ended: spaars finetune --resume).')


def status(namespace: Namespace = '', domain: Domain = -1) -> None:
    """Show the state of the policy server: phase, stop, and how to continue."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.run.operator import status as told
        for line in told(place):
            typer.echo(line)
