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

"""`spaars bench`: measurements, printed as JSON."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from benchmarks.commands import camera as bench_camera
from benchmarks.commands import constraints as bench_constraints
from benchmarks.commands import drift as bench_drift
from benchmarks.commands import embedded as bench_embedded
from benchmarks.commands import filter as bench_filter
from benchmarks.commands import interventions as bench_interventions
from benchmarks.commands import learner as bench_learner
from benchmarks.commands import learning as bench_learning
from benchmarks.commands import link as bench_link
from benchmarks.commands import manipulation as bench_manipulation
from benchmarks.commands import operator as bench_operator
from benchmarks.commands import skills as bench_skills
from benchmarks.commands import soak as bench_soak
from benchmarks.commands import theory as bench_theory
from benchmarks.commands import wiring as bench_wiring
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report
from spaars_ros.commands.common import seeds_of
from spaars_ros.commands.sweep import Cpus
from spaars_ros.commands.sweep import Gpus
from spaars_ros.commands.sweep import Ray

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  help='Benchmarks; each prints JSON.')

app.command('camera', epilog=bench_camera.EXAMPLES)(bench_camera.command)
app.command('constraints', epilog=bench_constraints.EXAMPLES)(bench_constraints.command)
app.command('drift', epilog=bench_drift.EXAMPLES)(bench_drift.command)
app.command('embedded', epilog=bench_embedded.EXAMPLES)(bench_embedded.command)
app.command('filter', epilog=bench_filter.EXAMPLES)(bench_filter.command)
app.command('interventions', epilog=bench_interventions.EXAMPLES)(bench_interventions.command)
bench_learner.register(app)
app.command('learning', epilog=bench_learning.EXAMPLES)(bench_learning.command)
app.command('link', epilog=bench_link.EXAMPLES)(bench_link.command)
app.command('manipulation', epilog=bench_manipulation.EXAMPLES)(bench_manipulation.command)
app.command('operator', epilog=bench_operator.EXAMPLES)(bench_operator.command)
app.command('skills', epilog=bench_skills.EXAMPLES)(bench_skills.command)
app.command('soak', epilog=bench_soak.EXAMPLES)(bench_soak.command)
app.command('theory', epilog=bench_theory.EXAMPLES)(bench_theory.command)
app.command('wiring', epilog=bench_wiring.EXAMPLES)(bench_wiring.command)

Json = Annotated[Optional[Path], typer.Option(help='Also write the result here.')]


@app.command('control', epilog="""\b
Examples:
  spaars bench control
  spaars bench control --seconds 600 --json control.json
""")
def control(
    seconds: Annotated[float, typer.Option(min=1.0, help='s of load.')] = 60.0,
    rate: Annotated[float, typer.Option(min=1.0, help='joint_states per second.')] = 50.0,
    learner: Annotated[bool, typer.Option(
        help='Run a learner that trains and pushes bundles at the same time.')] = True,
    bundle: Annotated[str, typer.Option(
        help='Policy bundle with learner tensors; default: a new one of the same size.')] = '',
    json: Json = None,
) -> None:
    """Measure latency from joint_states to command over DDS, against a bare node in the run."""
    with errors_as_one_line():
        from benchmarks.control import run
        report(run(seconds=seconds, rate=rate, learner=learner, bundle=bundle), json)


@app.command('scale', epilog="""\b
Examples:
  spaars bench scale
  spaars bench scale --tables
""")
def scale(
    seed: Annotated[int, typer.Option(min=0, help='Seed of networks and episodes.')] = 0,
    tables: Annotated[bool, typer.Option(
        '--tables', help='Also write the tables of the documentation.')] = False,
    json: Json = None,
) -> None:
    """Measure bytes and seconds for one arm, and calculate them for many arms."""
    with errors_as_one_line():
        from benchmarks.scale import run
        report(run(seed, tables), json)


@app.command('growth', epilog="""\b
Examples:
  spaars bench growth --ticks 300 --hours 1
  spaars bench growth --tables
