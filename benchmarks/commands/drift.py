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
"""`spaars bench drift`: drift of SPAR's updates off the data manifold."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import report
from spaars_ros.commands.common import seeds_of

EXAMPLES = """\b
Examples:
  spaars bench drift --env Hopper-v5 --data hopper-medium.npz --seeds 0,1
  spaars bench drift --env SpaarsReach-v0 --training spar --json drift.json
"""


def command(
    env: Annotated[str, typer.Option(help='Gymnasium id; SpaarsReach-v0 is the arm.')],
    data: Annotated[str, typer.Option(help='Offline transitions, as for `spaars train`.')] = '',
    seeds: Annotated[str, typer.Option(help='Whole numbers, comma-separated.')] = '0',
    training: Annotated[str, typer.Option(help='Training file.')] = 'locomotion',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    out: Annotated[Path, typer.Option(
        help='Folder of runs; existing runs are not trained again.')] = Path('runs/bench_drift'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the rows here.')] = None,
) -> None:
    """Train SPAR offline and measure the part of its updates normal to its decoder's range."""
    with errors_as_one_line():
        from benchmarks.drift import run
        report(run(env=env, data=data, seeds=seeds_of(seeds), training=training,
                   overrides=overrides_of(change or []), out=out,
                   say=lambda line: typer.echo(line, err=True)), json)
