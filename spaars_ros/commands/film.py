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

"""`spaars film`: a run's policy before and after as an animated GIF."""

from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line

EXAMPLES = """\b
Examples:
  spaars film runs/a
  spaars film runs/a --out docs/images/insert.gif --episodes 2
"""


def command(
    run: Annotated[str, typer.Argument(metavar='RUN', help='Folder of a run.')],
    out: Annotated[str, typer.Option(
        help='GIF to write; default: film.gif in the run folder, which the report shows.')] = '',
    episodes: Annotated[int, typer.Option(
        min=1, max=20, help='Fixed episodes to film, per policy.')] = 3,
) -> None:
    """Film a run's policy before and after, side by side, on the same simulated episodes."""
    with errors_as_one_line():
        from spaars_ros.sim.gl import choose_backend
        choose_backend()
        from spaars_ros.run.film import film_run
        typer.echo(film_run(run, target=out, episodes=episodes)[1])
