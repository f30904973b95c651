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

"""`spaars page` and `spaars replay`: operator's page of a running or a recorded run."""

import os
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.operator import Domain
from spaars_ros.commands.operator import Namespace
from spaars_ros.commands.operator import prepare
from spaars_ros.commands.run_options import JointStates
from spaars_ros.commands.run_options import run_option

EXAMPLES = """\b
Examples:
  spaars page
  spaars page --domain 37 --port 8090
  spaars page --namespace left --host 0.0.0.0
"""
REPLAY_EXAMPLES = """\b
Examples:
  spaars replay runs/a
  spaars replay runs/a --bundle runs/a/initial.spaars --bundle runs/b/acting.spaars
"""
Host = Annotated[str, typer.Option(
    help='Address to listen on; 127.0.0.1: this machine only. At another address, everybody who '
    'can reach it sees the run and can stop it.')]
Port = Annotated[int, typer.Option(
    min=0, max=65535, help='Port to listen on; 0: the first free port from 8080.')]


def command(
    namespace: Namespace = '', domain: Domain = -1, host: Host = '127.0.0.1', port: Port = 0,
    robot: Annotated[str, run_option(
        'robot', 'Robot file; default: that of the policy server, if this machine has it.')] = '',
    task: Annotated[str, run_option(
        'task', 'Task file; default: that of the policy server.')] = '',
    joint_states: JointStates = 'joint_states',
) -> None:
    """Show a run in the browser: the arm live, curves, stop request, limits, takeover."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.run.page.start import require_viser
        require_viser()
        from spaars_ros.robot.config import load_robot
        from spaars_ros.tasks.registry import load_task
        if robot:
            load_robot(robot)  # said now, not when a policy server has answered
        if task:
            load_task(task)
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run.domain import stay_on_this_machine
        from spaars_ros.run.page.live import serve
        from spaars_ros.run.page.server import choose_port
        from spaars_ros.run.page.server import new_token
        from spaars_ros.run.page.server import TOKEN
        if not os.environ.get('ROS_DOMAIN_ID'):
            os.environ['ROS_DOMAIN_ID'] = '0'
        stay_on_this_machine()
        given = os.environ.pop(TOKEN, '')
        chosen, token = choose_port(host, port), given or new_token()
        if not given:
            typer.echo(f"operator's page: http://{host}:{chosen}  token {token}")
        with Interrupts() as interrupts:
            serve(place, host=host, port=chosen, token=token, say=typer.echo,
                  interrupts=interrupts, robot=robot, task=task, joint_states=joint_states)


def replay(
    run: Annotated[str, typer.Argument(metavar='RUN', help='Folder of a run.')],
    bundles: Annotated[Optional[list[str]], typer.Option(
        '--bundle', help='Policy to query in every recorded state; give it twice to compare two. '
        'Default: the first and the newest of the run.')] = None,
    host: Host = '127.0.0.1', port: Port = 0,
) -> None:
    """Show a recorded run in the browser: scrub, explain decisions, compare two policies."""
    with errors_as_one_line():
        from spaars_ros.run.page.start import require_viser
        require_viser()
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run.page.replay import replay as serve
        from spaars_ros.run.page.server import choose_port
        chosen = choose_port(host, port)
        if len(bundles or []) > 2:
            raise ValueError(f'--bundle: {len(bundles or [])} given, two at most are compared')
        typer.echo(f'replay: http://{host}:{chosen}')
        with Interrupts() as interrupts:
            serve(run, list(bundles or []), host=host, port=chosen, interrupts=interrupts)
