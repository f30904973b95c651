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

"""`spaars stress`: fault injection into simulated runs, one fault at a time."""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import plain
from spaars_ros.commands.common import write_json

EXAMPLES = """\b
Examples:
  spaars stress
  spaars stress --fault dropped --fault server_killed
  spaars stress --trigger joint_states
  spaars stress --runs 100 --json stress.jsonl --table stress.md
  spaars stress --runs 0 --add monday.jsonl --add tuesday.json --table stress.md
"""


def command(
    fault: Annotated[Optional[list[str]], typer.Option(
        help='Run only this fault; may be repeated.')] = None,
    trigger: Annotated[str, typer.Option(
        help='Trigger of the ticks: timer, as on a robot, or joint_states.')] = 'timer',
    runs: Annotated[Optional[int], typer.Option(
        min=0, max=10_000, help='Runs per fault, each with its own seed of start poses, timing, '
        'order and joints. 1 if neither runs nor seeds are given.')] = None,
    seeds: Annotated[str, typer.Option(
        help='Seeds of the runs: a list such as 3,7,8, or the first of --runs. 0 if not '
        'given.')] = '',
    json: Annotated[Optional[Path], typer.Option(
        help='Also write the rows here. With suffix .jsonl: one line after each run; runs that it '
        'already contains are skipped.')] = None,
    add: Annotated[Optional[list[Path]], typer.Option(
        help='Rows of earlier runs to include in JSON and table; may be repeated.')] = None,
    table: Annotated[Optional[Path], typer.Option(
        help='Write a Markdown table of all rows into this file, in place of the previous one. '
        'With suffix .json: its cells, commits and seeds.')] = None,
) -> None:
    """
    Inject faults into a simulated run and tabulate detection, stop, margin, loss, recovery.

    detected_s: s until a status, a counter or the end of a process reported the fault. stopped_s:
    s until the arm was at rest. worst_margin: smallest distance to joint limits (rad) or of the
    tip to keep-out zones (m). Exit code 1 if the arm exceeded a limit, a recorded transition is
    lost or a run does not recover.
    """
    with errors_as_one_line():
        chosen_seeds = seeds_of(seeds, runs)
        from spaars_ros.commissioning.stress_rows import RowLog
        from spaars_ros.commissioning.stress_rows import rows_of
        from spaars_ros.interrupts import Interrupts
        earlier = [row for path in add or () for row in rows_of(path)]
        from spaars_ros.commissioning import stress_table
        from spaars_ros.commissioning.stress import failures
        from spaars_ros.commissioning.stress import is_failure
        from spaars_ros.commissioning.stress import run

        log = RowLog(json) if json is not None and json.suffix == '.jsonl' else None

        def keep(rows: list[dict[str, Any]]) -> None:
            if log is not None:
                log.append(plain(rows[-1]))
            else:
                write_json(json, [*earlier, *rows])
        rows = [*earlier, *(log.rows if log is not None else ())]
        if chosen_seeds:
            with Interrupts():
                rows += run(fault or (), say=typer.echo, trigger=trigger, seeds=chosen_seeds,
                            keep=keep, made={(row['fault'], row['seed']) for row in rows})
        if log is None:
            write_json(json, rows)
        if table is not None:
            stress_table.write(table, rows, [row for row in rows if is_failure(row)])
        failed = failures(rows)
        if failed:
            raise RuntimeError('beyond a limit, lost a transition or did not recover: '
                               + ', '.join(failed))


def seeds_of(text: str, runs: int | None) -> list[int]:
    """
    Return the seeds of the runs.

    :param text: comma-separated seeds, '' for 0; with `runs`, one seed is the first of a range
    :param runs: number of runs, None if not given
    :raises ValueError: a seed is not a number, or the number of seeds is not `runs`
    """
    words = text.split(',') if text else []
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise ValueError(f'--seeds {text}: numbers from 0 on, as 3,7,8')
    numbers = [int(word) for word in words]
    if runs is not None and len(numbers) < 2:
        first = numbers[0] if numbers else 0
        return list(range(first, first + runs))
    if runs is not None and runs != len(numbers):
        raise ValueError(f'--runs {runs}, but --seeds names {len(numbers)}')
    return numbers or [0]
