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

"""`spaars judge`: train a success classifier from labels, and run it."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import write_json
from spaars_ros.commands.operator import Domain
from spaars_ros.commands.operator import Namespace
from spaars_ros.commands.operator import prepare

app = typer.Typer(no_args_is_help=True,
                  help='Train a success classifier from labelled episodes, or run one.')

TRAIN_EXAMPLES = """\b
Examples:
  spaars judge train runs/a runs/b --out judge.onnx
  spaars judge train runs/a --task my_task.yaml --out judge.onnx
  spaars judge train runs/a --camera eye --out done.onnx
"""
RUN_EXAMPLES = """\b
Examples:
  spaars judge run judge.onnx --domain 37
  spaars judge run judge.onnx --task my_task.yaml
"""


@app.command('train', epilog=TRAIN_EXAMPLES)
def train_command(
    runs: Annotated[list[Path], typer.Argument(
        metavar='RUN...', help='Folders of runs with labelled episodes.')],
    out: Annotated[Path, typer.Option(help='ONNX file to write.')] = Path('judge.onnx'),
    camera: Annotated[str, typer.Option(
        help='Learn from the kept frames of this camera alone, and write a classifier of images; '
        'default: learn from the observations, which hold the values of the cameras.')] = '',
    task: Annotated[str, typer.Option(
        help="Task file with other encoders or camera settings than the runs': their kept frames "
        'are encoded again.')] = '',
    seed: Annotated[int, typer.Option(
        min=0, help='Seed of the held-out episodes and of training.')] = 0,
    above: Annotated[float, typer.Option(
        min=0.0, max=1.0, help='Probability at or above which the task is done.')] = 0.9,
    below: Annotated[float, typer.Option(
        min=0.0, max=1.0, help='Probability below which it is no longer done.')] = 0.5,
    hold: Annotated[int, typer.Option(
        min=1, help='Consecutive ticks for which it has to be done.')] = 3,
    json: Annotated[Optional[Path], typer.Option(help='Also write the results here.')] = None,
) -> None:
    """Train a classifier from labelled episodes, and test it on held-out episodes."""
    with errors_as_one_line():
        from spaars_ros.learning import judge
        from spaars_ros.run import judge_training
        from spaars_ros.tasks.base import GivenSuccess
        check_json(json)
        if below > above:
            raise ValueError(f'--below {below} is above --above {above}')
        name = 'done' if camera else 'judge'
        rule = GivenSuccess(source=name, above=above, below=below, hold=hold)
        if camera:
            episodes, left, source = judge_training.labelled_frames(runs, camera, task)
        else:
            episodes, left, made_for = judge_training.labelled_runs(runs, task)
        model, kept = judge.train_judge(episodes, seed)
        if camera:
            out.write_bytes(judge_training.of_images(model, source))
            entry = judge_training.entry_of(source, name, out)
        else:
            out.write_bytes(judge.to_onnx(model, made_for))
            entry = ('{name: judge, topic: judge/success, type: Float32, max_age: 1.0, '
                     'silent: hold}')
        seen = judge.tried(model, kept, rule)
        typer.echo(f'{out}: of {len(episodes) - len(kept)} labelled episodes ({left} more have no '
                   f'label); on {len(kept)} others: success found at the end in {seen.found} of '
                   f'{seen.successes}, too early in {seen.early}; said in {seen.alarms} of '
                   f'{seen.failures} failures')
        typer.echo('in the task file' + (
            '' if camera else ' (on a robot without silent: hold, so that a judge that dies is '
            'a stop)') + ':\n'
            f'success: {{source: {name}, above: {above:g}, below: {below:g}, hold: {hold}}}\n'
            f'sources:\n  - {entry}')
        if json is not None:
            write_json(json, {'episodes': len(episodes), 'unlabelled': left, **vars(seen)})


@app.command('run', epilog=RUN_EXAMPLES)
def run_command(
    judge: Annotated[Path, typer.Argument(help='ONNX file: observation -> probability.')],
    task: Annotated[str, typer.Option(
        help='Task file of the run, to compare its encoders at once; default: they are compared '
        'by what their vectors say.')] = '',
    namespace: Namespace = '', domain: Domain = -1,
) -> None:
    """Publish the probability that the task is done on judge/success, for every record."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run.judging import judge_run
        with Interrupts() as interrupts:
            judge_run(place, judge=judge, say=typer.echo, interrupts=interrupts,
                      task=task)
