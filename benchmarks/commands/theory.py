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
"""`spaars bench theory`: measure the statements of SPAARS."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report

EXAMPLES = """\b
Examples:
  spaars bench theory --seeds 0,1,2 --plots docs/images/theory --json theory.json
  spaars bench theory --seeds 0 --episodes 8 --training smoke
"""


def command(
    seeds: Annotated[str, typer.Option(help='Seeds, comma-separated.')] = '0',
    episodes: Annotated[int, typer.Option(min=1, help='Episodes per run.')] = 150,
    training: Annotated[str, typer.Option(help='Training file.')] = 'spaars',
    plots: Annotated[Optional[Path], typer.Option(help='Folder for three figures.')] = None,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Measure the variance lemma, the exploitation gap and the calibration (theory.md)."""
    with errors_as_one_line():
        from benchmarks.theory import run
        rows = run(seeds=[int(seed) for seed in seeds.split(',')], episodes=episodes,
                   training=training, plots=plots, say=lambda line: typer.echo(line, err=True))
        report(rows, json)