""")
def growth(
    ticks: Annotated[int, typer.Option(min=1, help='Ticks per row of filter and policy.')] = 3000,
    hours: Annotated[str, typer.Option(
        help='Hours of a run before recorder and spool are measured.')] = '1,4,16',
    transitions: Annotated[str, typer.Option(
        help='Sizes of the replay, comma-separated.')] = '10000,100000,1000000,10000000',
    seed: Annotated[int, typer.Option(min=0, help='Of networks, commands and records.')] = 0,
    tables: Annotated[bool, typer.Option(
        '--tables', help='Also write the tables of the documentation.')] = False,
    json: Json = None,
) -> None:
    """Measure how costs grow: tick, replay, recorder and spool."""
    with errors_as_one_line():
        from benchmarks.commands.counts import counts_of
        from benchmarks.growth import run
        report(run(ticks=ticks, hours=counts_of(hours, '--hours'),
                   transitions=counts_of(transitions, '--transitions'), seed=seed,
                   tables=tables), json)


@app.command('envs', epilog="""\b
Examples:
  spaars bench envs --seconds 2
  spaars bench envs --tables
""")
def envs(
    seconds: Annotated[float, typer.Option(min=0.1, help='s of each measurement.')] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help='Of networks and episodes.')] = 0,
    tables: Annotated[bool, typer.Option(
        '--tables', help="Also write the documentation's table.")] = False,
    json: Json = None,
) -> None:
    """Measure steps per second of 1, 2 and 4 environments, and calculate those of 16 cores."""
    with errors_as_one_line():
        from benchmarks.envs import run
        report(run(seconds, seed, tables), json)


@app.command('fleet', epilog="""\b
Examples:
  spaars bench fleet
  spaars bench fleet --robots 1,2,4,8 --table
""")
def fleet(
    robots: Annotated[str, typer.Option(help='Numbers of arms, comma-separated.')] = '1,2,4,8',
    episodes: Annotated[int, typer.Option(min=8, help='Of all arms together.')] = 160,
    seeds: Annotated[str, typer.Option(help='Seeds, comma-separated.')] = '0',
    evaluation_episodes: Annotated[int, typer.Option(
        min=1, help='Fixed episodes for each checkpoint.')] = 40,
    out: Annotated[Path, typer.Option(help='Rows already here are not run again.')] = Path(
        'runs/bench_fleet'),
    table: Annotated[bool, typer.Option(
        '--table', help="Also write the documentation's table and figure.")] = False,
    json: Json = None,
) -> None:
    """Time until 95 % success against the number of simulated arms of one learner."""
    with errors_as_one_line():
        from benchmarks.commands.counts import counts_of
        from benchmarks.fleet import run
        report(run(robots=counts_of(robots), episodes=episodes, seeds=seeds_of(seeds),
                   evaluation_episodes=evaluation_episodes, out=out, table=table,
                   say=typer.echo), json)


@app.command('tables', epilog="""\b
Examples:
  spaars bench tables
""")
def tables() -> None:
    """Rewrite the tables of the documentation from docs/results/data/tables."""
    with errors_as_one_line():
        from benchmarks.tables import run
        report(run(), None)


@app.command('finetune', epilog="""\b
Examples:
  spaars bench finetune --seeds 0,1,2 --json finetune.json
  spaars bench finetune --modes gated,latent-only,raw-only --seeds 0
""")
def finetune(
    seeds: Annotated[str, typer.Option(help='Seeds, comma-separated.')] = '0,1,2',
    modes: Annotated[str, typer.Option(
        help='Modes, comma-separated.')] = 'gated,latent-only,raw-only',
    episodes: Annotated[int, typer.Option(min=1, help='Episodes per run.')] = 150,
    jobs: Annotated[int, typer.Option(min=1, help='Parallel runs.')] = 2,
    ray: Ray = '',
    cpus: Cpus = 1.0,
    gpus: Gpus = 0.0,
    out: Annotated[Path, typer.Option(
        help='Folder of rows; existing rows are not run again.')] = Path(
        'runs/bench_finetune'),
    robot: Annotated[str, typer.Option(
        help='Robot file: path, or name of a shipped file.')] = 'panda',
    task: Annotated[str, typer.Option(
        help='Task file: path, or name of a shipped file.')] = 'reach',
    training: Annotated[str, typer.Option(
        help='Training file, which names the demonstrations.')] = 'spaars',
    json: Json = None,
) -> None:
    """Fine-tune with several seeds and modes, and tabulate results before and after."""
    with errors_as_one_line():
        from benchmarks.finetune import run
        from spaars_ros.run.workers import Workers
        report(run(seeds=seeds_of(seeds), modes=modes.split(','), episodes=episodes, jobs=jobs,
                   out=out, robot=robot, task=task, training=training,
                   workers=Workers(jobs, ray, cpus, gpus),
                   say=lambda line: typer.echo(line, err=True)), json)
