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

"""`spaars bench operator`: halve the cost limit while the arm learns."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report

EXAMPLES = """\b
Examples:
  spaars bench operator --seed 0 --json operator.json
  spaars bench operator --change-at 60 --factor 0.3 --out runs/strict
"""


def command(
    seed: Annotated[int, typer.Option(min=0, help='Seed of pretraining, goals and noise.')] = 0,
    episodes: Annotated[int, typer.Option(min=2, help='Episodes of the run.')] = 150,
    change_at: Annotated[int, typer.Option(min=1, help='First episode with the new limit.')] = 100,
    factor: Annotated[float, typer.Option(min=0.0, help='New limit as a share of the old.')] = 0.5,
    training: Annotated[str, typer.Option(
        help='Training file: path, or name of a shipped file.')] = 'spaars',
    bundle: Annotated[str, typer.Option(
        help='Pretrained bundle with learner tensors; default: a new one.')] = '',
    out: Annotated[Path, typer.Option(help='Folder of the plot and its numbers.')] = Path(
        'runs/bench_operator'),
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Halve the cost limit of a learning arm, and measure how soon its cost follows."""
    with errors_as_one_line():
        from benchmarks.operator import run
        report(run(seed=seed, episodes=episodes, change_at=change_at, factor=factor, out=out,
                   training=training, bundle=bundle,
                   say=lambda line: typer.echo(line, err=True)), json)
