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

"""`spaars finetune`: the main job."""

from enum import Enum
from pathlib import Path
import sys
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import checked_namespace
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import option_help
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import robot_of
from spaars_ros.commands.common import training_of
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars finetune
  spaars finetune --out runs/a --seed 1 --episodes 150
  spaars finetune --resume --out runs/a --episodes 300
  spaars finetune --algorithm spaars-supe --out runs/skills
  spaars finetune --mode latent-only --set utd=1 --json result.json
  spaars finetune --signing-key keys/signing_key.pem --public-key keys/public_key.pem
  spaars finetune --robots 4 --episodes 40
  spaars finetune --no-sim --robot my_arm.yaml --task my_task.yaml --demonstrations mine.h5
"""

Text = Optional[str]
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')


class LogLevel(str, Enum):
    """Log levels of rclpy."""

    debug = 'debug'
    info = 'info'
    warn = 'warn'
    error = 'error'
    fatal = 'fatal'


WITH_RESUME = ('out', 'resume', 'episodes', 'params_file', 'namespace', 'yes', 'log_level', 'show',
               'page', 'json')
"""What may be said anew of a run that goes on; all else is the run's own."""


def refuse_with_resume(context: typer.Context) -> None:
    """Raise when an option was given that a resumed run would ignore."""
    ignored = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == 'COMMANDLINE' \
                and parameter.name not in WITH_RESUME:
            ignored.append(parameter.opts[0])
    if ignored:
        raise ValueError(f'--resume takes {", ".join(ignored)} from the run: leave it out, or '
                         'start a new run without --resume')


def resolved(path: str) -> str:
    """Return a path as the nodes and a later resume find it, '' for none."""
    return str(Path(path).expanduser().resolve()) if path else ''


def check_fleet(options: Any, robots: int, resume: bool) -> None:
    """Raise where the options of a fleet contradict each other."""
    if options.shared_learner and not options.bundle:
        raise ValueError('--shared-learner needs --bundle, the one that the fleet began with')
    if options.shared_learner and not options.namespace:
        raise ValueError('--shared-learner needs --namespace, which the learner knows it by')
    if robots > 1 and (options.namespace or options.shared_learner or not options.sim or resume):
        raise ValueError(f'--robots {robots}: simulated arms of a new run, each with a namespace '
                         'of its own; robots of another kind are started one by one '
                         '(docs/howto/fleet.md)')


