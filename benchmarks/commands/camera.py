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

"""`spaars bench camera`: latency from an image to the command computed from it."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import report

EXAMPLES = """\b
Examples:
  spaars bench camera
  spaars bench camera --seconds 120 --sizes 84,224 --json camera.json
"""


def command(
    seconds: Annotated[float, typer.Option(min=1.0, help='s per image size.')] = 30.0,
    sizes: Annotated[str, typer.Option(help='Image edges in pixels, comma-separated.')] = '84,224',
    tables: Annotated[bool, typer.Option(
        '--tables', help='Also write the table of the documentation.')] = False,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Measure the latency from camera frame to vector and command, at 20 Hz in real time."""
    with errors_as_one_line():
        if not all(part.isascii() and part.isdigit() and 32 <= int(part) <= 512
                   for part in sizes.split(',')):
            raise ValueError(f'--sizes {sizes}: pixels from 32 to 512, comma-separated')
        from benchmarks.camera import run
        report(run(seconds=seconds, sizes=tuple(map(int, sizes.split(','))), tables=tables), json)
