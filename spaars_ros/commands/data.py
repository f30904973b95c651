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

"""`spaars data`: show, check, merge, split, export and encode demonstration sets."""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import warnings_as_one_line
from spaars_ros.commands.common import write_json

app = typer.Typer(no_args_is_help=True, help='Show, check, merge, split and export sets of '
                                             'demonstrations.')
SHOW_EXAMPLES = """\b
Examples:
  spaars data show runs/demos
  spaars data show mine.h5 --picture mine.png
  spaars data show lerobot:their_set --robot my_arm.yaml --task my_task.yaml
"""
EXPORT_EXAMPLES = """\b
Examples:
  spaars data export runs/demos mine.h5 --only success
  spaars data export runs/demos lerobot:out/my_set
  spaars data export mine.h5 minari:arm/reach/person-v0
  spaars data export lerobot:their_set theirs.h5 --robot my_arm.yaml --task my_task.yaml
"""
Robot = Annotated[str, typer.Option(
    help='Robot file: path, or name of a shipped file; default: that of the run, or of the name '
    'of the set.')]
Task = Annotated[str, typer.Option(
    help='Task file: path, or name of a shipped file; default: likewise.')]
Set = Annotated[str, typer.Argument(help='HDF5 file, folder of a run, or lerobot:FOLDER.')]
Json = Annotated[Optional[Path], typer.Option(help='Also write the output here.')]
Only = Annotated[Optional[list[str]], typer.Option(
    help='Only episodes with this outcome: success, failure, unlabelled; may be repeated.')]


def _number(value: Any, form: str) -> str:
    return '-' if value is None else format(value, form)


@app.command('show', epilog=SHOW_EXAMPLES)
def show_command(
    demonstrations: Set,
    robot: Robot = '', task: Task = '',
    picture: Annotated[Optional[Path], typer.Option(help='Write a PNG here.')] = None,
    json: Json = None,
) -> None:
    """Show a table of the episodes, and the region that the set covers."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.run import demonstration_set as sets
        check_json(json)
        some = sets.open_set(demonstrations, robot, task)
        rows, summary = sets.table_of(some), sets.summary_of(some)
        typer.echo('episode  steps  seconds  outcome     return    cost  at bound')
        for row in rows:
            typer.echo(f'{row["episode"]:7d} {row["steps"]:6d} {row["seconds"]:8.1f}  '
                       f'{row["outcome"]:10s} {_number(row["return"], "7.1f"):>7s} '
                       f'{_number(row["cost"], "7.1f"):>7s}  {row["saturated"]:8.0%}')
        typer.echo(f'{summary["episodes"]} episodes, {summary["transitions"]} transitions, '
                   f'{summary["seconds"]:.0f} s; '
                   + ', '.join(f'{count} {word}' for word, count in summary['outcomes'].items()))
        if 'tip_low' in summary:
            sides = ' '.join(f'{low:.2f}..{high:.2f}' for low, high in zip(
                summary['tip_low'], summary['tip_high']))
            typer.echo(f'tip within {sides} m (x y z), in {summary["tip_cells"]} cells of 2 cm')
        if picture is not None:
            from spaars_ros.run.demonstration_picture import picture_of
            picture.write_bytes(picture_of(some))
            typer.echo(f'picture {picture}')
        write_json(json, {'summary': summary, 'episodes': rows})


@app.command('check')
def check_command(
    demonstrations: Set,
    robot: Robot = '', task: Task = '', json: Json = None,
) -> None:
    """Report errors and oddities of a set, with reasons; exit code 1 if there are errors."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.run import demonstration_set as sets
        check_json(json)
        found = sets.findings_of(sets.open_set(demonstrations, robot, task))
        for level, text in found:
            typer.echo(f'{"WRONG" if level == "wrong" else "look "} {text}')
        write_json(json, {'findings': [{'level': level, 'text': text} for level, text in found]})
        wrong = sum(level == 'wrong' for level, _ in found)
        if wrong:
            raise ValueError(f'{demonstrations}: {wrong} to mend')
        typer.echo(f'{demonstrations}: nothing is wrong')


@app.command('merge')
def merge_command(
    demonstrations: Annotated[list[str], typer.Argument(help='Two sets or more.')],
    out: Annotated[Path, typer.Option(help='HDF5 file to write.')],
    only: Only = None, robot: Robot = '', task: Task = '',
) -> None:
    """Write several sets as one; their actions and observations must have the same meaning."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.run import demonstration_set as sets
        opened = [sets.open_set(name, robot, task) for name in demonstrations]
        _write(_only(sets.merge_sets(opened), only), str(out))


@app.command('split')
def split_command(
    demonstrations: Set,
    out: Annotated[Path, typer.Option(help='HDF5 file for the share.')],
    rest: Annotated[Path, typer.Option(help='HDF5 file for the remaining episodes.')],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help='Share of the episodes.')] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help='Seed of the draw.')] = 0,
    robot: Robot = '', task: Task = '',
) -> None:
    """Split a set into two, by whole episodes."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.run import demonstration_set as sets
        parts = sets.split(sets.open_set(demonstrations, robot, task), share, seed)
        for part, place in zip(parts, (out, rest)):
            _write(part, str(place))


@app.command('export', epilog=EXPORT_EXAMPLES)
def export_command(
    demonstrations: Set,
    out: Annotated[str, typer.Argument(
        help='FILE.h5, FILE.npz (with rewards), lerobot:FOLDER, or minari:ID.')],
    only: Only = None, robot: Robot = '', task: Task = '',
) -> None:
    """Write a set in another format."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.run import demonstration_set as sets
        _write(_only(sets.open_set(demonstrations, robot, task), only), out)


@app.command('encode')
def encode_command(
    run: Annotated[Path, typer.Argument(help='Folder of a run whose frames were kept.')],
    out: Annotated[Path, typer.Argument(help='HDF5 file to write.')],
    encoder: Annotated[str, typer.Option(
        help='ONNX file to use in place of that of the run.')] = '',
    source: Annotated[str, typer.Option(
        help='Camera of the encoder; default: the only one.')] = '',
    task: Annotated[str, typer.Option(
        help='Task file to take all camera settings from instead, including crop and '
        'sizes.')] = '',
) -> None:
    """Recompute the camera values of a run with another encoder, from its stored frames."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.data.dataset import save_dataset
        from spaars_ros.run.encode_run import encode_run
        data = encode_run(run, encoder=encoder, source=source, task=task)
        save_dataset(data, out)
        typer.echo(f'{out}: {data.episodes} episodes, {len(data)} transitions')


def _only(some: Any, outcomes: list[str] | None) -> Any:
    if not outcomes:
        return some
    known = ('success', 'failure', 'unlabelled')
    for word in outcomes:
        if word not in known:
            raise ValueError(f'--only {word}: expected one of {", ".join(known)}')
    return some.chosen([number for number, word in enumerate(some.outcomes) if word in outcomes])


def _write(some: Any, out: str) -> None:
    from spaars_ros.run.demonstration_export import write
    typer.echo(write(some, out))