def command(
    context: typer.Context,
    out: Annotated[str, typer.Option(help='Run folder; default runs/<date and time>.')] = '',
    seed: Annotated[int, typer.Option(
        min=0, max=2**63 - 1, help='Seed of everything random.')] = 0,
    episodes: Annotated[Optional[int], typer.Option(
        min=0, help='Episodes of the whole run, 0 for no end; default 150.')] = None,
    algorithm: Annotated[Text, typer.Option(
        help="spaars, spaars-supe or spar; default: the training file's.")] = None,
    mode: Annotated[Text, typer.Option(
        help='gated, or one of its ablations latent-only and raw-only.')] = None,
    robot: Annotated[str, typer.Option(
        help="Robot file: path, or name that ships; default: the task's, or panda.")] = '',
    task: Annotated[str, typer.Option(help='Task file: path, or name that ships.')] = 'reach',
    training: Annotated[str, typer.Option(
        help='Training file: path, or name that ships; default: that of the algorithm, or of the '
             'task, or spaars.')] = '',
    settings: Annotated[Optional[list[str]], typer.Option(
        '--set', metavar='NAME=VALUE', help='Training constant that wins; may be repeated.')]
    = None,
    bundle: Annotated[str, typer.Option(
        help='Policy bundle to start from; default: pretrained from demonstrations.')] = '',
    demonstrations: Annotated[str, typer.Option(
        help="HDF5 data set, or the folder of a run (spaars record); default: the training "
             "file's.")] = '',
    resume: Annotated[bool, typer.Option(
        '--resume', help='Continue the run that is in --out.')] = False,
    sim: Annotated[bool, typer.Option(help='Start the simulated arm.')] = True,
    real_time_factor: Annotated[float, typer.Option(
        min=0.0, help='Simulated s a second; 0: as fast as the nodes answer.')] = 0.0,
    evaluation_episodes: Annotated[int, typer.Option(
        min=1, help='Fixed episodes of the evaluations before and after; on a robot, the most '
                    'of its first and of its last that count.')] = 50,
    evaluate_in_sim: Annotated[bool, typer.Option(
        '--evaluate-in-sim', help="With --no-sim: evaluate before and after in MuJoCo, on the "
                                  "robot file's model, not on the robot's own first and last "
                                  'episodes.')] = False,
    cache: Annotated[str, typer.Option(
        help='Folder that keeps pretrained bundles.')] = 'runs/pretrained',
    joint_states: Annotated[str, typer.Option(help=option_help('joint_states'))] = '',
    command: Annotated[str, typer.Option(help=option_help('command'))] = '',
    command_interface: Annotated[str, typer.Option(help=option_help('command_interface'))] = '',
    signing_key: Annotated[str, typer.Option(help=option_help('signing_key'))] = '',
    public_key: Annotated[str, typer.Option(help=option_help('public_key'))] = '',
    params_file: Annotated[str, typer.Option(help=option_help('params_file'))] = '',
    namespace: Annotated[str, typer.Option(help=option_help('namespace'))] = '',
    robots: Annotated[int, typer.Option(
        min=1, max=100, help='Simulated arms, one learner for all; --episodes is of each.')] = 1,
    shared_learner: Annotated[bool, typer.Option(
        '--shared-learner', help='One robot of a fleet: start no learner, the one of the fleet '
                                 'learns from --namespace; needs --bundle.')] = False,
    yes: Annotated[bool, typer.Option(
        '--yes', help='With --no-sim: check the wiring where it has not been, and move the arm '
                      'home, without asking.')] = False,
    log_level: Annotated[LogLevel, typer.Option(help='Log level of the nodes.')] = LogLevel.info,
    show: Annotated[bool, typer.Option(
        '--live/--plain', help='Live panel, or one line per episode.')] = True,
    page: Annotated[Optional[bool], typer.Option(
        '--page/--no-page', help="Serve the operator's page on this machine (extra page); "
                                 'default: where it is installed and this is a terminal.')] = None,
    json: Annotated[Optional[Path], typer.Option(help='Also write the summary here.')] = None,
) -> None:
    """Fine-tune a policy over ROS 2: pretrain, evaluate, run, evaluate, report."""
    with errors_as_one_line():
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run import job  # first: rclpy starts the interpreter again, once
        from spaars_ros.run.domain import stay_on_this_machine
        from spaars_ros.run.folder import RunError
        from spaars_ros.run.folder import RunFolder
        from spaars_ros.run.folder import RunOptions
        from spaars_ros.run.liveview import LiveState
        from spaars_ros.run.liveview import LiveView
        from spaars_ros.run.measured import closing_lines
        if log_level not in LOG_LEVELS:
            raise RunError(f'--log-level {log_level}: expected one of {", ".join(LOG_LEVELS)}')
        if resume and not out:
            raise RunError('--resume needs --out, the folder of the run')
        if resume:
            refuse_with_resume(context)
        from spaars_ros.run.page.start import wanted
        with_page = wanted(page)
        namespace = checked_namespace(namespace)
        check_json(json)
        with Interrupts() as interrupts:
            if resume:
                folder = RunFolder.resume(out, episodes=episodes,
                                          params_file=resolved(params_file) or None,
                                          namespace=namespace or None)
            else:
                overrides: dict[str, Any] = overrides_of(settings or [])
                overrides.update({name: value for name, value in
                                  (('algorithm', algorithm), ('mode', mode)) if value})
                folder = RunFolder(RunOptions(
                    out=out, robot=robot_of(robot, task), task=task,
                    training=training_of(training, algorithm, task), overrides=overrides,
                    bundle=bundle, demonstrations=demonstrations, seed=seed,
                    episodes=150 if episodes is None else episodes, sim=sim,
                    real_time_factor=real_time_factor, cache=cache,
                    evaluation_episodes=evaluation_episodes,
                    evaluate_in_sim=evaluate_in_sim, joint_states=joint_states,
                    command=command, command_interface=command_interface,
                    signing_key=resolved(signing_key),
                    public_key=resolved(public_key), params_file=resolved(params_file),
                    namespace=namespace, shared_learner=shared_learner))
            check_fleet(folder.options, robots, resume)
            if folder.options.sim:
                stay_on_this_machine()
            else:
                from spaars_ros.commissioning.ready import make_ready
                options = folder.options
                make_ready(folder.robot, folder.settings.start_noise, say=typer.echo,
                           confirm=lambda text: yes or (
                               sys.stdin.isatty() and typer.confirm(text)),
                           namespace=options.namespace, interface=options.command_interface,
                           remappings=tuple((name, target) for name, target in (
                               ('joint_states', options.joint_states),
                               ('command', options.command)) if target))
            view = LiveView(LiveState(), plain=not show or robots > 1)
            if robots > 1:
                from spaars_ros.run.fleet import finetune_fleet
                summary = finetune_fleet(folder, robots, view, interrupts,
                                         log_level=log_level.value)
                write_json(json, summary)
                return
            summary = job.finetune(folder, view, interrupts, resume=resume,
                                   settings_changes={'log_level': log_level.value,
                                                     'page': with_page})
            write_json(json, summary)
            for line in closing_lines(folder, summary):
                view.say(line)
